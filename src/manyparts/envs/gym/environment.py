"""A declared Gymnasium environment as one of this library's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.extras import in_a_line
from manyparts.core.records import Observation
from manyparts.core.spec import ActionContract, Spec
from manyparts.envs.base import EnvConfig, Environment, Split
from manyparts.envs.cameras import FreeCamera
from manyparts.envs.gym import opening
from manyparts.envs.gym.mujoco import MujocoCameras
from manyparts.envs.gym.task import MUJOCO, RENDER, ExpertStep, GymTask
from manyparts.envs.gym.values import (
    Moment,
    image,
    key_of,
    number_names,
    numbers,
    resized,
    scalar_reward,
)

_SHOWN_PIXELS = 256


class GymEnvironment(Environment):
    """The environment of a `GymTask`.

    An episode ends when the environment says so, or after the task's steps. Images are resized to
    the config's size.

    Args:
        name: "suite/task".
        task: What it is.
        config: What it shows, and how long its episodes are.
        split: The split that its seeds are of.

    Attributes:
        declaration: The task's.
        gym: The Gymnasium environment.
        moment: What its last reset or step returned.

    Raises:
        UserError: The environment cannot be made, or is not as declared.
    """

    can_terminate = True

    def __init__(self, name: str, task: GymTask, config: EnvConfig, split: Split) -> None:
        task.seed_of(split, 0)
        if config.context is not None:
            raise UserError(f"{name} has no goals to fix; leave context None")
        cameras = config.camera_sizes(name, tuple(task.cameras), tuple(task.cameras))
        if config.goal == "hidden" and (task.goal is None or cameras):
            raise UserError(
                f"the goal of {name} cannot be hidden"
                + (" from its images; show states alone (cameras none)" if cameras else "")
            )
        self.declaration, self.config = task, config
        self.knows_success = task.success is not None
        self.reproduces = task.seeding != "none"
        self._numpy_state: Any = None
        self._expert: ExpertStep | None = None
        self._last_action: np.ndarray | None = None
        self._next_expert: np.ndarray | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._seed = 0
        self._ended = self._cut = False
        self._said: str | None = None
        with self._explained(f"{name} cannot be opened"):
            self.gym = opening.open_environment(task)
            try:
                self._open(name, cameras, split)
            except BaseException:
                self.gym.close()
                raise

    def _open(self, name: str, cameras: dict[str, tuple[int, int]], split: Split) -> None:
        """Learn from a first reset what the environment shows."""
        task = self.declaration
        self.task = name
        _, self._space = opening.spaces(self.gym)
        self._reset(task.seed_of(split, 0))
        self._cameras = MujocoCameras(self.gym, self.config, _mujoco_cameras(task))
        shown = (*task.state, *(task.full_state if self.config.state == "full" else ()))
        self._paths = [path for each in shown for path in self.moment.expanded(each)]
        names: list[str] = []
        for path in self._paths:
            names += number_names(key_of(path), self.moment.value(path))
        self._goal_numbers = 0
        if task.goal is not None and not isinstance(self._goal_image(), np.ndarray):
            goal = number_names(key_of(task.goal), self._goal)
            self._goal_numbers = len(goal)
            names += goal
        action = task.action or contract_of(self._space, self._rate())
        require_fitting(action, self._space)
        spec = Spec(task.embodiment_name, cameras, tuple(names), action)
        super().__init__(name, spec, split=split, max_steps=self.config.max_steps or self._steps())
        self._state()
        for camera, path in task.cameras.items():  # others are drawn when somebody looks
            if camera in cameras and path != RENDER and not _is_mujoco(path):
                self._image(camera, self.config.image_size)

    def _begin(self, seed: int) -> None:
        with self._explained(f"{self.task} failed at the reset of seed {seed}"):
            self._seed = seed
            self._reset(self.declaration.seed_of(self.split, seed))

    def _advance(self, action: np.ndarray) -> tuple[float, bool]:
        with self._explained(f"{self.task} failed at step {self.elapsed} of seed {self._seed}"):
            with self._own_numpy():
                observation, reward, self._ended, self._cut, info = opening.step(
                    self.gym, raw_action(self._space, action)
                )
            self.moment = Moment(observation, info, scalar_reward(reward))
            self._last_action, self._next_expert = action, None
            return self.moment.reward, self.declaration.succeeded(self.moment)

    def _has_terminated(self) -> bool:
        return self._ended

    def _has_truncated(self) -> bool:
        return self._cut

    def observe(self) -> Observation:
        with self._explained(f"{self.task} at step {self.elapsed} of seed {self._seed}"):
            images = {
                name: self._image(name, size[0])
                for name, size in self.embodiment_spec.cameras.items()
            }
            return {"images": images, "state": self._state()}

    def episode_instruction(self) -> str | None:
        return self._said

    def goal_image(self) -> np.ndarray | None:
        goal = self._goal_image()
        if goal is None:
            return None
        return resized(goal, (self.config.image_size, self.config.image_size))

    def expert_action(self) -> np.ndarray:
        if self.declaration.expert is None:
            return super().expert_action()
        with self._explained(f"the expert of {self.task} failed at step {self.elapsed}"):
            # An expert may keep a plan, so that it is asked once per step.
            if self._next_expert is None:
                if self._expert is None:
                    self._expert = self.declaration.expert(self.gym)
                action = self._expert(self.moment.observation, self.moment.info, self._last_action)
                self._next_expert = self.embodiment_spec.action.executed(np.asarray(action))
            return self._next_expert

    def render(self) -> np.ndarray:
        with self._explained(f"{self.task} cannot be drawn"):
            for name, camera in self.declaration.cameras.items():
                if _is_mujoco(camera):
                    return self._cameras.image(name, _SHOWN_PIXELS)
            return resized(self._drawn(), (_SHOWN_PIXELS, _SHOWN_PIXELS))

    def close(self) -> None:
        self._cameras.close()
        self.gym.close()

    def _reset(self, seed: int) -> None:
        """Begin an episode with a seed of the environment's."""
        seeding = self.declaration.seeding
        if seeding == "numpy":
            self._numpy_state = np.random.RandomState(seed).get_state()
        with self._own_numpy():
            observation, info = opening.reset(self.gym, None if seeding == "none" else seed)
        self.moment = Moment(observation, info)
        self._ended = self._cut = False
        self._expert = self._last_action = self._next_expert = None
        self._said = self.declaration.said(self.moment) if self.declaration.varies else None
        self._goal = None
        if self.declaration.goal is not None:
            self._goal = self.moment.value(self.declaration.goal)

    @contextlib.contextmanager
    def _own_numpy(self) -> Iterator[None]:
        """Give the block a global generator of numpy of this environment's own.

        So environments that draw from it do not disturb each other, nor the caller.
        """
        if self._numpy_state is None:
            yield
            return
        usual = np.random.get_state()  # noqa: NPY002
        np.random.set_state(self._numpy_state)  # noqa: NPY002
        try:
            yield
        finally:
            self._numpy_state = np.random.get_state()  # noqa: NPY002
            np.random.set_state(usual)  # noqa: NPY002

    def _state(self) -> np.ndarray:
        parts = [numbers(self.moment.value(path), key_of(path)) for path in self._paths]
        if self._goal_numbers:
            goal = self._goal
            if self.moment.holds(str(self.declaration.goal)):  # it may move
                goal = self.moment.value(str(self.declaration.goal))
            shown = 1 if self.config.goal == "visible" else 0
            parts.append(shown * numbers(goal, "its goal"))
        state = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        expected = self.embodiment_spec.state_dimension
        if len(state) != expected:
            raise UserError(f"its state has {len(state)} numbers, and had {expected} at first")
        return state

    def _image(self, name: str, size: int) -> np.ndarray:
        path = self.declaration.cameras[name]
        if _is_mujoco(path):
            return self._cameras.image(name, size)
        source = self.gym.render() if path == RENDER else self.moment.value(str(path))
        pixels = image(source, f"camera {name}")
        shape = self._shapes.setdefault(name, pixels.shape)
        if pixels.shape != shape:
            raise UserError(f"camera {name} shows {pixels.shape}, and showed {shape} at first")
        return resized(pixels, (size, size))

    def _drawn(self) -> np.ndarray:
        """What the environment draws for people, or else its first camera."""
        drawn = self.gym.render()
        if drawn is not None:
            return image(drawn, "what render returns")
        for path in self.declaration.cameras.values():
            if isinstance(path, str) and path != RENDER and not _is_mujoco(path):
                return image(self.moment.value(path), "its image")
        raise UserError("it draws nothing, and has no camera")

    def _goal_image(self) -> np.ndarray | None:
        """The goal, if it is an image."""
        if self._goal is None or np.ndim(self._goal) != 3:
            return None
        return image(self._goal, "its goal")

    def _rate(self) -> float:
        rate = self.declaration.rate_hz or self.gym.metadata.get("render_fps")
        if not rate:
            raise UserError("nothing says how many steps a second has; declare rate_hz")
        return float(rate)

    def _steps(self) -> int:
        steps = self.declaration.max_steps or (self.gym.spec and self.gym.spec.max_episode_steps)
        if not steps:
            raise UserError("nothing says how long its episodes are; declare max_steps")
        return int(steps)

    @contextlib.contextmanager
    def _explained(self, moment: str) -> Iterator[None]:
        """Make one line of whatever the environment raises in the block."""
        try:
            yield
        except UserError as error:
            raise UserError(f"{moment}: {error}") from error
        except (Exception, SystemExit) as error:
            raise UserError(f"{moment}: {in_a_line(error)}") from error


