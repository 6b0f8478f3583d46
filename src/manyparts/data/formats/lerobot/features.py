"""Decide which features of a LeRobotDataset are read, and as what."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from manyparts.core.columns import (
    ACTION,
    DONE,
    EXPERT_ACTION,
    IMAGES,
    REWARD,
    STATE,
    SUCCESS,
    TERMINATED,
)
from manyparts.core.errors import UserError
from manyparts.core.naming import FORMER_COLUMNS
from manyparts.data.formats.kinds import ArrayInfo, leak_by_name, why_no_camera, why_not_observed
from manyparts.data.formats.lerobot.layout import STANDARD
from manyparts.embodiment.statistics import FeatureStatistics, Statistics

IMAGE_TYPES = ("image", "video")
_OBSERVATION = "observation."
_FURTHER = (REWARD, DONE, SUCCESS, TERMINATED, *STANDARD)
_OTHER_NAMES = {ACTION: "actions", STATE: "state"}
_DEPTH_FLAGS = ("is_depth_map", "video.is_depth_map")
_TRUE = ("true", "1")
_WITHOUT_NUMBERS = {"string": "text", "language": "language"}


@dataclass(frozen=True)
class Plan:
    """How the features of a dataset are read."""

    cameras: Mapping[str, str]
    """Camera name to feature."""
    state: tuple[str, ...]
    """Features that are concatenated to the state."""
    action: str
    """The feature of the actions."""
    expert: str | None
    """The feature of the expert's actions, if there is one."""
    further: tuple[str, ...]
    """Other columns of numbers, which keep their names."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """All other features, and why they are not read."""
    notes: tuple[str, ...] = ()
    """Notes for users on what is not read as one may expect."""

    @property
    def numbers(self) -> tuple[str, ...]:
        """All columns of numbers that are read."""
        return (*self.state, self.action, *self.further, *filter(None, [self.expert]))

    def without(self, left_out: Mapping[str, str], notes: Collection[str] = ()) -> Plan:
        """The plan without some features.

        Args:
            left_out: the names of these features, and why they are not read.
            notes: further notes for users.
        """
        return replace(
            self,
            cameras={
                name: feature for name, feature in self.cameras.items() if feature not in left_out
            },
            expert=None if self.expert in left_out else self.expert,
            further=tuple(name for name in self.further if name not in left_out),
            left_out={**self.left_out, **left_out},
            notes=(*self.notes, *notes),
        )

    def statistics(self, stored: Statistics) -> Statistics:
        """The stored statistics, with those of state and actions under our names of these."""
        features = dict(stored.features)
        if all(name in features for name in self.state) and self.state:
            features[STATE] = _concatenated([features[name] for name in self.state])
        if self.action in features:
            features[ACTION] = features[self.action]
        if self.expert in features:
            features[EXPERT_ACTION] = features[self.expert]
        return Statistics(features)


def make_plan(features: Mapping[str, Any], *, own: bool) -> Plan:
    """Decide how features are read.

    Args:
        features: the features of info.json.
        own: whether manyparts wrote the dataset, so that only observation.state can be its state.

    Raises:
        UserError: if there are no actions.
    """
    described = {name: item for name, item in features.items() if isinstance(item, Mapping)}
    unset = [name for name, item in described.items() if not isinstance(item.get("shape"), list)]
    required = [name for name in (ACTION, _OTHER_NAMES[ACTION], STATE) if name in unset]
    if required:
        raise UserError(
            f"the feature {required[0]} has the shape {described[required[0]].get('shape')}; "
            "expected a list"
        )
    left_out = dict.fromkeys(features.keys() - described.keys(), "it is not described")
    for name, item in described.items():
        if why := _why_no_camera(name, item, list(described), own=own):
            left_out[name] = why
    images = [name for name, item in described.items() if item.get("dtype") in IMAGE_TYPES]
    cameras = _cameras(images, left_out)
    action = next((name for name in (ACTION, _OTHER_NAMES[ACTION]) if name in described), None)
    if action is None:
        raise UserError(
            f"the dataset has no feature {ACTION}; it has {', '.join(sorted(features))}"
        )
    state, no_state = _state(described, own=own)
    left_out |= no_state
    further = tuple(name for name in _FURTHER if name in described and _width(described[name]) == 1)
    expert = next((name for name in (EXPERT_ACTION, *FORMER_COLUMNS) if name in described), None)
    if expert is not None and (why := _unlike(described[expert], described[action])):
        left_out[expert], expert = why, None
    used = {*cameras.values(), *state, action, expert, *further, *left_out}
    left_out |= {name: _why_not(item) for name, item in described.items() if name not in used}
    notes = [f"the state is {' and '.join(state)}"] if state and state != (STATE,) else []
    notes += [f"the action is {action}"] if action != ACTION else []
    return Plan(cameras, state, action, expert, further, left_out, tuple(notes))


def with_lists(features: Mapping[str, Any]) -> dict[str, Any]:
    """Make shapes that are a single number lists, since some programs write d for [d]."""
    with_list = dict(features)
    for name, item in features.items():
        if isinstance(item, Mapping) and isinstance(item.get("shape"), int):
            with_list[name] = {**item, "shape": [item["shape"]]}
    return with_list


def size_of(feature: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) of an image feature of shape (h, w, c) or (c, h, w).

    The names of the axes decide if they fit the shape, else the shape itself.
    """
    shape = [int(side) for side in feature["shape"]]
    axes, names = feature.get("names"), []
    if isinstance(axes, list) and len(axes) == 3:
        names = [str(axis).lower()[:1] for axis in axes]
    if "h" in names and "w" in names:
        height, width = names.index("h"), names.index("w")
        if shape[3 - height - width] in (1, 3, 4):  # the remaining axis is channels
            return shape[height], shape[width]
    channels_first = names[:1] == ["c"] if names else False
    if shape[0] in (1, 3, 4) and (channels_first or shape[2] not in (1, 3, 4)):
        return shape[1], shape[2]
    return shape[0], shape[1]


