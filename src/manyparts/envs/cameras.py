"""Cameras of our own, and the pictures of all cameras of a MuJoCo model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from manyparts.envs.base import EnvConfig
from manyparts.envs.rendering import Renderer, load_mujoco


@dataclass(frozen=True)
class FreeCamera:
    """position, look_at: metres in the world frame, z up; fovy: vertical field of view in
    degrees."""

    position: tuple[float, float, float]
    look_at: tuple[float, float, float]
    fovy: float

    def to_mujoco(self) -> Any:
        """A free `mujoco.MjvCamera` at this place; its field of view is a setting of the model's,
        not its own."""
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


class Pictures:
    """What the cameras of a model show. The renderer they share is made for the first picture.

    free: cameras of our own by name; other names are those of the model, which may have none: then
    MuJoCo's own view.
    """

    def __init__(self, model: Any, config: EnvConfig, free: Mapping[str, FreeCamera]) -> None:
        self._model, self._config, self._free = model, config, free
        self._renderer: Renderer | None = None
        self._cameras: dict[str, Any] = {}

    def picture(self, data: Any, name: str, size: int) -> np.ndarray:
        """uint8 (size, size, 3)."""
        if self._renderer is None:
            faithful = self._config.faithful_rendering
            self._renderer = Renderer(self._model, size=self._config.image_size, faithful=faithful)
        free = self._free.get(name)
        if name not in self._cameras:
            self._cameras[name] = free.to_mujoco() if free else self._of_model(name)
        return self._renderer.picture(
            data, self._cameras[name], size, fovy=free.fovy if free else None
        )

    def close(self) -> None:
        """Free the renderer; another picture makes another one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _of_model(self, name: str) -> Any:
        mujoco = load_mujoco()
        camera = mujoco.MjvCamera()
        if not self._model.ncam:
            mujoco.mjv_defaultFreeCamera(self._model, camera)
            return camera
        camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        camera.fixedcamid = self._model.camera(name).id
        return camera
