"""The base of all environments: config, instructions, suites and what rollouts call."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import gymnasium
import numpy as np

from manyparts.core.arguments import names_of, set_by_replace, whole
from manyparts.core.errors import UserError, closest
from manyparts.core.records import Observation
from manyparts.core.serialisation import from_jsonable, require_types, to_jsonable
from manyparts.core.spec import Spec

Split = Literal["train", "validation", "evaluation"]
SPLITS_OF_GOALS: tuple[Split, ...] = ("train", "validation", "evaluation")


NO_CAMERA = "none"
WITHOUT_EXPERT = "choices: --policy random, or --policy RUN with an agent's folder"
StateKind = Literal["proprioception", "full", "shared"]


@set_by_replace
@dataclass(frozen=True)
class EnvConfig:
    """What an environment shows, and how long its episodes are."""

    image_size: int = 64
    """Side of every camera's square image in pixels, 8 to 2048."""

    cameras: tuple[str, ...] = ()
    """Names of the cameras; empty for the suite's default; "none" for states without images, which
    are faster."""

    goal: Literal["visible", "hidden"] = "visible"
    """Whether the goal is shown; "hidden" zeroes it in the state and removes its marker from
    images."""

    state: StateKind = "proprioception"
    """What the state holds: "proprioception" for the robot alone, "full" for all that the simulator
    observes, "shared" for "full" in one layout that all embodiments of a suite have in common."""

    faithful_rendering: bool = False
    """Whether to use the simulator's own renderer (shadows, reflections, full meshes) instead of
    the fast one."""

    max_steps: int | None = None
    """Steps per episode; none for the suite's horizon."""

    action_repeat: int = 1
    """Steps for which the environment holds each action. What it shows and records between is
    left out, and rewards are summed."""

    context: int | None = None
    """Seed of one goal that all episodes share, so that only their start varies; none for another
    goal each episode. The goal is one of the evaluation split's, whatever the split, so that
    training without a context never meets it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cameras", names_of(self.cameras, "cameras"))
        if self.goal not in ("visible", "hidden"):
            raise UserError(f"unknown goal setting {self.goal!r}; choices: visible, hidden")
        if self.state not in get_args(StateKind):
            raise UserError(
                f"unknown state {self.state!r}; choices: {', '.join(get_args(StateKind))}"
            )
        require_types(self)
        if self.context is not None and self.context < 0:
            raise UserError(f"context is {self.context}; expected a seed of at least 0")
        if not 8 <= self.image_size <= 2048:
            raise UserError(f"image size is {self.image_size}; expected 8 to 2048 pixels")
        if self.max_steps is not None and self.max_steps < 1:
            raise UserError(f"max steps is {self.max_steps}; expected at least 1")
        if self.action_repeat < 1:
            raise UserError(f"action repeat is {self.action_repeat}; expected at least 1")

    def camera_sizes(
        self, suite: str, choices: Sequence[str], default: Sequence[str]
    ) -> dict[str, tuple[int, int]]:
        """The height and width in pixels of each camera's images.

        Args:
            suite: the suite's name, for the error.
            choices: all cameras of the suite.
            default: the cameras if the config names none.

        Raises:
            UserError: the suite has no such camera.
        """
        if self.cameras == (NO_CAMERA,):
            return {}
        cameras = self.cameras or default
        for camera in cameras:
            if camera not in choices:
                raise UserError(f"unknown camera {camera!r} of {suite}; {closest(camera, choices)}")
        return dict.fromkeys(cameras, (self.image_size, self.image_size))

    @classmethod
    def of(cls, value: EnvConfig | Mapping[str, Any]) -> EnvConfig:
        """Return a config, or make one from a mapping of its fields.

        Args:
            value: an `EnvConfig`, or a mapping such as an agent's or a dataset's `environment`.

        Raises:
            UserError: the value is neither, or a field has a wrong name, type or value.
        """
        if isinstance(value, EnvConfig):
            return value
        if not isinstance(value, Mapping):
            raise UserError(f"config is {value!r}; expected an EnvConfig or a dict of its fields")
        return from_jsonable(cls, to_jsonable(dict(value)))


@dataclass(frozen=True)
class Instructions:
    """How a task is put into words."""

    instruction: str
    """The standard instruction."""

    paraphrases: tuple[str, ...]
    """Other instructions to train on, at least three."""

    held_out: tuple[str, ...]
    """Other instructions for evaluation only, at least two."""


@dataclass(frozen=True)
class Suite:
    """What a file in `envs/suites/` declares as `SUITE`: its tasks and how to make them.

    Naming its tasks needs no simulator.
    """

    make: Callable[[str, EnvConfig, Split], Environment]
    """Makes a task's environment from its name without the suite's, a config and a goal split."""

    instructions: Mapping[str, Instructions]
    """Task to its instructions, for every task that can be made, also those not in `tasks`."""

    tasks: tuple[str, ...]
    """The tasks that are listed, without the suite's name."""

    renderer: Callable[[], str]
    """Names what draws the images, for provenance; raises UserError if nothing can."""

    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names for several tasks, such as "mt10", to these tasks."""

    packages: tuple[str, ...] = ()
    """The simulator's Python packages; their versions are recorded with the data."""

    extra: str = ""
    """The extra of manyparts that installs `packages`."""

    steps_after_success: int = 20
    """Steps that a demonstration goes on after its first success."""

    many_embodiments: bool = False
    """Whether tasks differ in their embodiment."""

    shared_state: bool = False
    """Whether `EnvConfig(state="shared")` gives all its embodiments one layout of the state."""

    without_expert: tuple[str, ...] = ()
    """The tasks that have no scripted expert."""

    own_instructions: tuple[str, ...] = ()
    """The tasks of which each episode brings its own instruction."""


