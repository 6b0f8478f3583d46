"""The declaration of a task that a Gymnasium environment simulates."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import gymnasium
import numpy as np

from manyparts.core.arguments import names_of, set_by_replace, whole
from manyparts.core.errors import UserError, closest
from manyparts.core.spec import ActionContract
from manyparts.envs.base import SPLITS_OF_GOALS, Split
from manyparts.envs.cameras import FreeCamera
from manyparts.envs.gym.values import Moment, truth

Seeding = Literal["reset", "numpy", "none"]
MUJOCO, RENDER = "mujoco:", "render"
_REWARD = re.compile(r"reward\s*(>=|>)\s*(-?[0-9.]+)")
# Seeds of episodes are below 2^31. Each split has a third of them.
_THIRD = 2**31 // 3
SEEDS: Mapping[Split, range] = {
    split: range(number * _THIRD, (number + 1) * _THIRD)
    for number, split in enumerate(SPLITS_OF_GOALS)
}

ExpertStep = Callable[[Any, Mapping[str, Any], np.ndarray | None], np.ndarray]
"""From an observation, an info and the action before (None at the start) to the next action. The
two are as the environment returns them, and the actions are in the contract's units, (a,)."""


@set_by_replace
@dataclass(frozen=True)
class GymTask:
    """A task that a Gymnasium environment simulates: where it says what, and what its actions mean.

    A path names a value of the observation, with nested keys joined by "/": "agent_pos",
    "pixels/top". "info:" before it names a value of the info, "obs:" alone an observation that has
    no keys. A star at a path's end stands for all keys that begin so: "info:proprio/*".
    """

    id: str
    """The environment's id, such as "gym_pusht/PushT-v0"."""

    instruction: str | Callable[[Any, Mapping[str, Any]], str]
    """The task in words; or "obs:KEY" or "info:KEY" for a text that each episode brings, or a
    function (observation, info) that returns it at an episode's start."""

    package: str = ""
    """The Python module that registers the id when it is imported; "" for Gymnasium's own."""

    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """What the environment is made with."""

    wrap: Callable[[gymnasium.Env], gymnasium.Env] | None = None
    """Called with the environment once it is made; returns it, wrapped or changed."""

    cameras: Mapping[str, str | FreeCamera] = field(default_factory=dict)
    """Each camera's name to the path of its images. "render" is what the environment draws for
    people; "mujoco:NAME" a camera of the MuJoCo model beneath, or a `FreeCamera` in it, which the
    fast renderer of this library draws."""

    state: tuple[str, ...] = ()
    """Paths of the numbers that make up the state."""

    full_state: tuple[str, ...] = ()
    """Paths of further numbers, which `EnvConfig(state="full")` shows, too."""

    success: str | Callable[[Any, float, Mapping[str, Any]], bool] | None = None
    """When the task is solved: a path to a truth ("info:is_success"), a bound ("reward>0"), or a
    function (observation, reward, info). None: nobody knows, and results say "unknown"."""

    goal: str | None = None
    """Path of the goal. Numbers are shown as a part of the state, an image is the goal's image in
    prompts. In an info it may stand at the episode's start alone."""

    max_steps: int | None = None
    """Steps per episode; None for those that the id was registered with."""

    rate_hz: float | None = None
    """Steps per second; None for the environment's `render_fps`."""

    action: ActionContract | None = None
    """What an action means; None takes the bounds of the action space and names nothing."""

    seeding: Seeding = "reset"
    """What makes an episode reproducible: "reset" for `reset(seed=...)`; "numpy" where numpy's
    global generator must be seeded as well; "none" where nothing does."""

    expert: Callable[[gymnasium.Env], ExpertStep] | None = None
    """Makes the scripted expert of an episode from the environment, after its reset; None if there
    is no expert."""

    splits: Mapping[Split, range] = field(default_factory=lambda: dict(SEEDS))
    """The seeds of each split, which have none in common."""

    embodiment: str = ""
    """Name of the embodiment. Tasks of one embodiment have the same cameras, state and actions; if
    empty, the id."""

    paraphrases: tuple[str, ...] = ()
    """Other instructions to train on."""

    held_out: tuple[str, ...] = ()
    """Other instructions for evaluation only."""

    def __post_init__(self) -> None:
        for name in ("id", "instruction"):
            value = getattr(self, name)
            if not value or not (isinstance(value, str) or callable(value)):
                raise UserError(f"{name} of a GymTask is {value!r}; expected a text")
        for name in ("state", "full_state", "paraphrases", "held_out"):
            object.__setattr__(self, name, names_of(getattr(self, name), f"{self.id}: {name}"))
        if self.seeding not in get_args(Seeding):
            raise UserError(
                f"{self.id}: seeding is {self.seeding!r}; choices: {', '.join(get_args(Seeding))}"
            )
        if self.max_steps is not None:
            whole(f"{self.id}: max_steps", self.max_steps, minimum=1)
        if self.rate_hz is not None and not 0 < self.rate_hz < math.inf:
            raise UserError(f"{self.id}: rate_hz is {self.rate_hz}; expected more than 0")
        if isinstance(self.success, str):
            self._require_success(self.success)
        self._require_splits()

    @property
    def varies(self) -> bool:
        """Whether each episode brings an instruction of its own."""
        return callable(self.instruction) or self.instruction.startswith(("obs:", "info:"))

    @property
    def embodiment_name(self) -> str:
        """`embodiment`, or the id."""
        return self.embodiment or self.id

    def succeeded(self, moment: Moment) -> bool:
        """Return whether the task is solved; False where nobody knows.

        Args:
            moment: What a step returned.

        Raises:
            UserError: The value is missing, or is no truth.
        """
        if self.success is None:
            return False
        if callable(self.success):
            solved = self.success(moment.observation, moment.reward, moment.info)
            return truth(solved, "its success")
        if bound := _REWARD.fullmatch(self.success):
            limit = float(bound[2])
            return moment.reward >= limit if bound[1] == ">=" else moment.reward > limit
        return truth(moment.value(self.success), f"its success {self.success!r}")

    def said(self, moment: Moment) -> str:
        """Return the instruction of an episode.

        Args:
            moment: What its reset returned.

        Raises:
            UserError: It is missing, or no text.
        """
        if callable(self.instruction):
            text = self.instruction(moment.observation, moment.info)
        elif self.varies:
            text = moment.value(self.instruction)
        else:
            text = self.instruction
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"its instruction is {text!r}; expected a text")
        return text

    def seed_of(self, split: Split, seed: int) -> int:
        """Return the seed that the environment is reset with: one of the split's.

        Args:
            split: The split.
            seed: The episode's, at least 0.

        Raises:
            UserError: The task has no such split.
        """
        if split not in self.splits:
            raise UserError(f"{self.id} has no split {split!r}; choices: {', '.join(self.splits)}")
        seeds = self.splits[split]
        return seeds[seed % len(seeds)]

    def _require_success(self, success: str) -> None:
        if success.startswith("reward") and not _REWARD.fullmatch(success):
            raise UserError(
                f"{self.id}: success is {success!r}; expected such as 'reward>0' or 'reward>=1'"
            )

    def _require_splits(self) -> None:
        for name, seeds in self.splits.items():
            if name not in SPLITS_OF_GOALS:
                raise UserError(f"{self.id}: unknown split {name!r}; {closest(name, SEEDS)}")
            if not len(seeds) or seeds.step != 1 or seeds.start < 0 or seeds.stop > 2**32:
                raise UserError(f"{self.id}: split {name} is {seeds}; expected seeds 0 to 2^32 - 1")
        ordered = sorted(self.splits.items(), key=lambda item: item[1].start)
        for (one, seeds), (other, later) in itertools.pairwise(ordered):
            if seeds.stop > later.start:
                raise UserError(f"{self.id}: splits {one} and {other} have seeds in common")
