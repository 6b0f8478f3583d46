"""Free cameras, and the images of all cameras of a MuJoCo model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from manyparts.envs.base import EnvConfig
from manyparts.envs.rendering import Renderer, load_mujoco


@dataclass(frozen=True)
class FreeCamera:
    """A camera that is not part of the simulator's model."""

    position: tuple[float, float, float]
    """Metres in the world frame, z up."""

    look_at: tuple[float, float, float]
    """The point in the middle of the image, metres in the world frame."""

    fovy: float
    """Vertical field of view in degrees."""

    def locate(self, points: np.ndarray) -> np.ndarray:
        """Where points are in the square image.

        Args:
            points: (n, 3), metres in the world frame.

        Returns:
            (n, 2), from the left and from the top, from 0 to 1 within the image; far outside of it
            for what is behind the camera.
        """
        forward = np.asarray(self.look_at) - np.asarray(self.position)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right = right / np.linalg.norm(right)
        up = np.cross(right, forward)
        relative = points - np.asarray(self.position)
        depth = np.maximum(relative @ forward, 1e-6) * np.tan(np.radians(self.fovy) / 2)
        return np.stack(
            [0.5 + 0.5 * (relative @ right) / depth, 0.5 - 0.5 * (relative @ up) / depth], axis=1
        )

    def to_mujoco(self) -> Any:
        """The same as a free `mujoco.MjvCamera`, except for the field of view."""
        # MuJoCo keeps the field of view of free cameras in the model; `Renderer.image` sets it.
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


class CameraImages:
    """The images of a model's cameras, from one renderer that is made for the first image."""

    def __init__(self, model: Any, config: EnvConfig, free: Mapping[str, FreeCamera]) -> None:
        """Make no renderer yet.

        Args:
            model: a `mujoco.MjModel`.
            config: image size, and whether to render faithfully.
            free: free cameras by name. Other names are the model's cameras; if the model has none,
                they show MuJoCo's default view.
        """
        self._model, self._config, self._free = model, config, free
        self._renderer: Renderer | None = None
        self._cameras: dict[str, Any] = {}

    def image(self, data: Any, name: str, size: int) -> np.ndarray:
        """The image of a camera for a state of the simulator.

        Args:
            data: a `mujoco.MjData` with the state.
            name: the name of a free camera or of one of the model's.
            size: side of the image in pixels.

        Returns:
            uint8 (size, size, 3).
        """
        renderer, camera, fovy = self._ready(name)
        return renderer.image(data, camera, size, fovy=fovy)

    def body_at(
        self, data: Any, name: str, at: tuple[float, float]
    ) -> tuple[int, np.ndarray, np.ndarray]:
        """See `Renderer.body_at`.

        Args:
            data: a `mujoco.MjData` with the state.
            name: the camera's name.
            at: the point of its image.
        """
        renderer, camera, fovy = self._ready(name)
        return renderer.body_at(data, camera, at, fovy=fovy)

    def _ready(self, name: str) -> tuple[Renderer, Any, float | None]:
        """The renderer, and a camera with its field of view."""
        if self._renderer is None:
            faithful = self._config.faithful_rendering
            self._renderer = Renderer(self._model, size=self._config.image_size, faithful=faithful)
        free = self._free.get(name)
        if name not in self._cameras:
            self._cameras[name] = free.to_mujoco() if free else self._of_model(name)
        return self._renderer, self._cameras[name], free.fovy if free else None

    def close(self) -> None:
        """Free the renderer; the next image makes a new one."""
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
