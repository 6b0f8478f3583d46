"""Rotations and angles as numbers that do not jump, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from manyparts.core.errors import UserError
from manyparts.core.spec import ActionContract, Spec
from manyparts.embodiment.views import rotations
from manyparts.embodiment.views.source import Source
from manyparts.embodiment.views.view import View

CONVENTIONS = tuple(rotations.NUMBERS)
POSE = ("x", "y", "z", "roll", "pitch", "yaw")


def source(
    view: View,
    names: tuple[str, ...] = POSE,
    low: np.ndarray | float = -4.0,
    high: np.ndarray | float = 4.0,
    *,
    measured: bool = False,
) -> Source:
    bounds = (tuple(np.broadcast_to(bound, len(names)).tolist()) for bound in (low, high))
    contract = ActionContract("position", "world", names, *bounds, 10.0, measured=measured)
    return Source(Spec("arm", {}, names, contract), view)


def names_of(convention: rotations.Convention) -> tuple[str, ...]:
    return tuple(f"r{number}" for number in range(rotations.NUMBERS[convention]))


def turn_between(convention: rotations.Convention, one: np.ndarray, other: np.ndarray) -> float:
    first, second = (rotations.matrices(each, convention) for each in (one, other))
    return float(np.max((first.inv() * second).magnitude()))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_six_numbers_are_the_same_rotation(convention: rotations.Convention) -> None:
    turned = Rotation.random(50, random_state=0)
    values = rotations.numbers(turned, convention)
    assert values.shape == (50, rotations.NUMBERS[convention])
    back = rotations.of_six_numbers(rotations.six_numbers(rotations.matrices(values, convention)))
    assert np.allclose((turned.inv() * back).magnitude(), 0, atol=1e-6)


@given(yaw=st.floats(-3.2, 3.2), step=st.floats(0.001, 0.1))
def test_near_rotations_are_near_numbers(yaw: float, step: float) -> None:
    wrapped = [(angle + np.pi) % (2 * np.pi) - np.pi for angle in (yaw, yaw + step)]
    values = np.array([[0.0, 0.1, angle] for angle in wrapped])
    six = rotations.six_numbers(rotations.matrices(values, "euler"))
    assert np.abs(six[1] - six[0]).max() <= step


def test_both_signs_of_a_quaternion_are_one_rotation() -> None:
    quaternions = Rotation.random(20, random_state=1).as_quat()
    one, other = (
        rotations.six_numbers(rotations.matrices(sign * quaternions, "quaternion"))
        for sign in (1, -1)
    )
    assert np.allclose(one, other)


def test_the_convention_says_where_the_scalar_of_a_quaternion_stands() -> None:
    turned = Rotation.from_euler("z", 0.3)
    x, y, z, w = turned.as_quat()
    assert np.allclose(
        rotations.matrices(np.array([[w, x, y, z]]), "quaternion_wxyz").as_matrix()[0],
        turned.as_matrix(),
    )


def test_numbers_without_a_direction_are_refused() -> None:
    with pytest.raises(UserError, match="no two directions"):
        rotations.of_six_numbers(np.zeros((1, 6)))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("eef_pos_0", "eef_quat_0", "eef_quat_1", "eef_quat_2", "eef_quat_3"), "quaternion"),
        (("quat_w", "quat_x", "quat_y", "quat_z"), "quaternion_wxyz"),
        (
            ("robot0_eef_rot_axis_angle_0", *[f"robot0_eef_rot_axis_angle_{n}" for n in (1, 2)]),
            "axis_angle",
        ),
        (("x", "roll", "pitch", "yaw", "gripper"), "euler"),
        (("joint_0", "joint_1", "joint_2"), None),
        (("quat_0", "quat_1", "quat_2"), None),
    ],
)
def test_rotations_are_found_by_name(names: tuple[str, ...], expected: str | None) -> None:
    found = [convention for _, convention in rotations.by_name(names)]
    assert found == ([] if expected is None else [expected])


@pytest.mark.parametrize("yaw", [3.1, np.pi - 1e-6, -3.1, 0.0])
def test_a_pose_comes_back_at_the_wrap(yaw: float) -> None:
    seen = source(View(find_rotations=True))
    pose = np.array([[0.1, 0.2, 0.3, np.pi - 0.02, 0.1, yaw]])
    action = seen.actions(pose, pose)
    assert action.shape == (1, 9)
    back = seen.action_of(action[0], None)
    assert np.allclose(back[:3], pose[0, :3], atol=1e-6)
    one, other = (Rotation.from_euler("xyz", angles) for angles in (back[3:], pose[0, 3:]))
    assert (one.inv() * other).magnitude() < 1e-5


def test_a_difference_takes_the_short_way_round() -> None:
    names = ("slide", "turn", "gripper")
    seen = source(View(action="absolute_to_delta", angles={"turn": "radians"}), names)
    state, target = np.array([[1.0, 3.1, 0.0]]), np.array([[1.5, -3.1, 1.0]])
    difference = seen.actions(target, state)
    assert np.allclose(difference, [[0.5, 2 * np.pi - 6.2, 1.0]], atol=1e-6)
    # On the short way the joint goes on, as far as it can.
    assert np.allclose(seen.action_of(difference[0], state[0]), [1.5, 2 * np.pi - 3.1, 1])
    halves = source(seen.view, names, -np.pi, np.pi)
    assert np.allclose(halves.action_of(difference[0], state[0]), target[0], atol=1e-6)


def test_a_turn_relative_to_the_state_comes_back() -> None:
    seen = source(View(action="absolute_to_delta", find_rotations=True))
    rng = np.random.default_rng(0)
    state, target = rng.uniform(-1, 1, (2, 5, 6))
    difference = seen.actions(target, state)
    for row in range(5):
        assert np.allclose(seen.action_of(difference[row], state[row]), target[row], atol=1e-5)
    assert np.allclose(seen.actions(state, state)[0, 3:], [1, 0, 0, 0, 1, 0], atol=1e-6)


def test_angles_in_degrees_become_cosine_and_sine() -> None:
    seen = source(View(angles={"wrist": "degrees"}), ("wrist", "grip"))
    assert seen.viewed().state_names == ("wrist.cos", "wrist.sin", "grip")
    assert np.allclose(seen.states(np.array([[90.0, 5.0]])), [[0, 1, 5]], atol=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "angle"),
    [(0, 360, 270), (-180, 180, -90), (-360, 0, -90), (180, 540, 270), (-720, -360, -450)],
)
def test_an_angle_comes_back_within_the_robots_bounds(low: int, high: int, angle: int) -> None:
    seen = source(View(angles={"wrist": "degrees"}), ("wrist",), low, high, measured=True)
    action = seen.actions(np.array([[angle]]), np.zeros((1, 1)))
    assert np.allclose(seen.action_of(action[0], None), angle, atol=1e-4)


@given(angle=st.floats(-1000, 1000), low=st.floats(-500, 500), width=st.floats(0, 800))
def test_an_angle_is_clipped_only_where_none_of_its_turns_is_within(
    angle: float, low: float, width: float
) -> None:
    seen = source(View(angles={"wrist": "degrees"}), ("wrist",), low, low + width)
    action = seen.actions(np.array([[angle]]), np.zeros((1, 1)))
    back = float(seen.action_of(action[0], None)[0])
    turns = angle + 360 * np.arange(-6, 7)
    nearest = np.clip(turns, low, low + width)
    away = np.abs(turns - nearest).min()
    assert low - 1e-3 <= back <= low + width + 1e-3
    assert abs(np.abs(turns - back).min() - away) < 1e-2


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("seed", range(5))
def test_rotations_come_back_in_the_numbers_that_were_recorded(
    convention: rotations.Convention, seed: int
) -> None:
    """A robot recorded near one pose, in numbers that are not those of `rotations.numbers`."""
    near = Rotation.random(random_state=seed)
    recorded = rotations.numbers(
        near * Rotation.from_rotvec(np.random.default_rng(seed).normal(0, 0.05, (20, 3))),
        convention,
    )
    recorded = rotations.same_rotations(recorded, convention)[-1]
    if convention == "euler":
        recorded = recorded % (2 * np.pi)
    low, high = recorded.min(axis=0), recorded.max(axis=0)
    view = View(rotations={"r*": convention})
    seen = source(view, names_of(convention), low, high, measured=True)
    back = [seen.action_of(action, None) for action in seen.actions(recorded, recorded)]
    assert np.allclose(back, recorded, atol=1e-4)


def test_rotations_outside_of_measured_bounds_stay_rotations() -> None:
    view = View(rotations={"r*": "quaternion"})
    seen = source(view, names_of("quaternion"), 0.4, 0.6, measured=True)
    turned = Rotation.from_euler("z", 0.3).as_quat()[None]
    back = seen.action_of(seen.actions(turned, turned)[0], None)
    assert turn_between("quaternion", back[None], turned) < 1e-5


def test_rotations_are_clipped_to_bounds_of_the_robot() -> None:
    seen = source(View(rotations={"r*": "euler"}), names_of("euler"), -0.1, 0.1)
    turned = np.array([[0.0, 0.0, 0.3]])
    assert np.allclose(seen.action_of(seen.actions(turned, turned)[0], None), [0, 0, 0.1])


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_other_numbers_are_the_same_rotation(convention: rotations.Convention) -> None:
    values = rotations.numbers(Rotation.random(20, random_state=3), convention)
    for other in rotations.same_rotations(values, convention):
        assert turn_between(convention, other, values) < 1e-5


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([0.0, 0.0, 0.0, 0.0, 0.0, 170.0], "degrees"),
        ([0.0, 0.0, 0.0, np.nan, 0.0, 0.0], "not finite"),
    ],
)
def test_numbers_that_are_no_rotation_are_refused(values: list[float], complaint: str) -> None:
    seen = source(View(find_rotations=True))
    with pytest.raises(UserError, match=complaint):
        seen.require_sound(np.array([values]), np.array([values]))
