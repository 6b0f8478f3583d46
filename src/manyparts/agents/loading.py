"""Agents from checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manyparts.agents.mpc_agent import MpcAgent
from manyparts.agents.policy_agent import PolicyAgent, embodiment_place
from manyparts.agents.reactive_agent import ReactiveAgent
from manyparts.data.transforms import StateNormaliser
from manyparts.data.windows import WindowConfig
from manyparts.models.checkpoint import CheckpointInfo, load_info, load_weights, resolve
from manyparts.models.representation import Representation
from manyparts.models.world_model import WorldModel
from manyparts.objectives.system import ModelConfig, ObjectiveConfig, System
from manyparts.planners import PLANNERS, FollowConfig, PlannerConfig
from manyparts.planners.plans import StepValue
from manyparts.serialisation import from_jsonable
from manyparts.types import Precision, UserError

LearnedAgent = PolicyAgent | ReactiveAgent | MpcAgent


def load(
    path: str | Path,
    device: str = "cpu",
    *,
    embodiment: str | None = None,
    precision: Precision = "fp32",
    planner: PlannerConfig | None = None,
    objective: StepValue | None = None,
) -> LearnedAgent:
    """The agent of a run folder or a checkpoint folder, acting for one of the embodiments that it learned. precision:
    see `PolicyAgent`. planner: what a dynamics model acts with, and only that. objective: what it seeks instead of the
    task's reward; see `MpcAgent`.

    Raises UserError where weights or files do not fit, for a dynamics model without a planner or a policy with one,
    where it learned no rewards to plan for, and naming the choices where the embodiment is not among them.
    """
    system, info = load_system(path)
    plans = isinstance(system.model, WorldModel)
    if plans and planner is None:
        known = ", ".join(PLANNERS)
        raise UserError(f"{path} is a dynamics model, which predicts and acts only with a planner; choices: {known}")
    if not plans and (planner is not None or objective is not None):
        raise UserError(f"{path} is a policy, which takes neither a planner nor an objective")
    if planner is not None:
        if not isinstance(planner, PlannerConfig):
            known = ", ".join(f"{kind.__name__}()" for kind in PLANNERS.values())
            raise UserError(f"planner is {planner!r}; expected a config of manyparts.planners: {known}")
        seeks = objective is not None or isinstance(planner, FollowConfig)
        if not seeks and not info.provenance.get("rewarded", True):
            raise UserError(
                f"{path} learned from data without rewards, so there is none to plan for; give an objective, "
                "manyparts.load(..., objective=...), or where it learned a policy the planner 'policy'"
            )
        if precision != "fp32":
            raise UserError(f"precision is {precision!r}; planning is in 'fp32' alone: rounded predictions add up")
        body = info.embodiments[embodiment_place(info, embodiment)]
        normaliser = StateNormaliser.of(body.statistics, body.spec.state_dimension)
        model = system.to(device).eval().model
        return MpcAgent(model, body.spec, normaliser, planner, objective=objective, device=device)
    kind = ReactiveAgent if isinstance(system.model, Representation) else PolicyAgent
    return kind(system.to(device), info, embodiment=embodiment, precision=precision)


def load_system(path: str | Path, changes: Mapping[str, Any] | None = None) -> tuple[System, CheckpointInfo]:
    """The weights of a run folder or a checkpoint folder, whether they can act or not, and what it says of itself.
    changes: of the model's config, in what weights do not depend on.

    Raises UserError where weights, files or changes do not fit.
    """
    folder = resolve(path)
    info = load_info(folder)
    system = System.build(
        from_jsonable(ModelConfig, {**info.model, **(changes or {})}),
        from_jsonable(Mapping[str, ObjectiveConfig], info.objectives),
        info.joint,
        from_jsonable(WindowConfig, info.window),
    )
    load_weights(system, folder)
    return system, info
