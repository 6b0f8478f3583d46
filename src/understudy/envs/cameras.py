"""Cameras of our own: a position, what it looks at and how wide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from understudy.envs.rendering import load_mujoco


@dataclass(frozen=True)
class FreeCamera:
    """position, look_at: metres in the world frame, z up; fovy: vertical field of view in degrees."""

    position: tuple[float, float, float]
    look_at: tuple[float, float, float]
    fovy: float

    def to_mujoco(self) -> Any:
        """A free `mujoco.MjvCamera` at this place; its field of view is a setting of the model's, not its own."""
        mujoco = load_mujoco()
        towards = np.asarray(self.look_at) - np.asarray(self.position)
        distance = float(np.linalg.norm(towards))
        camera = mujoco.MjvCamera()
        camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        camera.lookat[:] = self.look_at
        camera.distance = distance
        camera.azimuth = float(np.degrees(np.arctan2(towards[1], towards[0])))
        camera.elevation = float(np.degrees(np.arcsin(towards[2] / distance)))
        return camera
