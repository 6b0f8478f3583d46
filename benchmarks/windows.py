"""Windows: how fast they are drawn, against how fast a training step of phase I consumes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from benchmarks.harness import Row, in_turns, rate
from benchmarks.recorded import Steps, recorded
from manyparts.data.sampling.windows import Windows
from manyparts.methods import preset


def measure() -> Iterator[Row]:
    """Measure windows of the laptop's phase I."""
    config = preset("dualmind/phase1-laptop")
    with recorded() as (dataset, cache):
        windows = Windows(dataset, cache, config.window, seed=0)
        numbers, steps = itertools.count(), Steps(config, dataset, windows)
        steps()
        value, baseline = in_turns(
            lambda: rate(
                lambda: windows.batch(next(numbers), config.batch_size),
                calls=50,
                units=config.batch_size,
            ),
            lambda: rate(steps, calls=4, units=config.batch_size),
            rounds=5,
        )
    note = (
        "windows of four 64 px frames drawn, against those consumed by steps of "
        "dualmind/phase1-laptop"
    )
    yield Row("windows", value, baseline, "windows/s", note, min_ratio=20)
