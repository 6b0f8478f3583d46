"""Derive the spec of a robot from a LeRobotDataset that another program wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyparts.core.spec import ActionContract, Spec
from manyparts.data.formats.arrays import UNKNOWN, observed_bounds
from manyparts.data.formats.lerobot.features import Plan, names_of, size_of, state_names
from manyparts.embodiment.statistics import Statistics


def camera_sizes(features: Mapping[str, Any], plan: Plan) -> dict[str, tuple[int, int]]:
    """The (height, width) in pixels of each camera's images, by the camera's name.

    Args:
        features: the description of each feature in info.json, by name.
        plan: which features are cameras.
    """
    return {camera: size_of(features[name]) for camera, name in plan.cameras.items()}


def derive_spec(info: Mapping[str, Any], plan: Plan, statistics: Statistics, fps: float) -> Spec:
    """Take cameras, state and action from the features, and the bounds from the statistics.

    The files do not say what actions mean: representation and frame are "unknown".

    Args:
        info: the content of meta/info.json.
        plan: how its features are read.
        statistics: of the dataset, with those of its actions.
        fps: frames per second, which become the control rate.
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
