"""Stages that are done because a test says so: made-up episodes and facts, where nothing was
trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from manyparts.core.storage.atomic import write_atomically
from manyparts.evaluation.results import EpisodeRecord, Result
from manyparts.studies.engine.stages import (
    DONE,
    Evaluate,
    EvaluateReference,
    folder,
    product,
    write_description,
)
from manyparts.studies.engine.study import Measurement, stages_of

FACTS = {
    "parameters": 10,
    "trained_parameters": 5,
    "train_seconds": 1.0,
    "seconds": 10.0,
    "core_seconds": 20.0,
}


def conclude(
    measurements: Sequence[Measurement], output: Path, solved: Callable[[Measurement], int]
) -> None:
    """Let all stages of the measurements but their probes be done. solved: episodes of each task,
    the first ones."""
    for measurement in measurements:
        for stage in stages_of([replace(measurement, probe=None)]):
            write_description(stage, output)
            write_atomically(folder(stage, output) / DONE, json.dumps(FACTS).encode())
        for evaluation in measurement.evaluations:
            folder_of_results = product(evaluation, output)
            folder_of_results.mkdir(exist_ok=True)
            made_up(evaluation, solved(measurement)).save(folder_of_results)


def made_up(stage: Evaluate | EvaluateReference, solved: int) -> Result:
    """So many solved episodes of each task, then failures."""
    episodes = [
        EpisodeRecord(task, index, index, None, index < solved, index < solved, 0.0, 10)
        for task in stage.tasks
        for index in range(stage.episodes)
    ]
    return Result(tuple(episodes), {"commit": "abc", "training": {"commit": "abc"}})
