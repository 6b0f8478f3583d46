"""A step of inverse-dynamics pretraining, against the loop that one writes first: own loader,
nothing cached."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks import plain
from benchmarks.harness import Row, in_turns, rate
from benchmarks.recorded import Steps, recorded
from manyparts.data.sampling.windows import Windows
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.loop import TrainContext, drawn_ahead

_STEPS, _ROUNDS = 10, 5


def measure() -> Iterator[Row]:
    """Steps of the training loop, windows drawn and shifted in the background, against plain
    ones."""
    config = replace(plain.CONFIG, steps=2 + _STEPS * _ROUNDS)
    with recorded() as (dataset, cache), tempfile.TemporaryDirectory() as name:
        windows = Windows(dataset, cache, config.window, seed=0)
        steps = Steps(config, dataset, windows)
        drawn = drawn_ahead(
            TrainContext(config, steps.learner, windows, None, steps.info, Path(name), Ranks()), 0
        )
        theirs = plain.InverseDynamics(dataset)

        def ours() -> None:
            step, parts = next(drawn)
            steps.learner.step(step, parts)

        for side in (ours, theirs):
            side()
        value, baseline = in_turns(
            lambda: rate(ours, calls=_STEPS), lambda: rate(theirs, calls=_STEPS), rounds=_ROUNDS
        )
    note = f"steps of {config.batch_size} pairs of 64 px frames, laptop preset, against a plain loop with two workers"
    yield Row("pretrain-step", value, baseline, "steps/s", note, min_ratio=1.5)