class Environment(gymnasium.Env, ABC):
    """One task of a suite. An episode is a pure function of (task, split, seed) and the actions.

    `reset` is `begin` and `observe`, `step` is `advance` and `observe`; use the parts where a step
    need not be rendered. An episode goes on after success, and is truncated after `max_steps`.
    Where `can_terminate`, it may also terminate: it ends for good, such as by a fall.

    Attributes:
        action_repeat: Steps for which an action is held, see `hold_actions`.
        horizon: Steps per episode.
        max_steps: Actions per episode; fewer than steps where actions are held.
        elapsed: Steps of the episode so far; held actions count as often as they are held.
    """

    render_mode = "rgb_array"

    can_terminate: bool = False
    """Whether episodes of the task can terminate; then `_has_terminated` says when."""

    knows_success: bool = True
    """Whether steps say if the task is solved; if not, `success` in their info is None."""

    reproduces: bool = True
    """Whether a seed gives the same episode again."""

    def __init__(self, task: str, spec: Spec, *, split: Split, max_steps: int) -> None:
        """Set the spaces that follow from the spec.

        Args:
            task: "suite/task".
            spec: what it observes and does; `embodiment_spec`, because `spec` is Gymnasium's.
            split: the split that its goals belong to.
            max_steps: steps per episode.
        """
        if split not in SPLITS_OF_GOALS:
            raise UserError(f"unknown split {split!r}; choices: {', '.join(SPLITS_OF_GOALS)}")
        self.task = task
        self.embodiment_spec = spec
        self.split: Split = split
        self.max_steps, self.horizon = max_steps, max_steps
        self.action_repeat = 1
        self.observation_space = observation_space(spec)
        contract = spec.action
        low, high = np.asarray(contract.low, np.float32), np.asarray(contract.high, np.float32)
        self.action_space = gymnasium.spaces.Box(low, high, dtype=np.float32)
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": contract.control_rate_hz}
        self._elapsed: int | None = None
        self._terminated = False

    @property
    def elapsed(self) -> int:
        """See the class."""
        return self._elapsed or 0

    def hold_actions(self, steps: int) -> None:
        """Hold each action for several steps, so that there are fewer actions per second.

        Args:
            steps: At least 1.
        """
        spec = self.embodiment_spec
        rate = spec.action.control_rate_hz * self.action_repeat / steps
        self.embodiment_spec = replace(spec, action=replace(spec.action, control_rate_hz=rate))
        self.metadata = {**self.metadata, "render_fps": rate}
        self.action_repeat, self.max_steps = steps, math.ceil(self.horizon / steps)

    def begin(self, seed: int) -> None:
        """Start the episode of this seed, without rendering.

        Raises:
            ValueError: the seed is negative.
        """
        if seed < 0:
            raise ValueError(f"seed is {seed}; expected at least 0")
        self._begin(int(seed))
        self._elapsed, self._terminated = 0, False

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool, dict[str, Any]]:
        """Step without rendering, as often as the action is held.

        Args:
            action: (a,) in the action contract's units. It is clipped to the bounds; a choice is
                rounded.

        Returns:
            reward, terminated (the episode ended for good), truncated (it reached `max_steps`) and
            info, in which `success` is a bool, or None where nobody knows. Of held actions, the sum
            of their rewards, and whether any step succeeded.

        Raises:
            ValueError: the action has another shape or is not finite, or no episode has begun, or
                it has terminated.
        """
        if self._elapsed is None:
            raise ValueError("no episode has begun: call reset(seed=...) or begin(seed) first")
        if self._terminated:
            raise ValueError(
                "the episode has terminated: call reset(seed=...) or begin(seed) to begin another"
            )
        action = np.asarray(action, np.float32)
        if action.shape != self.action_space.shape:
            raise ValueError(
                f"an action has shape {self.action_space.shape}, this one {action.shape}"
            )
        if not np.isfinite(action).all():
            raise ValueError(f"an action must be finite, this one is {action.tolist()}")
        executed = self.embodiment_spec.action.executed(action)
        total, succeeded = self._advance(executed)
        if total is None:  # of a suite of the user's own
            raise UserError(f"{self.task} gives no reward, which every step of a task has")
        self._elapsed += 1
        self._terminated = self._has_terminated()
        for _ in range(self.action_repeat - 1):
            if self._terminated or self._is_cut():
                break
            reward, success = self._advance(executed)
            total, succeeded = total + reward, succeeded or success
            self._elapsed += 1
            self._terminated = self._has_terminated()
        assert self.can_terminate or not self._terminated, f"{self.task} does not say it can"
        info = {"success": succeeded if self.knows_success else None}
        return total, self._terminated, self._is_cut(), info

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode and observe it.

        Args:
            seed: decides the episode; if None, it is drawn from the last seed's generator.
            options: ignored; a part of Gymnasium's signature.

        Returns:
            The observation, and info with the `seed` that was used.
        """
        seed = None if seed is None else whole("seed", seed, minimum=0)
        super().reset(seed=seed)
        chosen = int(self.np_random.integers(2**31)) if seed is None else seed
        self.begin(chosen)
        return self.observe(), {"seed": chosen}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """`advance`, then `observe`; see there."""
        reward, terminated, truncated, info = self.advance(action)
        return self.observe(), reward, terminated, truncated, info

    def metrics(self) -> dict[str, float]:
        """Measures of the episode so far, by name, in addition to success and return."""
        return {}

    def episode_instruction(self) -> str | None:
        """The instruction of this episode; None where all of the task's have the same."""
        return None

    def goal_image(self) -> np.ndarray | None:
        """An image of the goal, uint8 (h, w, 3) of the cameras' size.

        None if the suite has no such image; then the goal is shown by the scene that its expert
        leaves behind.
        """
        return None

    def depict(self, states: Iterable[np.ndarray]) -> Iterator[np.ndarray] | None:
        """Draw the scenes that belong to states, such as those that a model imagined.

        The episode is not changed. What a state does not determine is drawn as it is now.

        Args:
            states: one (s,) per image, finite and in the suite's units.

        Returns:
            Images like those of `render`; None if states of this suite do not determine a scene.
        """
        return None

    @abstractmethod
    def observe(self) -> Observation:
        """Observe the current scene; renders every camera."""

    def expert_action(self) -> np.ndarray:
        """What the scripted expert would do now: float32 (a,), within the contract's bounds.

        It uses the simulator's true state, including a hidden goal. A task may have no expert; then
        its suite names it in `without_expert`.

        Raises:
            UserError: The task has no expert.
        """
        raise UserError(f"{self.task} has no expert; {WITHOUT_EXPERT}")

    @abstractmethod
    def render(self) -> np.ndarray:
        """An image for people, whatever the config: uint8 (256, 256, 3)."""

    @abstractmethod
    def _begin(self, seed: int) -> None:
        """Set the simulator to the start of this seed's episode."""

    @abstractmethod
    def _advance(self, action: np.ndarray) -> tuple[float, bool]:
        """Simulate one step and return reward and success; the action is within its bounds."""

    def _has_terminated(self) -> bool:
        """Whether the last step ended the episode for good. Override it where `can_terminate`."""
        return False

    def _has_truncated(self) -> bool:
        """Whether the simulator itself cut the episode off before `max_steps`."""
        return False

    def _is_cut(self) -> bool:
        return self.elapsed >= self.horizon or self._has_truncated()


def observation_space(spec: Spec) -> gymnasium.spaces.Dict:
    """The space of `Observation` for a spec."""
    images: dict[str, gymnasium.Space] = {
        name: gymnasium.spaces.Box(0, 255, (*size, 3), np.uint8)
        for name, size in sorted(spec.cameras.items())
    }
    state = gymnasium.spaces.Box(-np.inf, np.inf, (spec.state_dimension,), np.float32)
    return gymnasium.spaces.Dict({"images": gymnasium.spaces.Dict(images), "state": state})