def has_size(feature: Mapping[str, Any]) -> bool:
    """Whether the shape of an image feature is set; some programs write [null, null, 3] or
    zeros."""
    return all(isinstance(side, int | float) and side >= 1 for side in feature["shape"])


def channels_of(feature: Mapping[str, Any]) -> int:
    """The number of channels of an image feature; 3 if its shape is not set."""
    if not has_size(feature):
        return 3
    height, width = size_of(feature)
    return int(np.prod(feature["shape"])) // max(1, height * width)


def names_of(feature: Mapping[str, Any], prefix: str) -> tuple[str, ...]:
    """A name for each dimension of a feature: the feature's own, or else a prefix and a number.

    Args:
        feature: its description in info.json.
        prefix: such as "action", for "action_0" and so on.
    """
    count = int(np.prod(feature["shape"]))
    names = feature.get("names")
    if isinstance(names, Mapping):
        names = next((value for value in names.values() if isinstance(value, list)), list(names))
    if isinstance(names, list) and len(names) == count:
        return tuple(map(str, names))
    return tuple(f"{prefix}_{number}" for number in range(count))


def number_dtype(feature: Mapping[str, Any]) -> np.dtype | None:
    """The dtype of a feature of numbers; None for others."""
    try:
        dtype = np.dtype(feature.get("dtype", ""))
    except TypeError:
        return None
    return dtype if dtype.kind in "biuf" else None


def state_names(features: Mapping[str, Any], state: tuple[str, ...]) -> tuple[str, ...]:
    """A name for each dimension of the features that are concatenated to the state.

    Args:
        features: the description of each feature in info.json, by name.
        state: the names of the features that are concatenated, in this order.
    """
    if len(state) == 1:
        return names_of(features[state[0]], "state")
    names: list[str] = []
    for name in state:
        names += names_of(features[name], name.removeprefix(_OBSERVATION))
    return tuple(names)


