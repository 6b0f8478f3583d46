"""Scales of numbers that never moved in a run's first data come from later data, if they move
there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from data.synthetic import make_spec

from manyparts.core.columns import ACTION, STATE
from manyparts.data.formats.arrays import observed_bounds
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.embodiment.scales import Scale, fitted_to_data, still_actions
from manyparts.embodiment.statistics import RunningStatistics, Statistics, pooled

ROWS = np.random.default_rng(0).uniform(-1, 1, (200, 3))


def scale_of(third: np.ndarray | float, *, measured: bool = True, offset: float = 0.0) -> Scale:
    """Two numbers that move, and a third one; in states and in actions."""
    rows = np.column_stack([ROWS[:, :2] + offset, np.broadcast_to(third, len(ROWS))]).astype(
        np.float32
    )
    running = RunningStatistics(3)
    running.update(rows)
    statistics = Statistics({STATE: running.finish(), ACTION: running.finish()})
    low, high = observed_bounds(statistics)
    contract = replace(
        make_spec().action, names=("x", "y", "grip"), low=low, high=high, measured=measured
    )
    return Scale(replace(make_spec(), action=contract), statistics)


MOVING = np.where(np.arange(200) < 100, 0.0, 1.0)


@pytest.mark.parametrize(
    "third",
    [0.0, 0.7, -1e6, np.float32(1e6) + np.tile([0, 0.0625], 100), np.tile([0.5, 0.5001], 100)],
    ids=["zero", "constant", "large", "rounding", "noise"],
)
def test_still_numbers_get_the_new_scale(third: np.ndarray | float) -> None:
    before, now = scale_of(third), scale_of(third + 3 * MOVING)
    fitted, lines = fitted_to_data(before, now, "runs/one")
    assert len(lines) == 2 and all(
        "in the data of runs/one: its scale is taken" in line for line in lines
    )
    assert "state gripper" in lines[0] and "action grip" in lines[1]
    reached = np.asarray(now.statistics[ACTION].min), np.asarray(now.statistics[ACTION].max)
    assert all(np.abs(fitted.spec.action.normalise(each)).max() <= 1.01 for each in reached)
    normaliser = StateNormaliser.of(fitted.statistics, 3)
    assert not normaliser.low and np.abs(normaliser(reached[1])).max() < 5
    assert fitted.spec.action.low[:2] == before.spec.action.low[:2]
    assert fitted.statistics[STATE].mean[:2] == before.statistics[STATE].mean[:2]
    assert fitted_to_data(fitted, now, "runs/two") == (fitted, [])


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (scale_of(0.5), scale_of(0.5)),
        (scale_of(MOVING), scale_of(2 * MOVING, offset=0.5)),
        (scale_of(MOVING), scale_of(0.0)),
        (scale_of(MOVING), scale_of(np.where(np.arange(200) == 7, 1e6, MOVING))),
    ],
    ids=["still", "wider", "stopped", "one outlier"],
)
def test_other_scales_stay_as_they_are(before: Scale, now: Scale) -> None:
    """What lies beyond the bounds of actions is clipped, which a line says."""
    fitted, lines = fitted_to_data(before, now, "x")
    assert (fitted.spec, fitted.statistics) == (before.spec, before.statistics)
    beyond = [
        name
        for name, number in zip("xyg", now.statistics[ACTION].max, strict=True)
        if number > 1.01
    ]
    assert [line.split()[1][0] for line in lines] == beyond and all(
        "is clipped" in line for line in lines
    )


def test_bounds_that_were_written_down_stay() -> None:
    before, now = scale_of(0.0, measured=False), scale_of(MOVING, measured=False)
    fitted, lines = fitted_to_data(before, now, "x")
    assert fitted.spec == before.spec and [line.split(" is ")[0] for line in lines] == [
        "state gripper"
    ]


def test_pooled_statistics_fit_without_quantiles() -> None:
    now = scale_of(MOVING)
    both = replace(now, statistics=pooled([now.statistics, now.statistics]))
    fitted, lines = fitted_to_data(scale_of(0.0), both, "x")
    assert len(lines) == 2 and fitted.statistics[STATE].q01 == ()


def test_still_actions_are_named() -> None:
    assert still_actions(scale_of(0.5)) == [
        "action grip is 0.5 in all of this data: the agent will always do that"
    ]
    assert still_actions(scale_of(0.5, measured=False)) == still_actions(scale_of(MOVING)) == []


def test_states_that_never_moved_are_held() -> None:
    normaliser = StateNormaliser.of(scale_of(0.7).statistics, 3)
    rows = np.array([[0.1, 0.2, 0.7], [0.1, 0.2, 0.9], [0.1, 0.2, -3e38]], np.float32)
    assert (normaliser(rows) == normaliser(rows[0])).all() and abs(normaliser(rows)[0, 2]) < 1e-3
    assert normaliser.held(rows).tolist() == [
        [False] * 3,
        [False, False, True],
        [False, False, True],
    ]
    assert normaliser.scaled(rows[1])[2] > 100
    assert StateNormaliser.of(scale_of(MOVING).statistics, 3).held(rows).sum() == 0


def test_bounds_without_width_give_no_nan() -> None:
    contract = replace(make_spec().action, low=(0.5, -1.0), high=(0.5, 1.0))
    assert np.isfinite(contract.normalise(np.array([[0.5, 0.0], [0.7, 1.0]], np.float32))).all()
