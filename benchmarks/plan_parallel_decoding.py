"""Imagining all numbers of a step at once, against one after the other."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import Row, in_turns, seconds
from benchmarks.plan_shared_cache import CANDIDATES, HORIZON, a_context, imagine, make_model

_ROUNDS = 3


def measure() -> Iterator[Row]:
    """128 candidates, 25 steps ahead, the context shared by all in both."""
    together, apart = make_model("parallel"), make_model("sequential")
    given = a_context(together)
    value, baseline = in_turns(
        lambda: 1 / seconds(lambda: imagine(together, given)),
        lambda: 1 / seconds(lambda: imagine(apart, given)),
        rounds=_ROUNDS,
    )
    note = f"plans of {CANDIDATES} x {HORIZON} steps, cartpole's size (5 + 1 numbers)"
    yield Row("plan-parallel-decoding", value, baseline, "plans/s", note, min_ratio=5.0)
