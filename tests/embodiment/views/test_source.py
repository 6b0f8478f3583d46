"""What a model sees of a robot's cameras, state and actions."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from manyparts.core.errors import UserError
from manyparts.core.spec import ActionContract, Spec
from manyparts.embodiment.views.source import Source
from manyparts.embodiment.views.view import View


def spec(representation: str = "delta_position", names: tuple[str, ...] = ("x", "gripper")) -> Spec:
    n = len(names)
    contract = ActionContract(representation, "world", names, (-1.0,) * n, (1.0,) * n, 30.0)
    return Spec("arm", {"front": (48, 64), "wrist": (24, 32)}, ("x", "y", "gripper"), contract)


def merged(view: View, representation: str = "delta_position") -> np.ndarray:
    action = np.array([[0.1, 1.0], [0.2, 1.0], [0.3, -1.0], [0.4, -1.0], [0.5, 1.0]])
    return Source(spec(representation), view).actions(action, np.zeros((5, 3)))


def test_defaults_change_nothing() -> None:
    seen = Source(spec(), View())
    assert seen.viewed() == seen.spec
    state = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    assert np.array_equal(seen.states(state), state)


def test_differences_are_summed_and_the_gripper_is_the_last() -> None:
    assert np.allclose(merged(View(every=2)), [[0.3, 1], [0.7, -1], [0.5, 1]])


def test_velocities_are_averaged() -> None:
    assert np.allclose(merged(View(every=2), "joint_velocity")[:, 0], [0.15, 0.35, 0.5])


def test_of_absolute_targets_the_last_one_is_taken() -> None:
    assert np.allclose(merged(View(every=2), "position")[:, 0], [0.2, 0.4, 0.5])
    assert np.allclose(merged(View(every=2, action="absolute"), "unknown")[:, 0], [0.2, 0.4, 0.5])


def test_a_sum_is_carried_out_in_equal_steps() -> None:
    seen = Source(spec(), View(every=2))
    assert seen.viewed().action.low == (-2.0, -1.0)
    assert seen.viewed().action.control_rate_hz == 15.0
    assert np.allclose(seen.action_of(np.array([0.6, -1.0]), None), [0.3, -1.0])


def test_an_action_is_carried_out_within_the_robots_bounds() -> None:
    assert np.allclose(Source(spec(), View()).action_of(np.array([9.0, -9.0]), None), [1, -1])


@pytest.mark.parametrize(
    ("view", "representation", "complaint"),
    [
        (View(every=2), "unknown", "say it with view.action"),
        (View(action="absolute"), "delta_position", "the data say that actions are"),
        (View(action="absolute_to_delta"), "delta_position", "the data say that actions are"),
        (View(cameras={"top": "frnt"}), "position", "did you mean front"),
        (View(crop={"front": (0, 0, 49, 10)}), "position", "reaches to row 49"),
        (View(crop={"*": (0, 0, 48, 64)}), "position", "view.crop of wrist"),
        (View(crop={"side": (0, 0, 4, 4)}), "position", "view.crop names 'side'"),
        (View(state=("q*",)), "position", "fits no name"),
        (View(swap_red_blue=("cam*",)), "position", "fits no name"),
        (View(rotations={"x": "euler"}), "position", "3 numbers next to each other"),
        (View(angles={"x": "radians"}, every=2), "delta_position", "neither be summed"),
        (View(fit="pad"), "position", "no view.size to fit"),
        (View(instruction="words.json"), "position", "write its table as view.instructions"),
    ],
)
def test_a_view_that_contradicts_the_robot_is_refused(
    view: View, representation: str, complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        Source(spec(representation), view)


def test_a_difference_needs_a_state_of_its_name() -> None:
    with pytest.raises(UserError, match="elbow has none"):
        Source(spec("position", ("elbow", "gripper")), View(action="absolute_to_delta"))


def test_numbered_actions_are_targets_of_numbered_positions() -> None:
    actions = tuple(f"action_{number}" for number in range(2))
    contract = ActionContract("joint_position", "joints", actions, (-9.0,) * 2, (9.0,) * 2, 50.0)
    states = ("qvel_0", "qvel_1", "qpos_0", "qpos_1")
    seen = Source(Spec("arm", {}, states, contract), View(action="absolute_to_delta"))
    assert seen.paired_by_number == {"action_0": 2, "action_1": 3}
    state = np.array([[5.0, 5.0, 1.0, 2.0]])
    assert np.allclose(seen.actions(np.array([[1.5, 1.0]]), state), [[0.5, -1.0]])
    assert not Source(Spec("arm", {}, states, contract), View()).paired_by_number


def test_cameras_are_renamed_cropped_and_resized() -> None:
    view = View(cameras={"top": "front"}, crop={"top": (0, 8, 48, 48)}, size=(16, 16))
    seen = Source(spec(), view)
    assert seen.viewed().cameras == {"top": (16, 16)}
    frames = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), np.uint8)
    expected = Image.fromarray(frames[1][:, 8:56]).resize((16, 16), Image.Resampling.BILINEAR)
    assert np.array_equal(seen.images("top", frames)[1], np.asarray(expected))


def test_padding_keeps_the_shape_of_things() -> None:
    frame = np.full((48, 64, 3), 200, np.uint8)
    padded = Source(spec(), View(size=(32, 32), fit="pad")).images("front", frame)
    assert (padded[:4] == 0).all() and (padded[-4:] == 0).all() and (padded[4:28] == 200).all()


def test_cropping_fits_cuts_both_sides_equally() -> None:
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, 8:56] = 200  # the square in the middle
    cut = Source(spec(), View(size=(24, 24), fit="crop")).images("front", frame)
    assert (cut == 200).all()


def test_red_and_blue_are_swapped() -> None:
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[..., 0] = 255
    seen = Source(spec(), View(swap_red_blue=("f*",)))
    assert seen.images("front", frame)[0, 0].tolist() == [0, 0, 255]
    assert seen.images("wrist", frame[:24, :32])[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"sise": [1, 1]}, "no field 'sise'; did you mean size"),
        ({"size": [0, 4]}, "two sides of 1"),
        ({"size": 64}, "view.size is 64"),
        ({"every": 0}, "expected 1 to"),
        ({"fit": "stretch"}, "view.fit is 'stretch'"),
        ({"instruction": " "}, "empty instruction"),
        ({"instruction": "a", "instruction_column": "b"}, "choose one"),
        ({"instructions": {"a": 3}}, "a text or a list"),
        ({"crop": {"a": [0, 0, 0, 4]}}, "at least 1"),
        ({"rotations": {"a": "eulr"}}, "eulr"),
    ],
)
def test_wrong_fields_are_one_clear_line(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as raised:
        View.of(values)
    assert "\n" not in str(raised.value)


def test_a_view_is_json_and_has_a_key() -> None:
    view = View(cameras={"a": "front"}, size=(8, 8), instructions={"t": "do it\ndo that"})
    assert View.of(view.to_dict()) == view and View.of(view.to_dict()).key == view.key
    assert view.key != View(cameras={"a": "front"}, size=(8, 9)).key
    assert View().to_dict() == {}
