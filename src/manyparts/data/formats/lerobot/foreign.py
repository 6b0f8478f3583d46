"""What a LeRobot dataset that others wrote tells of its embodiment, as far as it can be derived."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import numpy as np

from manyparts.data.formats.arrays import seen_bounds
from manyparts.data.formats.reader import ACTION, EXPERT_ACTION, IMAGES, STATE
from manyparts.data.statistics import Statistics
from manyparts.types import ActionContract, Spec, UserError


def drop_unlike_expert(features: MutableMapping[str, Any]) -> dict[str, str]:
    """Take the expert's actions out of the features if they cannot stand in for the action, and return why, by name."""
    expert, action = features.get(EXPERT_ACTION), features.get(ACTION)
    if expert is None or action is None:
        return {}
    shape, kind = list(expert["shape"]), str(expert["dtype"])
    if shape == list(action["shape"]) and kind.startswith(("float", "int", "uint")):
        return {}
    del features[EXPERT_ACTION]
    return {EXPERT_ACTION: f"{kind} {shape}, unlike {ACTION} {list(action['shape'])}"}


def camera_features(features: Mapping[str, Any]) -> dict[str, str]:
    """Camera name to the feature that holds its images: "observation.images.top" is camera "top"."""
    images = [name for name, feature in features.items() if feature["dtype"] in ("image", "video")]
    return {name.removeprefix(IMAGES).removeprefix("observation."): name for name in images}


def camera_sizes(features: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Camera name to the (height, width) of its images."""
    return {camera: _size(features[name]) for camera, name in camera_features(features).items()}


def derive_spec(info: Mapping[str, Any], statistics: Statistics) -> Spec:
    """Cameras, state and action from the features; the bounds of actions from their statistics.

    What actions mean is not written there: the representation is "unknown". Raises UserError without actions.
    """
    features = info["features"]
    if ACTION not in features:
        raise UserError(f"the dataset has no feature {ACTION}; it has {', '.join(sorted(features))}")
    names = _names(features[ACTION], "action")
    low, high = seen_bounds(statistics[ACTION])
    action = ActionContract(
        representation="unknown",
        frame="unknown",
        names=names,
        low=low,
        high=high,
        control_rate_hz=float(info["fps"]),
        measured=True,
    )
    cameras = camera_sizes(features)
    state = _names(features[STATE], "state") if STATE in features else ()
    return Spec(str(info.get("robot_type") or "unknown"), cameras, state, action)


def _names(feature: Mapping[str, Any], prefix: str) -> tuple[str, ...]:
    count = int(np.prod(feature["shape"]))
    names = feature.get("names")
    if isinstance(names, Mapping):
        names = next((value for value in names.values() if isinstance(value, list)), list(names))
    if isinstance(names, list) and len(names) == count:
        return tuple(map(str, names))
    return tuple(f"{prefix}_{number}" for number in range(count))


def _size(feature: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) of an image feature, whether its shape is (h, w, 3) or (3, h, w)."""
    shape, names = list(feature["shape"]), feature.get("names") or []
    channels_first = names[0].startswith("channel") if names else shape[0] in (1, 3) and shape[2] not in (1, 3)
    height, width = shape[1:] if channels_first else shape[:2]
    return int(height), int(width)
