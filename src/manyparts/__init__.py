"""manyparts: pretrain one agent on many tasks' trajectories, then prompt it, tune it, or let it plan."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyparts.agents.loading import load
    from manyparts.data.dataset import DatasetWriter, EpisodeDataset
    from manyparts.envs import EnvConfig, make
    from manyparts.evaluation.evaluate import evaluate, evaluate_reference
    from manyparts.evaluation.report import write_report
    from manyparts.evaluation.results import compare
    from manyparts.methods import preset
    from manyparts.planners import MppiConfig
    from manyparts.rollout.collect import collect
    from manyparts.training.train import train
    from manyparts.types import ActionContract, Batch, Episode, Loss, Prompt, Spec, TaskEntry, UserError

__version__ = "0.1.0"

_HOMES = {
    "load": "agents.loading",
    "DatasetWriter": "data.dataset",
    "EpisodeDataset": "data.dataset",
    "EnvConfig": "envs",
    "make": "envs",
    "evaluate": "evaluation.evaluate",
    "evaluate_reference": "evaluation.evaluate",
    "write_report": "evaluation.report",
    "compare": "evaluation.results",
    "preset": "methods",
    "MppiConfig": "planners",
    "collect": "rollout.collect",
    "train": "training.train",
    **dict.fromkeys(["ActionContract", "Batch", "Episode", "Loss", "Prompt", "Spec", "TaskEntry", "UserError"], "types"),
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that importing the package loads neither torch nor a simulator."""
    if name not in _HOMES:
        raise AttributeError(f"module 'manyparts' has no attribute {name!r}")
    return getattr(importlib.import_module(f"manyparts.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
