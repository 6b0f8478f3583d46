"""Navigation: to the position that an image shows, first-person and discrete, in miniworld."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from manyparts.core.host.renderer import APT, NoRendererError, egl_loads
from manyparts.envs.base import EnvConfig, Split, Suite
from manyparts.envs.experts.shortest_path import FloorPlan, FloorRoute
from manyparts.envs.rendering import drawing
from manyparts.envs.suites.navigation_env import CAMERAS, Navigation
from manyparts.envs.suites.navigation_worlds import INSTRUCTIONS, SPLITS, TASKS, WORLDS, World

__all__ = [
    "INSTRUCTIONS",
    "SPLITS",
    "SUITE",
    "TASKS",
    "MiniworldScene",
    "make",
    "renderer",
]

ROBOT_RADIUS_METRES = 0.4
# Paths and goals keep farther from walls than the robot must.
CLEARANCE_METRES = 0.45
MARKER_METRES = 0.4
SAMPLES_PER_PIXEL = 4


def make(task: str, config: EnvConfig, split: Split) -> Navigation:
    """The environment of a world of this suite.

    Args:
        task: "hallway" or another of `TASKS`.
        config: what it shows, and how long its episodes are.
        split: the split that goals are drawn from.

    Raises:
        UserError: the config names an unknown camera; or nothing renders here.
    """
    config.camera_sizes("navigation", CAMERAS, CAMERAS)  # refuse before a scene is opened
    scene, horizon = MiniworldScene(WORLDS[task]), WORLDS[task].horizon
    return Navigation(
        f"navigation/{task}",
        scene,
        embodiment="miniworld",
        config=config,
        split=split,
        horizon=horizon,
    )


def renderer() -> str:
    """The name of what renders this suite: EGL, without a display.

    Raises:
        NoRendererError: it does not load; the message has the command that installs it.
    """
    if not egl_loads("libGL.so.1", "libGLU.so.1"):
        raise NoRendererError(
            "EGL, OpenGL or GLU does not load", f"install them with: {APT} libgl1 libglu1-mesa"
        )
    return "egl"


class MiniworldScene:
    """A `navigation_env.Scene` of miniworld: its floor plan, look and collisions, not its
    randomness."""

    # The OpenGL contexts of a process share one display list, which miniworld draws from. This is
    # the scene that it holds now.
    _drawn: ClassVar[MiniworldScene | None] = None

    def __init__(self, world: World) -> None:
        renderer()
        self._world = world
        self._buffers: dict[int, Any] = {}

    @cached_property
    def _simulator(self) -> Any:
        """The miniworld environment, made when it is first needed."""
        # Making it draws, and a process that has drawn cannot be forked. It also prints what its
        # frame buffers fall back to.
        with _drawing(), contextlib.redirect_stdout(io.StringIO()):
            kind = getattr(_miniworld_envs(), self._world.kind)
            simulator = kind(obs_width=8, obs_height=8, window_width=8, window_height=8)
            simulator.reset(seed=self._world.seed)
        MiniworldScene._drawn = None
        simulator.box.size, simulator.box.dir = np.full(3, MARKER_METRES), 0.0
        return simulator

    @cached_property
    def _plan(self) -> FloorPlan:
        return FloorPlan(self._simulator.wall_segs[:, :, [0, 2]], clearance=CLEARANCE_METRES)

    def sample(self, generator: np.random.Generator) -> np.ndarray:
        """A position that keeps the clearance from every wall, uniform over the floor."""
        # A room by its area, then a position in it.
        rooms = self._simulator.rooms
        while True:
            room = rooms[generator.choice(len(rooms), p=self._simulator.room_probs)]
            position = generator.uniform([room.min_x, room.min_z], [room.max_x, room.max_z])
            if (
                room.point_inside(_upright(position))
                and self._plan.distance_to_walls(position[None])[0] >= CLEARANCE_METRES
            ):
                return position

    def route(self, goal: np.ndarray) -> FloorRoute:
        return FloorRoute(self._plan, goal)

    def is_free(self, position: np.ndarray) -> bool:
        return bool(self._plan.distance_to_walls(position[None])[0] >= ROBOT_RADIUS_METRES)

    def image(
        self, position: np.ndarray, heading: float, size: int, *, marker: np.ndarray | None
    ) -> np.ndarray:
        simulator = self._simulator
        simulator.agent.pos, simulator.agent.dir = _upright(position), heading
        simulator.entities = [simulator.agent]
        if marker is not None:
            simulator.box.pos = _upright(marker)
            simulator.entities.append(simulator.box)
        with _drawing():
            simulator.shadow_window.switch_to()
            if MiniworldScene._drawn is not self:
                simulator._render_static()
                MiniworldScene._drawn = self
            return simulator.render_obs(self._buffer(size)).copy()

    def close(self) -> None:
        """Do nothing.

        Miniworld's context ends with the process. Closing it would delete textures that it shares
        with other scenes.
        """

    def _buffer(self, size: int) -> Any:
        if size not in self._buffers:
            from miniworld.opengl import FrameBuffer

            self._buffers[size] = FrameBuffer(size, size, SAMPLES_PER_PIXEL)
        return self._buffers[size]


@contextlib.contextmanager
def _drawing() -> Iterator[None]:
    """Draw as in `rendering.drawing`, then release pyglet's context for the next thread."""
    with drawing():
        try:
            yield
        finally:
            gl = sys.modules.get("pyglet.gl")
            if gl is not None and gl.current_context is not None:
                egl = importlib.import_module("pyglet.libs.egl.egl")
                egl.eglMakeCurrent(gl.current_context.display_connection, None, None, None)


def _miniworld_envs() -> Any:
    import pyglet

    pyglet.options["headless"] = True
    from miniworld import envs

    return envs


def _upright(position: np.ndarray) -> np.ndarray:
    """The floor position (x, z) as miniworld's (x, y, z), where y is up."""
    return np.array([position[0], 0.0, position[1]])


SUITE = Suite(
    make=make,
    instructions=INSTRUCTIONS,
    tasks=TASKS,
    renderer=renderer,
    splits=SPLITS,
    packages=("miniworld", "pyglet", "gymnasium"),
    extra="navigation",
    # After success the expert stands still. A policy that imitates this where it cannot tell the
    # goal never leaves its start (docs/explanation/navigation.md).
    steps_after_success=0,
)
