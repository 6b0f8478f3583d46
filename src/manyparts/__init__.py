"""manyparts: pretrain one agent on many tasks' trajectories, then prompt it, tune it, or let it
plan."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from manyparts.core.naming import VERSION as __version__

if TYPE_CHECKING:
    from manyparts.agents.expert import Noise
    from manyparts.agents.loading import LearnedAgent, load
    from manyparts.core.errors import UserError
    from manyparts.core.records import Batch, Demonstration, Episode, Loss, Observation, Prompt
    from manyparts.core.spec import ActionContract, Spec, TaskEntry
    from manyparts.data.dataset import DatasetWriter, EpisodeDataset, append
    from manyparts.embodiment.views.view import View
    from manyparts.envs.base import EnvConfig, Environment
    from manyparts.envs.cameras import FreeCamera
    from manyparts.envs.gym.guess import declare
    from manyparts.envs.gym.suite import gym_suite
    from manyparts.envs.gym.task import GymTask
    from manyparts.envs.registry import make, register_suite
    from manyparts.evaluation.prediction.forecast import Forecast
    from manyparts.evaluation.prediction.open_loop import open_loop
    from manyparts.evaluation.protocol import evaluate, evaluate_reference
    from manyparts.evaluation.results import Comparison, Result, compare
    from manyparts.evaluation.statistics import (
        Interval,
        difference_over_seeds,
        mean_over_seeds,
        wilson,
    )
    from manyparts.methods import preset, preset_names
    from manyparts.planners import CemConfig, MppiConfig, RandomShootingConfig
    from manyparts.report.html import write_report
    from manyparts.rollout.collect import collect
    from manyparts.rollout.loop import EpisodeResult, Step, rollout
    from manyparts.training.online.train import train_online
    from manyparts.training.train import train

_MODULES = {
    "agents.expert": ("Noise",),
    "agents.loading": ("LearnedAgent", "load"),
    "core.errors": ("UserError",),
    "core.records": ("Batch", "Demonstration", "Episode", "Loss", "Observation", "Prompt"),
    "core.spec": ("ActionContract", "Spec", "TaskEntry"),
    "data.dataset": ("DatasetWriter", "EpisodeDataset", "append"),
    "embodiment.views.view": ("View",),
    "envs.base": ("EnvConfig", "Environment"),
    "envs.cameras": ("FreeCamera",),
    "envs.gym.guess": ("declare",),
    "envs.gym.suite": ("gym_suite",),
    "envs.gym.task": ("GymTask",),
    "envs.registry": ("make", "register_suite"),
    "evaluation.prediction.forecast": ("Forecast",),
    "evaluation.prediction.open_loop": ("open_loop",),
    "evaluation.protocol": ("evaluate", "evaluate_reference"),
    "evaluation.results": ("Comparison", "Result", "compare"),
    "evaluation.statistics": (
        "Interval",
        "difference_over_seeds",
        "mean_over_seeds",
        "wilson",
    ),
    "methods": ("preset", "preset_names"),
    "planners": ("CemConfig", "MppiConfig", "RandomShootingConfig"),
    "report.html": ("write_report",),
    "rollout.collect": ("collect",),
    "rollout.loop": ("EpisodeResult", "Step", "rollout"),
    "training.online.train": ("train_online",),
    "training.train": ("train",),
}
_MODULE_OF: dict[str, str] = {}
for _module, _names in _MODULES.items():
    _MODULE_OF |= dict.fromkeys(_names, _module)
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that importing the package loads neither torch nor a
    simulator."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'manyparts' has no attribute {name!r}")
    return getattr(importlib.import_module(f"manyparts.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
