"""Loading of agents from checkpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from manyparts.agents.cloning import embodiment_index
from manyparts.agents.exported import ExportedAgent, load_exported
from manyparts.agents.exported_files import is_exported
from manyparts.agents.latent import LatentAgent
from manyparts.agents.origin import Origin
from manyparts.agents.planning import MpcAgent
from manyparts.agents.policy import PolicyAgent
from manyparts.agents.reactive import ReactiveAgent
from manyparts.agents.viewed import ViewedAgent, unviewed
from manyparts.core import plugins
from manyparts.core.arguments import explained, path_of
from manyparts.core.devices import choose_device
from manyparts.core.errors import UserError
from manyparts.core.hub import shown
from manyparts.core.records import Precision
from manyparts.core.serialisation import from_jsonable
from manyparts.data.sampling.config import WindowConfig
from manyparts.models.checkpoint import CheckpointInfo, load_info, load_weights, resolve
from manyparts.models.configs import ModelConfig
from manyparts.models.dynamics.configs import DynamicsConfig, LatentWorldConfig
from manyparts.models.dynamics.latent_world import LatentWorld
from manyparts.models.representation import Representation
from manyparts.objectives.configs import ActorCriticConfig, ObjectiveConfig
from manyparts.objectives.system import System
from manyparts.planners import PLANNERS, FollowConfig, PlannerConfig, planner_names
from manyparts.planners.plans import StepValue

Unviewed = PolicyAgent | ReactiveAgent | MpcAgent | LatentAgent | ExportedAgent
"""An agent that takes what its model sees."""

LearnedAgent = Unviewed | ViewedAgent
"""What `load` returns: an agent that acts with learned weights."""


@explained()
def load(
    path: str | Path,
    device: str | torch.device = "cpu",
    *,
    embodiment: str | None = None,
    precision: Precision = "fp32",
    planner: PlannerConfig | None = None,
    objective: StepValue | None = None,
) -> LearnedAgent:
    """Load the agent of a run or a checkpoint.

    Args:
        path: A run folder, a checkpoint folder, or the name of an agent that comes with the
            package.
        device: "auto", "cpu", "cuda" or another device of torch.
        embodiment: The embodiment to act for; None if the agent learned only one.
        precision: See `PolicyAgent`.
        planner: What a dynamics model acts with; None for a policy.
        objective: What a planner seeks instead of the task's reward; see `MpcAgent`.

    Raises:
        UserError: Weights or files do not fit; a dynamics model has no planner, or a policy has
            one; the data had no rewards to plan for; or the embodiment was not learned.
    """
    run, checkpoint = path_of(path), resolve(path)
    device = device_for(checkpoint, device)
    origin = Origin(
        run, checkpoint, device, embodiment, precision, planner, own_objective=objective is not None
    )
    if is_exported(checkpoint):
        return _exported(origin)
    system, info = load_system(checkpoint)
    agent = _agent(path, system.to(device), info, origin, objective)
    agent.origin = origin
    learned = info.embodiments[embodiment_index(info, embodiment)]
    if not learned.sources:
        return agent
    viewed = ViewedAgent(agent, learned)
    viewed.origin = origin
    return viewed


def device_for(checkpoint: Path, device: str | torch.device) -> str:
    """Return the name of the device that a checkpoint's agent runs on.

    Args:
        checkpoint: The folder.
        device: See `load`. Of an exported policy "auto" is the CPU, where onnxruntime computes.
    """
    is_automatic = is_exported(checkpoint) and device == "auto"
    return "cpu" if is_automatic else str(choose_device(device))


def _exported(origin: Origin) -> LearnedAgent:
    """Return an exported policy, which acts as it was exported."""
    if origin.planner is not None or origin.own_objective:
        raise UserError(f"{origin.run} is an exported policy, which takes no planner")
    if origin.precision != "fp32":
        raise UserError(f"precision is {origin.precision!r}; exported policies are in 'fp32'")
    if origin.device != "cpu":
        raise UserError(f"device is {origin.device!r}; exported policies run on the cpu here")
    agent = load_exported(origin.checkpoint)
    own = unviewed(agent).spec.embodiment
    if origin.embodiment not in (None, own):
        raise UserError(f"{origin.run} was exported for the embodiment {own!r}")
    agent.origin = origin
    return agent


def _agent(
    path: str | Path,
    system: System,
    info: CheckpointInfo,
    origin: Origin,
    objective: StepValue | None,
) -> Unviewed:
    """Return the agent of the kind that fits the model."""
    require_fitting_planner(path, info, origin.planner, objective)
    if isinstance(system.model, LatentWorld):
        return _latent_agent(system, info, origin)
    if origin.planner is not None:
        return _planning_agent(path, system, info, origin, origin.planner, objective)
    kind = ReactiveAgent if isinstance(system.model, Representation) else PolicyAgent
    return kind(system, info, embodiment=origin.embodiment, precision=origin.precision)


def _latent_agent(system: System, info: CheckpointInfo, origin: Origin) -> LatentAgent:
    """Return an agent that acts in a latent world, by its own policy or by a planner."""
    require_full_precision(origin.precision, "a latent world")
    learned = info.embodiments[embodiment_index(info, origin.embodiment)]
    agent = LatentAgent(system.eval(), learned.codec, planner=origin.planner)
    agent.environment = learned.environment
    return agent


def require_full_precision(precision: Precision, what: str) -> None:
    """Require float32.

    Args:
        precision: Of the agent.
        what: Which kind of acting, for the error.

    Raises:
        UserError: The precision is another one.
    """
    if precision != "fp32":
        raise UserError(
            f"precision is {precision!r}; {what} is in 'fp32' alone: rounded predictions add up"
        )


def _planning_agent(
    path: str | Path,
    system: System,
    info: CheckpointInfo,
    origin: Origin,
    planner: PlannerConfig,
    objective: StepValue | None,
) -> MpcAgent:
    """Return an agent that plans with a dynamics model."""
    if not isinstance(planner, PlannerConfig):
        choices = ", ".join(f"{kind.__name__}()" for kind in PLANNERS.values())
        raise UserError(
            f"planner is {planner!r}; expected a config of manyparts.planners: {choices}"
        )
    needs_rewards = objective is None and not isinstance(planner, FollowConfig)
    if needs_rewards and not info.provenance.get("rewarded", True):
        raise UserError(
            f"{shown(path)} learned from data without rewards, so there is none to plan for; "
            "give an objective, manyparts.load(..., objective=...), "
            "or where it learned a policy the planner 'policy'"
        )
    require_full_precision(origin.precision, "planning")
    learned = info.embodiments[embodiment_index(info, origin.embodiment)]
    agent = MpcAgent(
        system.eval().model,
        learned.codec,
        planner,
        objective=objective,
        device=origin.device,
    )
    agent.environment = learned.environment
    return agent


def require_fitting_planner(
    path: str | Path,
    info: CheckpointInfo,
    planner: PlannerConfig | None,
    objective: StepValue | None = None,
) -> None:
    """Require a planner for a dynamics model, and none for a policy.

    Args:
        path: Of the agent, for the error.
        info: The description of the agent's checkpoint.
        planner: The planner's config, if there is one.
        objective: What the planner seeks instead of the task's reward, if anything.

    Raises:
        UserError: A dynamics model has no planner, or a policy has a planner or an objective.
    """
    plugins.require(info.provenance.get("plugins"), path, "objectives")
    path, model = shown(path), from_jsonable(ModelConfig, dict(info.model))
    if isinstance(model, LatentWorldConfig):
        _require_fitting_world(path, info, model, planner, objective)
        return
    plans = isinstance(model, DynamicsConfig)
    if plans and planner is None:
        raise UserError(
            f"{path} is a dynamics model, which predicts and acts only with a planner; "
            f"choices: {', '.join(planner_names())}"
        )
    if not plans and (planner is not None or objective is not None):
        raise UserError(f"{path} is a policy, which takes neither a planner nor an objective")


def _require_fitting_world(
    path: str | Path,
    info: CheckpointInfo,
    model: LatentWorldConfig,
    planner: PlannerConfig | None,
    objective: StepValue | None,
) -> None:
    """Require a planner for a world without a policy, and no objective."""
    if model.sources:
        raise UserError(
            f"{path} is a teacher that tells {model.sources} sources apart, and acts in none of "
            "them; teach a student with it, such as vid2act/laptop"
        )
    if model.actions == "none":
        raise UserError(f"{path} is a world model without actions, with which nobody can act")
    objectives = from_jsonable(Mapping[str, ObjectiveConfig], info.objectives)
    has_policy = any(isinstance(each, ActorCriticConfig) for each in objectives.values())
    searches = [name for name in planner_names() if PLANNERS.get(name) is not FollowConfig]
    if planner is None and not has_policy:
        raise UserError(
            f"{path} is a world model without a policy, which acts only with a planner; "
            f"choices: {', '.join(searches)}"
        )
    if isinstance(planner, FollowConfig):
        raise UserError(
            f"planner 'policy' follows a policy that imitates, which {path} does not have; "
            f"choices: {', '.join(searches)}, or none for its own policy"
        )
    if objective is not None:
        raise UserError(f"{path} plans for the rewards that it learned, and takes no objective")


def load_system(
    path: str | Path, changes: Mapping[str, Any] | None = None
) -> tuple[System, CheckpointInfo]:
    """Load the model and the objectives of a run or a checkpoint, whether they can act or not.

    Args:
        path: See `load`.
        changes: Changes of the model's config, in fields that no weight depends on.

    Returns:
        The weights, and the checkpoint's description.

    Raises:
        UserError: Weights, files or changes do not fit.
    """
    folder = resolve(path)
    info = load_info(folder)
    plugins.require(info.provenance.get("plugins"), path, "objectives")
    system = System.build(
        # Fresh weights first, which the checkpoint's then replace.
        from_jsonable(ModelConfig, {**info.model, **(changes or {})}),
        from_jsonable(Mapping[str, ObjectiveConfig], info.objectives),
        info.embodiment_set,
        from_jsonable(WindowConfig, info.window),
    )
    load_weights(system, folder)
    return system, info


def origin_of(
    run: str | Path | LearnedAgent,
    device: str | None = None,
    precision: Precision | None = None,
    planner: PlannerConfig | None = None,
) -> Origin:
    """Return from where and how other processes load the same agent.

    Args:
        run: A path, or a loaded agent.
        device: See `load`. None: the agent's own; likewise the next two.
        precision: See `load`.
        planner: See `load`.

    Raises:
        UserError: No other process can load the agent, because it was not loaded or has weights or
            an objective of its own; or a folder has no checkpoint.
    """
    if isinstance(run, str | os.PathLike):
        path = path_of(run, "run")
        return Origin(path, resolve(path), device or "cpu", None, precision or "fp32", planner)
    own = "an agent of your own is run by rollout(env, agent, seed=..., prompt=..., explore=False)"
    if not isinstance(run, LearnedAgent):
        raise UserError(
            f"run is of type {type(run).__name__}; "
            f"expected a run's folder or an agent of load(); {own}"
        )
    origin = run.origin
    if origin is None or origin.own_objective:
        reason = "was not loaded from a folder" if origin is None else "has an objective of its own"
        raise UserError(f"this agent {reason}, and other processes cannot load it; {own}")
    if not _holds_weights_of(run, origin):
        raise UserError(f"the agent's weights are no longer those of {origin.checkpoint}; {own}")
    return replace(
        origin,
        device=device or origin.device,
        precision=precision or origin.precision,
        planner=planner or origin.planner,
    )


def _holds_weights_of(agent: LearnedAgent, origin: Origin) -> bool:
    """Return whether the agent's weights are unchanged since it was loaded."""
    if isinstance(unviewed(agent), ExportedAgent):
        return True
    # The agent is loaded again, rather than the file read: bf16 rounds weights on loading.
    fresh = load(
        origin.checkpoint,
        embodiment=origin.embodiment,
        precision=origin.precision,
        planner=origin.planner,
    )
    current, stored = _module(agent).state_dict(), _module(fresh).state_dict()
    return all(torch.equal(tensor.cpu(), stored[name]) for name, tensor in current.items())


def _module(agent: LearnedAgent) -> nn.Module:
    """Return what holds an agent's weights."""
    inside = unviewed(agent)
    if not isinstance(inside, MpcAgent):
        return inside.system
    assert isinstance(inside.model, nn.Module), type(inside.model)
    return inside.model
