"""The MuJoCo model beneath a Gymnasium environment, drawn by this library's fast renderer."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from manyparts.core.errors import UserError, closest
from manyparts.envs.base import EnvConfig
from manyparts.envs.cameras import CameraImages, FreeCamera

_NAMES = (("model", "data"), ("_model", "_data"))


def beneath(env: gymnasium.Env) -> tuple[Any, Any] | None:
    """Return the `MjModel` and `MjData` of an environment; None if it has none.

    They are looked for where Gymnasium, Gymnasium-Robotics, OGBench and dm_control keep them.
    """
    raw = env.unwrapped
    for owner in (raw, getattr(raw, "_env", None), getattr(raw, "env", None)):
        if (physics := getattr(owner, "physics", None)) is not None:
            return physics.model.ptr, physics.data.ptr
        for model, data in _NAMES:
            if type(getattr(owner, model, None)).__name__ == "MjModel":
                return getattr(owner, model), getattr(owner, data)
    return None


class MujocoCameras:
    """Images of a model that the environment may build again at a reset.

    Args:
        env: The environment.
        config: Image size, and whether to render faithfully.
        cameras: The name of each camera, to that of one of the model's or to a free one.
    """

    def __init__(
        self, env: gymnasium.Env, config: EnvConfig, cameras: dict[str, str | FreeCamera]
    ) -> None:
        self._env, self._config, self._cameras = env, config, cameras
        self._free = {name: each for name, each in cameras.items() if isinstance(each, FreeCamera)}
        self._model: Any = None
        self._images: CameraImages | None = None
        if cameras:
            self._require(self._found()[0])

    def image(self, name: str, size: int) -> np.ndarray:
        """Draw what a camera sees now: uint8 (size, size, 3).

        Args:
            name: The camera's.
            size: Side of the image in pixels.
        """
        model, data = self._found()
        if self._images is None or model is not self._model:
            self.close()
            self._model = model
            self._images = CameraImages(model, self._config, self._free)
        self._show_marks(data)
        camera = self._cameras[name]
        return self._images.image(data, camera if isinstance(camera, str) else name, size)

    def close(self) -> None:
        """Free the renderer; the next image makes a new one."""
        if self._images is not None:
            self._images.close()
            self._images = None

    def _found(self) -> tuple[Any, Any]:
        found = beneath(self._env)
        if found is None:
            raise UserError("there is no MuJoCo model beneath it, which its cameras show")
        return found

    def _require(self, model: Any) -> None:
        """Raise UserError for a camera that the model does not have."""
        names = [model.camera(number).name for number in range(model.ncam)]
        for camera in self._cameras.values():
            if isinstance(camera, str) and camera not in names:
                raise UserError(
                    f"its MuJoCo model has no camera {camera!r}; {closest(camera, names)}"
                )

    def _show_marks(self, data: Any) -> None:
        """Move the marks that Gymnasium-Robotics shows at a goal to where they belong.

        It does so when it draws, and computes the whole state again, from which the next step would
        start its solver. An episode must not depend on whether it was seen.
        """
        move = getattr(self._env.unwrapped, "_render_callback", None)
        if move is not None:
            start = data.qacc_warmstart.copy()
            move()
            data.qacc_warmstart[:] = start
