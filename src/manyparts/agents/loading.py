"""Agents from checkpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from manyparts.agents.origin import Origin
from manyparts.agents.planning import MpcAgent
from manyparts.agents.policy import PolicyAgent, embodiment_index
from manyparts.agents.reactive import ReactiveAgent
from manyparts.core.arguments import explained, path_of
from manyparts.core.devices import choose_device
from manyparts.core.errors import UserError
from manyparts.core.records import Precision
from manyparts.core.serialisation import from_jsonable
from manyparts.data.sampling.windows import WindowConfig
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.models.checkpoint import CheckpointInfo, load_info, load_weights, resolve
from manyparts.models.representation import Representation
from manyparts.objectives.base import ObjectiveConfig
from manyparts.objectives.system import DynamicsConfig, ModelConfig, System
from manyparts.planners import PLANNERS, FollowConfig, PlannerConfig
from manyparts.planners.plans import StepValue

LearnedAgent = PolicyAgent | ReactiveAgent | MpcAgent


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
    """The agent of a run folder or a checkpoint folder, acting for one of the embodiments that it
    learned. device: "auto", "cpu", "cuda" or another of torch's. precision: see `PolicyAgent`.
    planner: what a dynamics model acts with, and only that. objective: what it seeks instead of the
    task's reward; see `MpcAgent`.

    Raises UserError where weights or files do not fit, for a dynamics model without a planner or a
    policy with one, where it learned no rewards to plan for, and naming the choices where the
    embodiment is not among them.
    """
    run, device = path_of(path), str(choose_device(device))
    checkpoint = resolve(run)
    system, info = load_system(checkpoint)
    origin = Origin(
        run, checkpoint, device, embodiment, precision, planner, own_objective=objective is not None
    )
    agent = _agent(path, system.to(device), info, origin, objective)
    agent.origin = origin
    return agent


def _agent(
    path: str | Path,
    system: System,
    info: CheckpointInfo,
    origin: Origin,
    objective: StepValue | None,
) -> LearnedAgent:
    planner, precision, embodiment = origin.planner, origin.precision, origin.embodiment
    require_fitting_planner(path, info, planner, objective)
    if planner is not None:
        if not isinstance(planner, PlannerConfig):
            known = ", ".join(f"{kind.__name__}()" for kind in PLANNERS.values())
            raise UserError(
                f"planner is {planner!r}; expected a config of manyparts.planners: {known}"
            )
        seeks = objective is not None or isinstance(planner, FollowConfig)
        if not seeks and not info.provenance.get("rewarded", True):
            raise UserError(
                f"{path} learned from data without rewards, so there is none to plan for; give an objective, "
                "manyparts.load(..., objective=...), or where it learned a policy the planner 'policy'"
            )
        if precision != "fp32":
            raise UserError(
                f"precision is {precision!r}; planning is in 'fp32' alone: rounded predictions add up"
            )
        body = info.embodiments[embodiment_index(info, embodiment)]
        normaliser = StateNormaliser.of(body.statistics, body.spec.state_dimension)
        model = system.eval().model
        agent = MpcAgent(
            model, body.spec, normaliser, planner, objective=objective, device=origin.device
        )
        agent.environment = body.environment
        return agent
    kind = ReactiveAgent if isinstance(system.model, Representation) else PolicyAgent
    return kind(system, info, embodiment=embodiment, precision=precision)


def require_fitting_planner(
    path: str | Path,
    info: CheckpointInfo,
    planner: PlannerConfig | None,
    objective: StepValue | None = None,
) -> None:
    """Raises UserError for a dynamics model without a planner, and for a policy with one."""
    plans = isinstance(from_jsonable(ModelConfig, dict(info.model)), DynamicsConfig)
    if plans and planner is None:
        known = ", ".join(PLANNERS)
        raise UserError(
            f"{path} is a dynamics model, which predicts and acts only with a planner; choices: {known}"
        )
    if not plans and (planner is not None or objective is not None):
        raise UserError(f"{path} is a policy, which takes neither a planner nor an objective")


def load_system(
    path: str | Path, changes: Mapping[str, Any] | None = None
) -> tuple[System, CheckpointInfo]:
    """The weights of a run folder or a checkpoint folder, whether they can act or not, and what it
    says of itself. changes: of the model's config, in what weights do not depend on.

    Raises UserError where weights, files or changes do not fit.
    """
    folder = resolve(path)
    info = load_info(folder)
    system = System.build(
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
    """From where and how other processes load the same agent; what is None is as the agent has it.

    Raises UserError for an agent that no other process can load: one that was not loaded, that has
    weights or an objective of its own; and where a folder holds no checkpoint.
    """
    if isinstance(run, str | os.PathLike):
        path = path_of(run, "run")
        return Origin(path, resolve(path), device or "cpu", None, precision or "fp32", planner)
    own = "an agent of your own is run by rollout(env, agent, seed=..., prompt=..., explore=False)"
    if not isinstance(run, LearnedAgent):
        raise UserError(
            f"run is of type {type(run).__name__}; expected a run's folder or an agent of load(); {own}"
        )
    origin = run.origin
    if origin is None or origin.own_objective:
        what = "was not loaded from a folder" if origin is None else "has an objective of its own"
        raise UserError(f"this agent {what}, and other processes cannot load it; {own}")
    if not _holds_weights_of(run, origin):
        raise UserError(f"the agent's weights are no longer those of {origin.checkpoint}; {own}")
    return replace(
        origin,
        device=device or origin.device,
        precision=precision or origin.precision,
        planner=planner or origin.planner,
    )


def _holds_weights_of(agent: LearnedAgent, origin: Origin) -> bool:
    """Whether nobody changed the agent's weights since it was loaded."""
    fresh = load(
        origin.checkpoint,
        embodiment=origin.embodiment,
        precision=origin.precision,
        planner=origin.planner,
    )
    current, stored = _module(agent).state_dict(), _module(fresh).state_dict()
    return all(torch.equal(tensor.cpu(), stored[name]) for name, tensor in current.items())


def _module(agent: LearnedAgent) -> Any:
    return agent.model if isinstance(agent, MpcAgent) else agent.system
