"""What a LeRobot dataset that others wrote tells of its embodiment, as far as it can be derived."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyparts.core.spec import ActionContract, Spec
from manyparts.data.formats.arrays import UNKNOWN, observed_bounds
from manyparts.data.formats.lerobot.features import Plan, names_of, size_of, state_names
from manyparts.embodiment.statistics import Statistics


def camera_sizes(features: Mapping[str, Any], plan: Plan) -> dict[str, tuple[int, int]]:
    """Camera name to the (height, width) of its images."""
    return {camera: size_of(features[name]) for camera, name in plan.cameras.items()}


def derive_spec(info: Mapping[str, Any], plan: Plan, statistics: Statistics, fps: float) -> Spec:
    """Cameras, state and action from the features; the bounds of actions from their statistics.

    What actions mean is not written there: the representation is "unknown".
    """
    features = info["features"]
    low, high = observed_bounds(statistics)
    action = ActionContract(
        representation="unknown",
        frame="unknown",
        names=names_of(features[plan.action], "action"),
        low=low,
        high=high,
        control_rate_hz=fps,
        measured=True,
    )
    robot = str(info.get("robot_type") or UNKNOWN)
    return Spec(
        robot,
        camera_sizes(features, plan),
        state_names(features, plan.state),
        action,
        named=robot != UNKNOWN,
    )
