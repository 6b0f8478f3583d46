"""manyparts: pretrain one agent on many tasks' trajectories, then prompt it, tune it, or let it
plan."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from manyparts.core.naming import VERSION as __version__

if TYPE_CHECKING:
    from manyparts.agents.loading import load
    from manyparts.core.errors import UserError
    from manyparts.core.records import Batch, Episode, Loss, Prompt
    from manyparts.core.spec import ActionContract, Spec
    from manyparts.data.dataset import EpisodeDataset
    from manyparts.envs.registry import make
    from manyparts.evaluation.protocol import evaluate
    from manyparts.methods import preset
    from manyparts.report.html import write_report
    from manyparts.rollout.collect import collect
    from manyparts.training.train import train

_HOMES = {
    "load": "agents.loading",
    "EpisodeDataset": "data.dataset",
    "make": "envs.registry",
    "evaluate": "evaluation.protocol",
    "write_report": "report.html",
    "preset": "methods",
    "collect": "rollout.collect",
    "train": "training.train",
    "UserError": "core.errors",
    **dict.fromkeys(["ActionContract", "Spec"], "core.spec"),
    **dict.fromkeys(["Batch", "Episode", "Loss", "Prompt"], "core.records"),
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that importing the package loads neither torch nor a
    simulator."""
    if name not in _HOMES:
        raise AttributeError(f"module 'manyparts' has no attribute {name!r}")
    return getattr(importlib.import_module(f"manyparts.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
