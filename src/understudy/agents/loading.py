"""Agents from checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from understudy.agents.policy_agent import PolicyAgent
from understudy.agents.reactive_agent import ReactiveAgent
from understudy.data.windows import WindowConfig
from understudy.models.checkpoint import CheckpointInfo, load_info, load_weights, resolve
from understudy.models.representation import Representation
from understudy.models.world_model import WorldModel
from understudy.objectives.system import ModelConfig, ObjectiveConfig, System
from understudy.serialisation import from_jsonable
from understudy.types import Precision, UserError

LearnedAgent = PolicyAgent | ReactiveAgent


def load(
    path: str | Path, device: str = "cpu", *, embodiment: str | None = None, precision: Precision = "fp32"
) -> LearnedAgent:
    """The agent of a run folder or a checkpoint folder, acting for one of the embodiments that it learned. precision:
    see `PolicyAgent`.

    Raises UserError where weights or files do not fit, where they are of a model that does not act, and naming the
    choices where the embodiment is not among them.
    """
    system, info = load_system(path)
    if isinstance(system.model, WorldModel):
        raise UserError(f"{path} is a dynamics model, which predicts and does not act; see `understudy predict`")
    kind = ReactiveAgent if isinstance(system.model, Representation) else PolicyAgent
    return kind(system.to(device), info, embodiment=embodiment, precision=precision)


def load_system(path: str | Path) -> tuple[System, CheckpointInfo]:
    """The weights of a run folder or a checkpoint folder, whether they can act or not, and what it says of itself.

    Raises UserError where weights or files do not fit.
    """
    folder = resolve(path)
    info = load_info(folder)
    system = System.build(
        from_jsonable(ModelConfig, info.model),
        from_jsonable(Mapping[str, ObjectiveConfig], info.objectives),
        info.joint,
        from_jsonable(WindowConfig, info.window),
    )
    load_weights(system, folder)
    return system, info
