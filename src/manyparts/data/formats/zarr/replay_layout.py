"""What the arrays of a replay buffer are: actions, state, cameras, rewards, times; and why others
are left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from manyparts.core.columns import DONE, REWARD, SUCCESS
from manyparts.core.errors import UserError
from manyparts.data.formats import arrays
from manyparts.data.formats.episode_marks import why_episode_mark
from manyparts.data.formats.kinds import NUMBERS, ArrayInfo
from manyparts.data.formats.texts import instruction_names
from manyparts.data.formats.zarr.arrays import ZarrArray
from manyparts.embodiment.statistics import sample_rows

_ACTIONS = ("action", "actions")
_TIMES = ("timestamp", "timestamps")
_PER_STEP = {
    REWARD: ("reward", "rewards"),
    SUCCESS: ("success", "is_success"),
    DONE: ("done", "dones", "terminals"),
}
# UMI records where the gripper was, and no actions: they are where it is next.
_UMI_POSE = re.compile(r"robot\d+_(?:eef_pos|eef_rot_axis_angle|gripper_width)")
_UMI_DEMO = re.compile(r"robot\d+_demo_(?:start|end)_pose")
_OPERATOR = {"stage": "the operator's mark of a stage, which no policy sees"}
_MIN_SIDE = 8  # pixels of an image
_SAMPLED_ROWS = 8  # of float images

# Reads some episodes' values of an array, (T, ...) each.
Sample = Callable[[str], Iterable[np.ndarray]]


@dataclass(frozen=True)
class ReplayLayout:
    """How the arrays of a replay buffer are read."""

    plan: arrays.Plan
    """Its cameras and its state."""
    actions: tuple[str, ...]
    """The arrays that are concatenated to the action."""
    actions_follow: bool
    """Whether the action is what these arrays hold in the next row."""
    per_step: Mapping[str, str]
    """Further columns with a number per row, to their arrays."""
    scales: Mapping[str, float]
    """Cameras' arrays of floats, to what makes their values 0 to 255."""
    times: str | None
    """The array of times in seconds."""
    texts: tuple[str, ...]
    """Arrays of texts that may be the instruction, the likeliest first."""


def find_layout(
    stored: Mapping[str, ZarrArray], faults: Mapping[str, str], sample: Sample, where: object
) -> ReplayLayout:
    """Decide how the arrays are read.

    Args:
        stored: the arrays with a row per step.
        faults: why others are not read.
        sample: reads some episodes of an array.
        where: the store, for errors.

    Raises:
        UserError: there is no action.
    """
    actions, follow = _actions(stored, faults, where)
    times = next((name for name in _TIMES if name in stored and _is_one_number(stored[name])), None)
    texts = tuple(name for name in instruction_names(stored) if stored[name].dtype.kind in "SU")
    per_step: dict[str, str] = {}
    for column, names in _PER_STEP.items():
        if present := [name for name in names if name in stored and _is_one_number(stored[name])]:
            per_step[column] = present[0]
    used = {*per_step.values(), *texts, times, *(() if follow else actions)}
    left_out = dict(faults)
    infos: dict[str, ArrayInfo] = {}
    scales: dict[str, float] = {}
    for name in (name for name in stored if name not in used):
        if why := _why_not_observed(name, stored[name], sample):
            left_out[name] = why
            continue
        infos[name] = ArrayInfo(stored[name].shape[1:], stored[name].dtype)
        if _is_float_image(stored[name]):
            scale = _scale_of(stored[name])
            if isinstance(scale, str):
                left_out[name] = scale
                del infos[name]
            else:
                scales[name] = scale
                infos[name] = ArrayInfo(stored[name].shape[1:], np.dtype(np.uint8))
    plan = arrays.plan(infos, left_out, sample)
    cameras = {name for name, _, _ in plan.cameras.values()}
    scales = {name: scale for name, scale in scales.items() if name in cameras}
    return ReplayLayout(plan, actions, follow, per_step, scales, times, texts)


