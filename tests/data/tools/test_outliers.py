"""Sound and faulty columns, as robots and simulators write them: only the faulty ones are named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from manyparts.data.tools.check_numbers import Jumps
from manyparts.data.tools.outliers import OutlierRows, Outliers

Column = Callable[
    [np.random.Generator, int, int], np.ndarray
]  # of a generator, the rows and the episode's number
TURN = 2 * np.pi
SETS = [(3, 60), (40, 50)]  # episodes, rows


def looked_at(
    column: Column, episodes: int, rows: int, seed: int = 0
) -> tuple[list[OutlierRows], list[str]]:
    """The outliers and the angles found in a column that stands between two smooth ones."""
    drawn = np.random.default_rng(seed)
    made = []
    for number in range(episodes):
        values = np.cumsum(drawn.normal(0, 0.02, (rows, 3)), axis=0)
        values[:, 1] = column(drawn, rows, number)
        made.append(values)
    outliers, jumps = Outliers(3), Jumps()
    for number, values in enumerate(made):
        outliers.add(number, values)
        jumps.add("state", number, values)
    rows_of_outliers = outliers.find(made.__getitem__, jumps.explained("state"))
    return rows_of_outliers, [
        finding.what for finding in jumps.findings(lambda _: ("x", "q", "y"), str)
    ]


def toggled(low: float, high: float, every: int = 20) -> Column:
    return lambda drawn, rows, number: np.where((np.arange(rows) // every) % 2, high, low)


def burst(value: float, noise: float = 0.0) -> Column:
    """Three rows in each episode."""

    def make(drawn: np.random.Generator, rows: int, number: int) -> np.ndarray:
        at = int(drawn.integers(3, rows - 5))
        return np.where(
            np.isin(np.arange(rows), at + np.arange(3)), value, 0.0
        ) + noise * drawn.normal(size=rows)

    return make


def wrapped(angle: np.ndarray, period: float = TURN) -> np.ndarray:
    return (angle + period / 2) % period - period / 2


SOUND: dict[str, Column] = {
    "normal": lambda drawn, rows, number: drawn.normal(size=rows),
    "uniform": lambda drawn, rows, number: drawn.uniform(-np.pi, np.pi, rows),
    "Laplace": lambda drawn, rows, number: drawn.laplace(size=rows),
    "Student": lambda drawn, rows, number: drawn.standard_t(3, rows),
    "Cauchy": lambda drawn, rows, number: drawn.standard_cauchy(rows),
    "lognormal": lambda drawn, rows, number: drawn.lognormal(0, 1, rows),
    "contact forces": lambda drawn, rows, number: (
        burst(1, 0.0)(drawn, rows, number) * drawn.lognormal(3, 0.5, rows)
    ),
    "walk": lambda drawn, rows, number: 1000 + 50 * np.cumsum(drawn.normal(size=rows)),
    "gripper": toggled(0, 1),
    "gripper in degrees": toggled(0, 330),
    "gripper of 0 and 5.5": toggled(0, 5.5),
    "whole turn": toggled(0, 360),
    "torque": toggled(-2.8, 2.8),
    "fast torque": lambda drawn, rows, number: (
        toggled(-3, 3, 1)(drawn, rows, number) + drawn.normal(0, 0.01, rows)
    ),
    "reversal": lambda drawn, rows, number: (
        toggled(3, -3, 30)(drawn, rows, number) + drawn.normal(0, 0.01, rows)
    ),
    "rare button": lambda drawn, rows, number: (np.arange(rows) == 7) * (number == 1) * 1.0,
    "noisy button": lambda drawn, rows, number: (
        (np.arange(rows) == 7) * (number == 1) + drawn.normal(0, 0.001, rows)
    ),
    "bursts": burst(255),
    "noisy bursts": burst(100, 0.001),
    "random presses": lambda drawn, rows, number: (drawn.random(rows) < 0.02) * 1.0,
    "closed at the end": lambda drawn, rows, number: (np.arange(rows) >= rows - 2) * 255.0,
    "choices": lambda drawn, rows, number: drawn.integers(0, 7, rows).astype(float),
    "goal": lambda drawn, rows, number: np.full(
        rows, 5.0 if number == 1 else drawn.uniform(-0.1, 0.1)
    ),
    "still": lambda drawn, rows, number: drawn.normal(0, 1e-9, rows),
    "unwrapped": lambda drawn, rows, number: 0.3 * np.arange(rows),
}


@pytest.mark.parametrize(("episodes", "rows"), SETS)
@pytest.mark.parametrize("name", SOUND)
def test_sound_columns_are_not_warned_of(name: str, episodes: int, rows: int) -> None:
    for seed in range(4):
        assert looked_at(SOUND[name], episodes, rows, seed) == ([], [])


def spoilt(column: Column, *spoilt_rows: tuple[slice, float]) -> Column:
    """In the second episode."""

    def make(drawn: np.random.Generator, rows: int, number: int) -> np.ndarray:
        values = np.array(column(drawn, rows, number), dtype=np.float64)
        for rows_at, value in spoilt_rows if number == 1 else ():
            values[rows_at] = value
        return values

    return make


def near(drawn: np.random.Generator, rows: int, number: int) -> np.ndarray:
    return drawn.uniform(-0.3, 0.3, rows)


def still(drawn: np.random.Generator, rows: int, number: int) -> np.ndarray:
    return np.zeros(rows)


ONE = slice(7, 8)
FAULTY: dict[str, tuple[Column, tuple[int, int]]] = {
    "one row": (spoilt(near, (ONE, 1000)), (7, 7)),
    "not very far": (spoilt(near, (ONE, -10)), (7, 7)),
    "a burst": (spoilt(near, (slice(4, 10), 1000)), (4, 9)),
    "still but one": (spoilt(still, (ONE, 1000)), (7, 7)),
    "dropped to zero": (spoilt(lambda *drawn: 500 + near(*drawn), (ONE, 0)), (7, 7)),
    "in a normal column": (spoilt(SOUND["normal"], (ONE, 1000)), (7, 7)),
    "in a heavy tail": (spoilt(SOUND["Student"], (ONE, 1e6)), (7, 7)),
    "beside rare presses": (spoilt(still, (ONE, 1000), (slice(20, 23), 1)), (7, 7)),
}


@pytest.mark.parametrize(("episodes", "rows"), [*SETS, (3, 13), (300, 300)])
@pytest.mark.parametrize("name", FAULTY)
def test_outliers_are_named(name: str, episodes: int, rows: int) -> None:
    column, (first, last) = FAULTY[name]
    if rows < 20 and (name == "a burst" or "presses" in name):
        pytest.skip("they are too many of so few rows")
    (far,), angles = looked_at(column, episodes, rows)
    assert (far.episode, far.first, far.last, list(far.numbers), angles) == (
        1,
        first,
        last,
        [1],
        [],
    )


@pytest.mark.parametrize(
    "column",
    [
        lambda drawn, rows, number: np.where(
            np.arange(rows) == 0, -99.0, near(drawn, rows, number)
        ),
        lambda drawn, rows, number: np.where(
            np.arange(rows) == number % 9, 1000.0, near(drawn, rows, number)
        ),
    ],
    ids=["first row", "any row"],
)
def test_fault_of_every_episode_is_named(column: Column) -> None:
    assert len(looked_at(column, 40, 50)[0]) == 40


def test_outliers_of_different_size_all_named() -> None:
    far, _ = looked_at(spoilt(near, (ONE, 1e6), (slice(20, 21), -1000)), 3, 60)
    assert [(each.first, each.numbers[1][0]) for each in far] == [(7, 1e6), (20, -1000)]


def test_of_few_rows_nothing_is_concluded() -> None:
    assert looked_at(spoilt(near, (ONE, 1000)), 2, 9) == ([], [])


def steps_of(angle: np.ndarray) -> np.ndarray:
    return np.diff(angle, prepend=angle[:1])


ANGLES: dict[str, tuple[Column, str]] = {
    "slow": (lambda drawn, rows, number: wrapped(0.2 * np.arange(rows)), "q jumps by 2 pi"),
    "at pi": (
        lambda drawn, rows, number: np.where(np.arange(rows) % 2, -3.122, 3.122),
        "q jumps by 2 pi",
    ),
    "1 rad a step": (lambda drawn, rows, number: wrapped(1.0 * np.arange(rows)), "q jumps by 2 pi"),
    "67 degrees": (
        lambda drawn, rows, number: (67.0 * np.arange(rows)) % 360,
        "q jumps by 360 degrees",
    ),
    "about 180": (
        lambda drawn, rows, number: wrapped(180 + drawn.normal(0, 1, rows), 360),
        "q jumps by 360 degrees",
    ),
    "differences": (
        lambda drawn, rows, number: steps_of(wrapped(0.34 * np.arange(rows))),
        "q holds differences of an angle that jumps by 2 pi:",
    ),
    "differences in degrees": (
        lambda drawn, rows, number: steps_of(wrapped(np.cumsum(drawn.normal(9, 5, rows)), 360)),
        "q holds differences of an angle that jumps by 360 degrees:",
    ),
}


@pytest.mark.parametrize(("episodes", "rows"), SETS)
@pytest.mark.parametrize("name", ANGLES)
def test_angles_that_jump_are_named_once(name: str, episodes: int, rows: int) -> None:
    column, words = ANGLES[name]
    far, (what,) = looked_at(column, episodes, rows)
    assert far == [] and what.startswith(words)


def test_gripper_is_no_rotation() -> None:
    jumps, drawn = Jumps(), np.random.default_rng(0)
    moves = drawn.normal(0, 0.02, (100, 3))
    gripper = np.where((np.arange(100) // 20) % 2, 1.0, -1.0)[:, None]
    jumps.add("action", 0, np.concatenate([moves, gripper], axis=1))
    jumps.add("torque", 0, np.concatenate([moves[:, :2], 2.8 * gripper], axis=1))
    assert list(jumps.findings(lambda _: ("x", "y", "z", "gripper"), str)) == []