def contract_of(space: gymnasium.Space, rate_hz: float) -> ActionContract:
    """Return the contract of an action space of which nothing else is known.

    Args:
        space: The space.
        rate_hz: Steps per second.

    Raises:
        UserError: No agent here acts in such a space.
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        choices = tuple(f"choice_{number}" for number in range(int(space.n)))
        return ActionContract.discrete(choices, frame="unknown", control_rate_hz=rate_hz)
    if not isinstance(space, gymnasium.spaces.Box):
        raise UserError(f"its actions are {space}; expected a Box or a Discrete space")
    low, high = space.low.reshape(-1), space.high.reshape(-1)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise UserError("its actions have no bounds; declare an ActionContract with bounds")
    return ActionContract(
        representation="unknown",
        frame="unknown",
        names=tuple(number_names("action", low)),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        control_rate_hz=rate_hz,
    )


def raw_action(space: gymnasium.Space, action: np.ndarray) -> Any:
    """Return an action as the environment takes it.

    Args:
        space: Its action space, a Box or Discrete.
        action: float32 (a,), within the contract's bounds.
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(action[0]) + int(space.start)
    assert isinstance(space, gymnasium.spaces.Box), space
    if space.dtype.kind in "iu":
        action = np.rint(action)
    taken = np.asarray(action, space.dtype).reshape(space.shape)
    # A bound in float32 may lie beyond the space's own in float64, which environments refuse.
    for bound in (space.low, space.high):
        taken = np.where(taken == bound.astype(np.float32), bound, taken)
    return taken


def require_fitting(action: ActionContract, space: gymnasium.Space) -> None:
    """Raise UserError for a contract of another number of actions than the space has."""
    if isinstance(space, gymnasium.spaces.Discrete):
        declared, actual, what = len(action.choices), int(space.n), "choices"
    elif isinstance(space, gymnasium.spaces.Box) and not action.choices:
        declared, actual, what = action.dimension, int(np.prod(space.shape)), "numbers"
    else:
        raise UserError(f"its actions are {space}, which the declared action contract does not fit")
    if declared != actual:
        raise UserError(f"its action contract has {declared} {what}; its action space {actual}")


def _is_mujoco(camera: str | FreeCamera) -> bool:
    return isinstance(camera, FreeCamera) or camera.startswith(MUJOCO)


def _mujoco_cameras(task: GymTask) -> dict[str, str | FreeCamera]:
    """The cameras that show the MuJoCo model."""
    return {
        name: camera.removeprefix(MUJOCO) if isinstance(camera, str) else camera
        for name, camera in task.cameras.items()
        if _is_mujoco(camera)
    }
