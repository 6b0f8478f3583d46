"""understudy: pretrain one agent on many tasks' trajectories, then prompt it, tune it, or let it plan."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from understudy.agents.loading import load
    from understudy.data.dataset import EpisodeDataset
    from understudy.envs import make
    from understudy.evaluation.evaluate import evaluate
    from understudy.evaluation.report import write_report
    from understudy.methods import preset
    from understudy.rollout.collect import collect
    from understudy.training.train import train
    from understudy.types import ActionContract, Batch, Episode, Loss, Prompt, Spec, UserError

__version__ = "0.1.0"

_HOMES = {
    "load": "agents.loading",
    "EpisodeDataset": "data.dataset",
    "make": "envs",
    "evaluate": "evaluation.evaluate",
    "write_report": "evaluation.report",
    "preset": "methods",
    "collect": "rollout.collect",
    "train": "training.train",
    **dict.fromkeys(["ActionContract", "Batch", "Episode", "Loss", "Prompt", "Spec", "UserError"], "types"),
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that importing the package loads neither torch nor a simulator."""
    if name not in _HOMES:
        raise AttributeError(f"module 'understudy' has no attribute {name!r}")
    return getattr(importlib.import_module(f"understudy.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