def _cameras(images: list[str], left_out: Mapping[str, str]) -> dict[str, str]:
    """Camera name to feature: "observation.images.top" becomes camera "top".

    Where two would get the same name, the later one keeps its whole name.
    """
    cameras: dict[str, str] = {}
    for name in images:
        if name not in left_out:
            short = name.removeprefix(IMAGES).removeprefix(_OBSERVATION)
            cameras[name if short in cameras else short] = name
    return cameras


def _state(described: Mapping[str, Any], *, own: bool) -> tuple[tuple[str, ...], dict[str, str]]:
    """The features of the state, and why other observations are none.

    They are observation.state or, in datasets of other programs without it, all rows of numbers
    among the observations.
    """
    if STATE in described:
        return (STATE,), {}
    if own:
        return (), {}
    observed = [
        name
        for name in sorted(described)
        if name.startswith(_OBSERVATION) and _width(described[name])
    ]
    left_out: dict[str, str] = {}
    for name in observed:
        feature = described[name]
        info = ArrayInfo(tuple(feature["shape"]), np.dtype(feature["dtype"]))
        if why := why_not_observed(name, info, observed):
            left_out[name] = why
    state, other = tuple(name for name in observed if name not in left_out), _OTHER_NAMES[STATE]
    if not state and other in described and _width(described[other]):
        state = (other,)
    return state, left_out


def _unlike(expert: Mapping[str, Any], action: Mapping[str, Any]) -> str | None:
    """Why a feature cannot be the expert's actions, though it has their name; None if it can."""
    if number_dtype(expert) is not None and expert.get("shape") == action.get("shape"):
        return None
    return f"{expert.get('dtype')} {expert.get('shape')}, unlike the action's {action.get('shape')}"


def _width(feature: Mapping[str, Any]) -> int | None:
    """How many numbers a row has; None if the feature is no row of numbers."""
    shape = feature.get("shape")
    if number_dtype(feature) is None or not isinstance(shape, list | tuple) or len(shape) > 1:
        return None
    return int(np.prod(shape))


def _why_no_camera(
    name: str, feature: Mapping[str, Any], others: Collection[str], *, own: bool
) -> str | None:
    """Why an image feature is not a camera's; None or "" if it is, or is no image feature.

    Args:
        name: the feature's name.
        feature: its description in info.json.
        others: the names of all features.
        own: whether manyparts wrote the dataset.
    """
    if feature.get("dtype") not in IMAGE_TYPES:
        return None
    for holder in (feature, feature.get("info"), feature.get("video_info")):
        if isinstance(holder, Mapping) and any(
            str(holder.get(flag)).lower() in _TRUE for flag in _DEPTH_FLAGS
        ):
            return "a depth map"
    shape = feature.get("shape")
    if not isinstance(shape, list) or len(shape) != 3:
        return f"shape {shape} is not an image's"
    if own:
        return None
    return leak_by_name(name, others, image=True) or why_no_camera(name, channels_of(feature))


def _why_not(feature: Mapping[str, Any]) -> str:
    """Why a feature that is no camera is not read."""
    name = str(feature.get("dtype"))
    if name in _WITHOUT_NUMBERS or number_dtype(feature) is None:
        return _WITHOUT_NUMBERS.get(name, f"of dtype {name}")
    shape = tuple(feature.get("shape") or ())
    what = "an array" if len(shape) > 1 else "not a state, action, reward or success"
    return f"{name} {shape}, {what}"


def _concatenated(parts: list[FeatureStatistics]) -> FeatureStatistics:
    """The statistics of concatenated features, with the quantiles that all of them have."""
    if len(parts) == 1:
        return parts[0]
    joined: dict[str, tuple[float, ...]] = {}
    for name in ("min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99"):
        values = [getattr(part, name) for part in parts]
        if all(values):
            joined[name] = tuple(itertools.chain.from_iterable(values))
    return FeatureStatistics(count=min(part.count for part in parts), **joined)