def as_pixels(values: np.ndarray, scale: float | None, where: str) -> np.ndarray:
    """Convert a camera's values to 8-bit colours.

    Args:
        values: (n, h, w), (n, h, w, 1) or (n, h, w, 3).
        scale: what makes floats 0 to 255; None for 8-bit images.
        where: which array and rows these are, for the error.

    Returns:
        uint8 (n, h, w, 3).

    Raises:
        UserError: beginning with `where`, for floats that do not fit the scale.
    """
    if scale is None:
        return arrays.colour(values)
    limit = 255 / scale
    for image in values:
        low, high = float(image.min()), float(image.max())
        fits = low >= 0 and high <= limit * (1 + 1e-6)  # false for NaN
        # Fractions of 1 among values up to 255 would be read as black.
        dim = scale == 1 and high <= 1 and bool((image != np.rint(image)).any())
        if dim or not fits:
            raise UserError(
                f"{where} hold {low:g} to {high:g} in one row; other rows hold 0 to {limit:g}"
            )
    return arrays.colour(np.rint(values * scale).astype(np.uint8))


def _actions(
    stored: Mapping[str, ZarrArray], faults: Mapping[str, str], where: object
) -> tuple[tuple[str, ...], bool]:
    """The arrays of the action, and whether it is what they hold in the next row."""
    for name in _ACTIONS:
        if name in faults:
            raise UserError(f"{where}: {name}: {faults[name]}")
        if name in stored:
            array = stored[name]
            if array.dtype.kind not in NUMBERS or len(array.shape) > 2:
                shape = ", ".join(map(str, ("T", *array.shape[1:])))
                raise UserError(
                    f"{where}: {name} is {array.dtype} ({shape}); expected numbers (T, a)"
                )
            return (name,), False
    poses = [name for name in sorted(stored) if _UMI_POSE.fullmatch(name)]
    poses = [name for name in poses if stored[name].dtype.kind == "f"]
    if not any(name.endswith("_eef_pos") for name in poses):
        raise UserError(
            f"{where} has no array named {' or '.join(_ACTIONS)}, nor UMI's robot0_eef_pos; "
            f"it has {', '.join(list(stored)[:5]) or 'nothing'}"
        )
    if torn := [name for name in faults if _UMI_POSE.fullmatch(name)]:
        raise UserError(f"{where}: {torn[0]}: {faults[torn[0]]}")
    return tuple(poses), True


def _why_not_observed(name: str, array: ZarrArray, sample: Sample) -> str:
    """Why an array is no observation by the rules of replay buffers; "" if it may be one."""
    last = name.rpartition("/")[2]
    if _UMI_DEMO.fullmatch(last):
        return "a pose of the whole demonstration, the same in all of its rows"
    if last in _OPERATOR and _is_one_number(array):
        return _OPERATOR[last]
    for column, names in _PER_STEP.items():
        if last in names and _is_one_number(array):
            return f"another array is read as {column}"
    return why_episode_mark(name, sample(name)) if _is_one_number(array) else ""


def _is_one_number(array: ZarrArray) -> bool:
    return array.shape[1:] in ((), (1,)) and array.dtype.kind in NUMBERS


def _is_float_image(array: ZarrArray) -> bool:
    """Whether an array holds floats in the shape of colour images."""
    shape = array.shape[1:]
    is_colour = len(shape) == 3 and shape[2] == 3 and min(shape[:2]) >= _MIN_SIDE
    return array.dtype.kind == "f" and is_colour


def _scale_of(array: ZarrArray) -> float | str:
    """What makes an array's floats 0 to 255, by some of its rows; or why nothing does."""
    low, high = np.inf, -np.inf
    for row in sample_rows(array.length, _SAMPLED_ROWS).tolist():
        values = array.rows(row, row + 1)
        if not np.isfinite(values).all():
            return "images that hold NaN or infinity"
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low < 0 or high > 255:
        return f"images of {array.dtype} with values from {low:g} to {high:g}, not 0 to 1 or 255"
    return 255.0 if 0 < high <= 1 else 1.0
