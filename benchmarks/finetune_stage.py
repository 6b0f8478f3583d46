"""Tuning a policy on a frozen encoder and evaluating it, against a plain PyTorch program."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

from benchmarks import plain
from benchmarks.harness import Row, in_turns, seconds
from manyparts.evaluation.protocol import evaluate
from manyparts.methods.inverse_dynamics import finetune, untrained
from manyparts.rollout.collect import collect
from manyparts.training.train import train

_TASK, _DEMONSTRATIONS, _EPISODES, _ROUNDS = "pointmass/reach", 10, 50, 2


def measure() -> Iterator[Row]:
    """Measure the whole stage of the laptop preset, from an encoder to a result with episodes.

    Each side starts with empty caches. Both encoders have random weights, so that few episodes end
    early.
    """
    config = replace(finetune("laptop"), processes=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = collect([_TASK], episodes=_DEMONSTRATIONS, output=folder / "data")
        start = train(untrained("laptop"), data=data.path, output=folder / "encoder")
        rounds = iter(range(_ROUNDS))

        def library() -> float:
            output = folder / f"library{next(rounds)}"

            def stage() -> None:
                run = train(config, data=data.path, output=output / "run", start_from=start)
                evaluate(run, episodes=_EPISODES, until_success=True, output=output / "evaluation")

            with mock.patch.dict(os.environ, MANYPARTS_CACHE=str(output / "cache")):
                return 1 / seconds(stage)

        def plain_program() -> float:
            return 1 / seconds(
                lambda: plain.tune_and_evaluate(data, config.steps, config.batch_size, _EPISODES)
            )

        value, baseline = in_turns(library, plain_program, rounds=_ROUNDS)
    note = (
        f"stages of {config.steps} steps and {_EPISODES} episodes, point mass at 64 px, "
        "against a plain loop"
    )
    yield Row("finetune-stage", value, baseline, "stages/s", note, min_ratio=5.0)
