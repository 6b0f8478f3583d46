"""Runs that tests evaluate, kill and compare: an untrained policy for two numpy tasks."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from factories import INSTRUCTIONS_ALONE, OBJECTIVES, make_model_config, make_system

from manyparts.core.serialisation import to_jsonable
from manyparts.core.spec import TaskEntry
from manyparts.data.sampling.config import WindowConfig
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.statistics import FeatureStatistics, Statistics
from manyparts.envs.base import EnvConfig
from manyparts.envs.registry import instructions, make
from manyparts.evaluation.protocol import evaluate
from manyparts.evaluation.results import Result
from manyparts.models.checkpoint import CheckpointInfo, save_checkpoint

TASKS = ("pointmass/reach", "pointmass/reach-left")
CONFIG = EnvConfig(image_size=16, max_steps=30)


def make_run(folder: Path, *, seed: int = 0, window: WindowConfig = INSTRUCTIONS_ALONE) -> Path:
    """A run folder with one checkpoint of random weights."""
    spec = make(TASKS[0], CONFIG).embodiment_spec
    objectives = {"behaviour_cloning": OBJECTIVES["behaviour_cloning"]}
    zeros, ones = (0.0,) * spec.state_dimension, (1.0,) * spec.state_dimension
    embodiment = Embodiment(
        spec=spec,
        environment=to_jsonable(CONFIG),
        statistics=Statistics(
            {"observation.state": FeatureStatistics(10, zeros, ones, zeros, ones)}
        ),
        tasks=tuple(TaskEntry(task, instructions(task).instruction) for task in TASKS),
    )
    info = CheckpointInfo(
        embodiments=(embodiment,),
        model=to_jsonable(make_model_config()),
        objectives=to_jsonable(objectives),
        window=to_jsonable(window),
        provenance={"seed": seed, "config_hash": f"config-{seed}", "dataset_fingerprint": "data"},
    )
    system = make_system(objectives=objectives, spec=spec, seed=seed, window=window)
    with torch.no_grad():  # larger weights move the point about
        for parameter in system.objectives.parameters():
            parameter.mul_(3)
    save_checkpoint(folder / "checkpoints" / "last", system, info)
    return folder


def evaluate_small(
    run: Path, output: Path, *, workers: int = 2, episodes: int = 4, videos: int = 0
) -> Result:
    return evaluate(run, episodes=episodes, seed=3, workers=workers, videos=videos, output=output)


if __name__ == "__main__":
    evaluate_small(
        Path(sys.argv[1]), Path(sys.argv[2]), episodes=int(sys.argv[3]), videos=int(sys.argv[4])
    )
