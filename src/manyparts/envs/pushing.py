"""Pushes of what a person points at, in simulations of MuJoCo."""

from __future__ import annotations

from typing import Any

import numpy as np

from manyparts.envs.cameras import CameraImages

_SPEED = 1.0  # metres per second that the hardest push gives a body, if nothing holds it


def push(
    model: Any,
    data: Any,
    images: CameraImages,
    camera: str,
    at: tuple[float, float],
    towards: tuple[float, float],
    seconds: float,
) -> str:
    """Put a force on the body at a point of an image, until `release`.

    Args:
        model: A `mujoco.MjModel`.
        data: Its `mujoco.MjData`; the force is written into it.
        images: Of the model.
        camera: Through which a person looks.
        at: See `envs.offers.Pushable.push`.
        towards: See there.
        seconds: How long the force lasts.

    Returns:
        The body's name, or its number; empty if what is there does not move.
    """
    body, right, up = images.body_at(data, camera, at)
    if body < 0 or model.body_weldid[body] == 0:  # the world, and what is fixed to it
        return ""
    force = model.body_subtreemass[body] * _SPEED / seconds
    data.xfrc_applied[body, :3] += force * (towards[0] * right + towards[1] * up)
    return model.body(body).name or f"body {body}"


def release(data: Any) -> None:
    """End all pushes.

    Args:
        data: A `mujoco.MjData`.
    """
    if data.xfrc_applied.any():
        data.xfrc_applied[:] = np.zeros_like(data.xfrc_applied)
