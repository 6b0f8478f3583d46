"""Which features of a LeRobotDataset are read, and as what; the others are left out by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from manyparts.core.columns import ACTION, DONE, EXPERT_ACTION, IMAGES, REWARD, STATE, SUCCESS
from manyparts.core.errors import UserError
from manyparts.core.naming import FORMER_COLUMNS
from manyparts.data.formats.kinds import ArrayInfo, leak_by_name, why_no_camera, why_not_observed
from manyparts.data.formats.lerobot.layout import STANDARD
from manyparts.embodiment.statistics import FeatureStatistics, Statistics

PICTURES = ("image", "video")
_OBSERVATION = "observation."
_FURTHER = (REWARD, DONE, SUCCESS, *STANDARD)
_OTHER_NAMES = {ACTION: "actions", STATE: "state"}
_DEPTH_FLAGS = ("is_depth_map", "video.is_depth_map")
_TRUE = ("true", "1")
_WITHOUT_NUMBERS = {"string": "text", "language": "language"}


@dataclass(frozen=True)
class Plan:
    """How features are read. cameras: name to feature. state: features that are laid side by side.
    action: the feature. expert: the feature of the expert's actions, if there is one. further:
    other columns of numbers, which keep their names. left_out: all other features, and why. notes:
    what is read otherwise than one may think."""

    cameras: Mapping[str, str]
    state: tuple[str, ...]
    action: str
    expert: str | None
    further: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """All columns of numbers that are read."""
        return (*self.state, self.action, *self.further, *filter(None, [self.expert]))

    def without(self, left_out: Mapping[str, str], notes: Collection[str] = ()) -> Plan:
        """The plan without some features, by name, and why."""
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
        """Those of the state and the actions under their names here, as far as they are stored."""
        features = dict(stored.features)
        if all(name in features for name in self.state) and self.state:
            features[STATE] = _side_by_side([features[name] for name in self.state])
        if self.action in features:
            features[ACTION] = features[self.action]
        if self.expert in features:
            features[EXPERT_ACTION] = features[self.expert]
        return Statistics(features)


def make_plan(features: Mapping[str, Any], *, own: bool) -> Plan:
    """own: this project wrote the dataset, so that no other feature stands for the state. Raises
    UserError without actions."""
    described = {name: item for name, item in features.items() if isinstance(item, Mapping)}
    unset = [name for name, item in described.items() if not isinstance(item.get("shape"), list)]
    required = [name for name in (ACTION, _OTHER_NAMES[ACTION], STATE) if name in unset]
    if required:
        raise UserError(
            f"the feature {required[0]} has the shape {described[required[0]].get('shape')}; expected a list"
        )
    left_out = dict.fromkeys(features.keys() - described.keys(), "it is not described")
    left_out |= {
        name: why
        for name, item in described.items()
        if (why := _no_camera(name, item, list(described), own=own))
    }
    cameras = _cameras(
        [name for name, item in described.items() if item.get("dtype") in PICTURES], left_out
    )
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
    left_out |= {name: _why(item) for name, item in described.items() if name not in used}
    notes = [f"the state is {' and '.join(state)}"] if state and state != (STATE,) else []
    notes += [f"the action is {action}"] if action != ACTION else []
    return Plan(cameras, state, action, expert, further, left_out, tuple(notes))


def with_lists(features: Mapping[str, Any]) -> dict[str, Any]:
    """Features whose shapes are lists; some writers put a number for a row of numbers."""
    return {
        name: {**item, "shape": [item["shape"]]}
        if isinstance(item, Mapping) and isinstance(item.get("shape"), int)
        else item
        for name, item in features.items()
    }


def size_of(feature: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) of an image feature, whether its shape is (h, w, 3) or (3, h, w), and
    whatever its axes' names.

    Names count as far as they fit the shape.
    """
    shape = [int(side) for side in feature["shape"]]
    names = feature.get("names")
    names = (
        [str(name).lower()[:1] for name in names]
        if isinstance(names, list) and len(names) == 3
        else []
    )
    if "h" in names and "w" in names:
        height, width = names.index("h"), names.index("w")
        if shape[3 - height - width] in (1, 3, 4):
            return shape[height], shape[width]
    channels_first = names[:1] == ["c"] if names else False
    if shape[0] in (1, 3, 4) and (channels_first or shape[2] not in (1, 3, 4)):
        return shape[1], shape[2]
    return shape[0], shape[1]


def has_size(feature: Mapping[str, Any]) -> bool:
    """Whether the shape of an image feature is set; some writers leave it open, as [null, null, 3]
    or zeros."""
    return all(isinstance(side, int | float) and side >= 1 for side in feature["shape"])


