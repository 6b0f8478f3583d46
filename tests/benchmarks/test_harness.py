"""The harness: sides take turns, rows check their promises and are written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import benchmarks
from benchmarks.harness import Row, append, in_turns, one_core, rate
from manyparts.core.errors import UserError


def test_sides_run_in_turns() -> None:
    order: list[str] = []
    figures = {"library": iter([10.0, 1.0, 12.0]), "peer": iter([2.0, 3.0, 100.0])}

    def side(name: str) -> float:
        order.append(name)
        return next(figures[name])

    assert in_turns(lambda: side("library"), lambda: side("peer"), rounds=3) == [10.0, 3.0]
    assert order == ["library", "peer"] * 3


def test_rate_counts_units_per_second() -> None:
    calls: list[int] = []
    assert rate(lambda: calls.append(1), calls=7, units=3) > 0
    assert len(calls) == 7


@pytest.mark.parametrize(
    ("promise", "holds"),
    [
        ({}, True),
        ({"min_ratio": 2.0}, True),
        ({"min_ratio": 2.1}, False),
        ({"min_value": 11.0}, False),
        ({"max_ratio": 2.0}, True),
        ({"max_ratio": 1.9}, False),
    ],
)
def test_rows_check_their_promises(promise: dict[str, float], holds: bool, tmp_path: Path) -> None:
    row = Row("speed", 10.0, 5.0, "things/s", "library against peer", **promise)
    for _ in range(2):
        append(tmp_path / "new" / "rows.jsonl", row)
    first, second = map(json.loads, (tmp_path / "new" / "rows.jsonl").read_text().splitlines())
    assert first == second
    assert first["ratio"] == 2.0
    assert first["holds"] is holds
    assert {"name", "value", "baseline", "unit", "machine", "commit"} <= first.keys()


def test_unwritable_files_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write"):
        append(tmp_path, Row("speed", 1.0, 1.0, "things/s", ""))


def test_one_core_is_given_back() -> None:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system chooses cores itself")
    before = os.sched_getaffinity(0)
    with one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in benchmarks.BENCHMARKS if name not in ("gpu", "plan-gpu")]
)
def test_every_benchmark_measures_both_sides(name: str) -> None:
    rows = list(benchmarks.measure(name))
    assert rows
    assert all(row.value > 0 and row.baseline > 0 and row.note for row in rows)
