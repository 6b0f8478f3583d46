"""Imagining all numbers of a step at once, against one after the other."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import Row, in_turns, seconds
from benchmarks.plan_shared_cache import CANDIDATES, HORIZON, imagine, make_model, random_context

_ROUNDS = 3


def measure() -> Iterator[Row]:
    """Measure 128 candidates, 25 steps ahead; both sides share the context."""
    parallel, sequential = make_model("parallel"), make_model("sequential")
    context = random_context(parallel)
    value, baseline = in_turns(
        lambda: 1 / seconds(lambda: imagine(parallel, context)),
        lambda: 1 / seconds(lambda: imagine(sequential, context)),
        rounds=_ROUNDS,
    )
    note = f"plans of {CANDIDATES} x {HORIZON} steps, cartpole's size (5 + 1 numbers)"
    yield Row("plan-parallel-decoding", value, baseline, "plans/s", note, min_ratio=5.0)
