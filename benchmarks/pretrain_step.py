"""A step of inverse-dynamics pretraining, against a plain PyTorch loop."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import plain
from benchmarks.harness import Row, in_turns, rate
from benchmarks.recorded import Steps, recorded
from manyparts.data.sampling.windows import Windows
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.inputs import Sources
from manyparts.training.loop import TrainContext, drawn_ahead
from manyparts.training.run import Run

_STEPS, _ROUNDS = 10, 5


def measure() -> Iterator[Row]:
    """Measure steps of the training loop, with windows drawn in the background."""
    config = replace(plain.CONFIG, steps=2 + _STEPS * _ROUNDS)
    with recorded() as (dataset, cache), tempfile.TemporaryDirectory() as name:
        windows = Windows(dataset, cache, config.window, seed=0)
        steps = Steps(config, dataset, windows)
        run = Run(config, Sources((dataset,)), Path(name), None, torch.device("cpu"), Ranks())
        context = TrainContext(run, steps.learner, windows, None, steps.info)
        batches = drawn_ahead(context, 0)
        plain_step = plain.InverseDynamics(dataset)

        def library_step() -> None:
            step, parts = next(batches)
            steps.learner.step(step, parts)

        for side in (library_step, plain_step):
            side()
        value, baseline = in_turns(
            lambda: rate(library_step, calls=_STEPS),
            lambda: rate(plain_step, calls=_STEPS),
            rounds=_ROUNDS,
        )
    note = (
        f"steps of {config.batch_size} pairs of 64 px frames, laptop preset, "
        "against a plain loop with two workers"
    )
    yield Row("pretrain-step", value, baseline, "steps/s", note, min_ratio=1.5)
