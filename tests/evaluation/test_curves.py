"""Learning curves over seeds, against what is known of them by hand."""

from __future__ import annotations

import numpy as np
import pytest

from manyparts.evaluation.curves import Curve, band, curve_of, over_seeds, reached
from manyparts.evaluation.statistics import mean_over_seeds


def curve(*values: float, every: float = 1000.0) -> Curve:
    """A curve that was checked every so many steps."""
    return Curve(every * (1 + np.arange(len(values))), np.array(values, float))


def test_curve_is_read_from_metrics() -> None:
    rows = [
        {"step": 1, "environment_steps": 10.0, "collected/return": 3.0},
        {"step": 2, "environment_steps": 20.0, "validation/return": 5.0},
        {"step": 3, "validation/return": 6.0},  # at unknown environment steps
        {"step": 4, "environment_steps": 40.0, "validation/return": float("nan")},
        {"step": 5, "environment_steps": 50.0, "validation/return": 7.0},
    ]
    read = curve_of(rows, "validation/return")
    assert read is not None
    assert read.steps.tolist() == [20.0, 50.0] and read.values.tolist() == [5.0, 7.0]
    assert curve_of(rows, "validation/success") is None


def test_area_is_the_mean_score() -> None:
    rising = curve(0, 10, 10)
    assert rising.area() == pytest.approx((5 + 10) / 2)
    assert rising.area(2000, 3000) == 10
    assert rising.area(1500, 2500) == pytest.approx((7.5 + 10) / 2)
    assert rising.at(1250) == 2.5 and rising.at(3900) == 10
    with pytest.raises(ValueError, match="step 9000 is beyond the checks from 1000 to 3000"):
        rising.area(last=9000)


def test_a_score_may_hold_several_checks() -> None:
    lucky = curve(0.2, 0.9, 0.4, 0.9, 1.0, 0.9)
    assert lucky.steps_to(0.9) == 2000
    assert lucky.steps_to(0.9, checks=2) == lucky.steps_to(0.9, checks=3) == 4000
    assert lucky.steps_to(0.9, checks=4) is None


def test_steps_of_slow_runs_are_censored() -> None:
    runs = [curve(0, 0.5, 1), curve(0, 1, 1), curve(0, 0, 0)]
    result = reached(runs, 1.0)
    assert result.steps == (3000, 2000, None) and result.count == 2
    assert result.budget == 3000 and result.median == 3000
    assert result.restricted.mean == pytest.approx((3000 + 2000 + 3000) / 3)
    assert result.restricted.high <= 3000
    none = reached(runs[2:] * 2, 1.0)
    assert none.median is None and none.restricted.mean == none.restricted.low == 3000
    # A run that is watched for longer counts as not there at the shortest budget.
    assert reached([curve(0, 0), curve(0, 0, 0, 1)], 1.0).restricted.mean == 2000


def test_runs_beyond_the_budget_did_not_get_there() -> None:
    """The budget is what every run was watched for: 100 steps here."""
    fast = Curve(np.array([50.0, 100.0]), np.array([1.0, 1.0]))
    slow = Curve(np.array([50.0, 100.0, 120.0]), np.array([0.0, 0.0, 1.0]))
    found = reached([fast, slow], 1.0)
    assert (found.steps, found.count, found.median) == ((50.0, None), 1, None)
    assert found.restricted.mean == 75.0


def test_band_is_students_interval() -> None:
    runs = [curve(1, 2), curve(2, 4), curve(6, 3)]
    result = band([runs])
    assert result.mean.tolist() == [3, 3]
    assert result.low is not None and result.high is not None
    expected = mean_over_seeds(np.array([1.0, 2, 6])[None, :, None])
    assert (result.low[0], result.high[0]) == pytest.approx((expected.low, expected.high))


def test_band_covers_the_common_steps() -> None:
    fine = curve(*range(40), every=100.0)  # at step s: s / 100 - 1
    result = band([[fine, curve(9, 19, 29, 39)]])
    assert (result.steps[0], result.steps[-1]) == (1000, 4000)
    assert result.high is not None and np.allclose(result.mean, result.high)
    with pytest.raises(ValueError, match="no steps in common"):
        band([[curve(1, 2), Curve(np.array([5000.0]), np.array([1.0]))]])


def test_one_seed_has_no_interval() -> None:
    result = band([[curve(1, 2)], [curve(3, 6)]])
    assert result.mean.tolist() == [2, 4]
    assert result.low is None and result.high is None


def test_successes_stay_within_their_limits() -> None:
    estimate = over_seeds([[0.0, 0.0, 0.4]], limits=(0, 1))
    assert estimate.low == 0 and estimate.high < 1
    always = over_seeds([[1.0, 1.0, 1.0]], limits=(0, 1))
    assert always.mean == always.high == 1 and always.low < 0.5  # three runs are not certainty
    assert over_seeds([[1.0, 1.0, 1.0]]).low == 1.0  # equal returns of 1 are no successes


def test_tasks_need_equally_many_seeds() -> None:
    with pytest.raises(ValueError, match=r"tasks have \[1, 2\] runs"):
        over_seeds([[1.0], [1.0, 2.0]])
    with pytest.raises(ValueError, match="do not increase"):
        Curve(np.array([2.0, 1.0]), np.zeros(2))