def channels_of(feature: Mapping[str, Any]) -> int:
    """How many numbers a pixel of an image feature has; 3 where its shape is not set."""
    if not has_size(feature):
        return 3
    height, width = size_of(feature)
    return int(np.prod(feature["shape"])) // max(1, height * width)


def names_of(feature: Mapping[str, Any], prefix: str) -> tuple[str, ...]:
    """A name a dimension: the feature's own, where it has as many, else the prefix and a number."""
    count = int(np.prod(feature["shape"]))
    names = feature.get("names")
    if isinstance(names, Mapping):
        names = next((value for value in names.values() if isinstance(value, list)), list(names))
    if isinstance(names, list) and len(names) == count:
        return tuple(map(str, names))
    return tuple(f"{prefix}_{number}" for number in range(count))


def state_names(features: Mapping[str, Any], state: tuple[str, ...]) -> tuple[str, ...]:
    """A name a dimension of the features that are laid side by side."""
    if len(state) == 1:
        return names_of(features[state[0]], "state")
    return tuple(
        each for name in state for each in names_of(features[name], name.removeprefix(_OBSERVATION))
    )


def _cameras(images: list[str], left_out: Mapping[str, str]) -> dict[str, str]:
    """ "observation.images.top" is camera "top"; where two would have one name, the later keeps its
    whole name."""
    cameras: dict[str, str] = {}
    for name in images:
        if name not in left_out:
            short = name.removeprefix(IMAGES).removeprefix(_OBSERVATION)
            cameras[name if short in cameras else short] = name
    return cameras


def _state(described: Mapping[str, Any], *, own: bool) -> tuple[tuple[str, ...], dict[str, str]]:
    """observation.state; where others wrote and have none, all other rows of numbers that are
    observed; and why some of these are no state."""
    if STATE in described or own:
        return ((STATE,) if STATE in described else ()), {}
    observed = [
        name
        for name in sorted(described)
        if name.startswith(_OBSERVATION) and _width(described[name])
    ]
    entries = {
        name: ArrayInfo(tuple(described[name]["shape"]), np.dtype(described[name]["dtype"]))
        for name in observed
    }
    left_out = {
        name: why
        for name, entry in entries.items()
        if (why := why_not_observed(name, entry, observed))
    }
    state, other = tuple(name for name in observed if name not in left_out), _OTHER_NAMES[STATE]
    return state or ((other,) if other in described and _width(described[other]) else ()), left_out


def _unlike(expert: Mapping[str, Any], action: Mapping[str, Any]) -> str | None:
    """Why a feature cannot stand for the expert's actions, though its name says so."""
    if _dtype(expert) is not None and expert.get("shape") == action.get("shape"):
        return None
    return f"{expert.get('dtype')} {expert.get('shape')}, unlike the action's {action.get('shape')}"


def _width(feature: Mapping[str, Any]) -> int | None:
    """How many numbers a row has; None for what is no row of numbers."""
    shape = feature.get("shape")
    if _dtype(feature) is None or not isinstance(shape, list | tuple) or len(shape) > 1:
        return None
    return int(np.prod(shape))


def _dtype(feature: Mapping[str, Any]) -> np.dtype | None:
    try:
        dtype = np.dtype(feature.get("dtype", ""))
    except TypeError:
        return None
    return dtype if dtype.kind in "biuf" else None


def _no_camera(
    name: str, feature: Mapping[str, Any], others: Collection[str], *, own: bool
) -> str | None:
    """Why an image feature is none of a camera. others: the names of all features."""
    if feature.get("dtype") not in PICTURES:
        return None
    for holder in (feature, feature.get("info"), feature.get("video_info")):
        if isinstance(holder, Mapping) and any(
            str(holder.get(flag)).lower() in _TRUE for flag in _DEPTH_FLAGS
        ):
            return "a depth map"
    shape = feature.get("shape")
    if not isinstance(shape, list) or len(shape) != 3:
        return f"shape {shape} is none of pictures"
    return (
        None
        if own
        else leak_by_name(name, others, image=True) or why_no_camera(name, channels_of(feature))
    )


def _why(feature: Mapping[str, Any]) -> str:
    name = str(feature.get("dtype"))
    if name in _WITHOUT_NUMBERS or _dtype(feature) is None:
        return _WITHOUT_NUMBERS.get(name, f"of dtype {name}")
    shape = tuple(feature.get("shape") or ())
    what = "an array" if len(shape) > 1 else "not a state, action, reward or success"
    return f"{name} {shape}, {what}"


def _side_by_side(parts: list[FeatureStatistics]) -> FeatureStatistics:
    """Of several features' dimensions together; of quantiles those that all have."""
    if len(parts) == 1:
        return parts[0]
    joined = {
        name: tuple(number for part in parts for number in getattr(part, name))
        for name in ("min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99")
        if all(getattr(part, name) for part in parts)
    }
    return FeatureStatistics(count=min(part.count for part in parts), **joined)
