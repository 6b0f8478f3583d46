"""What a Gymnasium environment returns, by path: numbers, images, truth, rewards."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from manyparts.core.errors import UserError
from manyparts.envs.gym.environment import contract_of, raw_action
from manyparts.envs.gym.spaces import outside
from manyparts.envs.gym.values import (
    Moment,
    image,
    number_names,
    numbers,
    resized,
    scalar_reward,
    truth,
)

MOMENT = Moment(
    {"pixels": {"top": np.zeros((4, 6, 3), np.uint8)}, "pose": np.arange(3.0), "pair": (1, 2.5)},
    {"proprio/grip": np.array([0.5]), "proprio/pose": np.arange(2), "solved": np.float32(1)},
)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("pose", [0.0, 1.0, 2.0]),
        ("obs:pose", [0.0, 1.0, 2.0]),
        ("pair/1", 2.5),
        ("info:proprio/grip", [0.5]),
        ("info:solved", 1.0),
    ],
)
def test_path_finds_nested_and_flat_keys(path: str, value: object) -> None:
    assert np.array_equal(np.asarray(MOMENT.value(path)), np.asarray(value))
    assert MOMENT.holds(path)


def test_path_of_whole_observation_is_obs() -> None:
    assert Moment(np.arange(4), {}).value("obs:").tolist() == [0, 1, 2, 3]


def test_star_stands_for_keys_that_begin_so() -> None:
    assert MOMENT.expanded("info:proprio/*") == ["info:proprio/grip", "info:proprio/pose"]
    with pytest.raises(UserError, match="nothing is called 'info:privileged/\\*'"):
        MOMENT.expanded("info:privileged/*")


def test_missing_key_names_near_ones() -> None:
    with pytest.raises(UserError, match="the observation has no 'pose_x'; did you mean pose"):
        MOMENT.value("pose_x")
    with pytest.raises(UserError, match="info has no 'success'; it is empty"):
        Moment({}, {}).value("info:success")


def test_numbers_are_flat_finite_copies() -> None:
    source = np.arange(6, dtype=np.float64).reshape(2, 3)
    flat = numbers(source, "pose")
    source[:] = 9
    assert flat.dtype == np.float32 and flat.tolist() == [0, 1, 2, 3, 4, 5]
    assert numbers(True, "flag").tolist() == [1.0]
    assert number_names("pose", source) == [f"pose_{index}" for index in range(6)]
    assert number_names("grip", 0.5) == ["grip"]
    for wrong in ("text", None, [1, [2, 3]], np.array([np.nan]), np.array([np.inf])):
        with pytest.raises(UserError, match="pose"):
            numbers(wrong, "pose")


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 1), (1, 8, 6), (3, 8, 6), (8, 6, 3)])
def test_images_of_any_layout_become_one(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    shown = image(pixels, "top")
    assert shown.shape == (8, 6, 3) and shown.dtype == np.uint8
    channels_last = pixels if shape[-1] in (1, 3) or len(shape) == 2 else np.moveaxis(pixels, 0, -1)
    assert np.array_equal(shown[..., 0], channels_last.reshape(8, 6, -1)[..., 0])
    pixels[:] = 0
    assert shown.any(), "a copy, since environments draw into the same array again"


@pytest.mark.parametrize(
    "wrong", [np.zeros((8, 6, 3)), np.zeros((8, 6, 4), np.uint8), np.zeros(8, np.uint8), "text"]
)
def test_what_is_no_image_is_refused(wrong: object) -> None:
    with pytest.raises(UserError, match=r"camera top is .*; expected an image, uint8"):
        image(wrong, "camera top")


def test_resizing_takes_the_mean_of_pixels() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2, :2] = 200
    pixels[0, 0] = 100
    small = resized(pixels, (2, 2))
    assert small[..., 0].tolist() == [[175, 0], [0, 0]]
    assert resized(pixels, (4, 4)) is pixels
    assert np.array_equal(resized(small, (4, 4))[::2, ::2], small), "enlarged pixels stay hard"


@pytest.mark.parametrize("value", [True, 1, np.float32(1), np.array(True), np.array([1.0])])
def test_numbers_and_arrays_are_truth(value: object) -> None:
    assert truth(value, "success") is True
    assert truth(np.zeros_like(value), "success") is False


@pytest.mark.parametrize("value", [None, "yes", np.array([1, 0]), np.nan, [], 0.3, -1, 2])
def test_what_is_no_truth_is_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"its success is .*; expected true or false"):
        truth(value, "its success")


def test_vector_rewards_are_refused_by_name() -> None:
    assert scalar_reward(np.array([2.5], np.float32)) == 2.5
    with pytest.raises(UserError, match=r"reward is a vector of shape \(2,\)"):
        scalar_reward(np.zeros(2))
    with pytest.raises(UserError, match="its reward is nan; expected a finite number"):
        scalar_reward(np.nan)
    with pytest.raises(UserError, match="its reward is None"):
        scalar_reward(None)


def test_each_lie_of_a_space_is_named() -> None:
    spaces = gymnasium.spaces
    space = spaces.Dict(
        {
            "pose": spaces.Box(-1, 1, (2,), np.float32),
            "inner": spaces.Dict({"count": spaces.Discrete(3)}),
            "said": spaces.Text(8),
        }
    )
    good = {"pose": np.zeros(2, np.float32), "inner": {"count": 2}, "said": "go"}
    assert not list(outside(space, good))
    bad = {"pose": np.full(2, 3, np.float32), "inner": {"count": 7}, "said": "go on"}
    assert list(outside(space, bad)) == [
        "inner/count (7, outside of Discrete(3))",
        "pose (3 to 3, beyond its bounds -1 to 1)",
        "said (it has the characters ' ', which are not in its charset)",
    ]
    assert list(outside(space, {**good, "more": 1})) == ["the observation (keys differ in more)"]
    assert "float64 and not float32" in next(outside(space, {**good, "pose": np.zeros(2)}))
    assert "shape (3,) and not (2,)" in next(
        outside(space, {**good, "pose": np.zeros(3, np.float32)})
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int8])
def test_actions_at_the_bounds_are_in_the_space(dtype: type) -> None:
    """In float32 the bound 0.1 of a space in float64 is 0.10000000149, beyond it."""
    scale = 10 if dtype is np.int8 else 1
    low, high = np.array([-0.1, -0.7]) * scale, np.array([0.3, 0.1]) * scale
    space = gymnasium.spaces.Box(low.astype(dtype), high.astype(dtype), dtype=dtype)
    contract = contract_of(space, 10.0)
    for action in (np.full(2, -9.0), np.full(2, 9.0), np.array([0.03, 0.05])):
        raw = raw_action(space, contract.executed(action))
        assert space.contains(raw), raw
        assert np.allclose(
            raw, np.clip(action, space.low, space.high), atol=0.6 if scale > 1 else 1e-3
        )
