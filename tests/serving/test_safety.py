"""Actions that are sent are finite, within bounds and near each other; and what holds a robot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from manyparts.core.errors import UserError
from manyparts.core.spec import ActionContract, Spec
from manyparts.serving.safety import Guard

NAMES = ("x", "y", "gripper")
ACTIONS = arrays.arrays(np.float32, (4, 3), elements=st.floats(-1000, 1000, width=32))


def spec(representation: str = "position", states: tuple[str, ...] = ()) -> Spec:
    low, high = (-1.0, 0.0, 0.0), (1.0, 10.0, 1.0)
    return Spec("arm", {}, states, ActionContract(representation, "world", NAMES, low, high, 10.0))


@given(actions=ACTIONS, before=st.none() | arrays.arrays(np.float32, 3, elements=st.floats(0, 1)))
def test_actions_stay_within_bounds_and_steps(
    actions: np.ndarray, before: np.ndarray | None
) -> None:
    limited = Guard(spec(), 0.1).checked(actions, before).actions
    assert (limited >= [-1, 0, 0]).all() and (limited <= [1, 10, 1]).all()
    rows = limited if before is None else np.concatenate([before[None], limited])
    assert (np.abs(np.diff(rows, axis=0)) <= np.array([0.2, 1.0, 0.1]) + 1e-5).all()


def test_without_a_limit_actions_only_keep_to_bounds() -> None:
    checked = Guard(spec()).checked(np.array([[5.0, 5.0, 0.5]]), np.zeros(3))
    assert checked.actions.tolist() == [[1.0, 5.0, 0.5]] and not checked.changed


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_not_finite_is_not_sent(number: float) -> None:
    with pytest.raises(UserError, match="action y is not finite; nothing is sent"):
        Guard(spec()).checked(np.array([[0.0, number, 0.0]]), None)


def test_velocities_are_held_by_zero_and_a_closed_gripper() -> None:
    held = Guard(spec("joint_velocity")).hold(None, np.array([1.0, 5.0, 0.7], np.float32))
    assert held is not None and held.tolist() == pytest.approx([0, 0, 0.7])


def test_targets_are_held_where_the_robot_is() -> None:
    guard = Guard(spec(states=("y", "speed", "x", "gripper")))
    held = guard.hold(np.array([2.0, 9.0, -0.5, 0.3]), None)
    assert held is not None and held.tolist() == pytest.approx([-0.5, 2.0, 0.3])


def test_targets_without_a_state_are_held_at_the_last_one() -> None:
    last = np.array([0.1, 0.2, 0.3], np.float32)
    assert np.array_equal(Guard(spec()).hold(None, last), last)
    assert Guard(spec()).hold(None, None) is None


def test_choices_are_held_by_one_that_does_nothing() -> None:
    for choices, held in ((("left", "stay"), 1), (("left", "right"), None)):
        contract = ActionContract.discrete(choices, frame="body", control_rate_hz=5.0)
        guard = Guard(Spec("grid", {}, (), contract))
        action = guard.hold(None, None)
        assert (None if action is None else int(action[0])) == held


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.5, np.nan])
def test_a_limit_that_is_no_fraction_is_refused(fraction: float) -> None:
    with pytest.raises(UserError, match="--max-change is"):
        Guard(spec(), fraction)
