"""A task guessed from an environment's spaces and from what it returns, for a first try by id."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import gymnasium

from manyparts.core.errors import UserError
from manyparts.core.extras import in_a_line
from manyparts.core.printing import counted, first_of, short
from manyparts.envs.gym.environment import contract_of
from manyparts.envs.gym.opening import (
    callers_generator_kept,
    open_environment,
    reset,
    resolve,
    sampled,
    spaces,
    step,
)
from manyparts.envs.gym.task import RENDER, GymTask
from manyparts.envs.gym.values import (
    INFO,
    OBSERVATION,
    Moment,
    array_of,
    is_truth,
    leaves,
    why_no_image,
)

_SUCCESS = ("is_success", "success", "goal_achieved", "solved", "task_success")
_GOALS = ("desired_goal", "goal")
_TEXTS = ("mission", "instruction", "language_instruction", "task_description", "task", "prompt")
_MIN_PIXELS = 16  # a smaller array of bytes is a map or a code rather than an image
_MAX_NUMBERS = 4096  # of one value of the state
_RATE_HZ = 10.0
_STEPS = 200
_SHOWN = 8  # paths in a line

_declared: dict[str, GymTask] = {}


@dataclass(frozen=True)
class Guess:
    """A task, and what was assumed for want of a statement."""

    task: GymTask
    """The task."""

    name: str
    """What the user called it, "gym:..."."""

    guessed: bool
    """Whether it was guessed; if not, the environment's module declared it."""

    notes: tuple[str, ...] = ()
    """What was assumed or left out."""

    def __str__(self) -> str:
        """One line with all of it."""
        return f"{self.name}: {self.facts}"

    @property
    def facts(self) -> str:
        """What was guessed or declared, in a line."""
        task, action = self.task, self.task.action
        assert action is not None, task
        kind = f"{counted(len(action.choices), 'choice')}"
        if not action.choices:
            kind = counted(action.dimension, "number")
        said = task.instruction if isinstance(task.instruction, str) else "a function's"
        parts = [
            f"cameras {_listed(task.cameras.values())}",
            f"state {_listed(task.state)}",
            f"success {task.success or 'unknown'}",
            f"goal {task.goal or 'none'}",
            f"instruction {said!r}",
            f"{counted(task.max_steps or 0, 'step')} at {task.rate_hz:g} Hz",
            f"action {kind}",
            *self.notes,
        ]
        return f"{'guessed' if self.guessed else 'declared'}: {'; '.join(parts)}"


def declare(task: GymTask) -> GymTask:
    """Declare the task of an environment, so that "gym:MODULE:ID" means it and nothing is guessed.

    Call it in the module that registers the environment: every process that acts imports it.

    Args:
        task: The task. A later declaration of the same id replaces it.

    Returns:
        The task.
    """
    _declared[task.id] = task
    guess.cache_clear()  # also after a first look
    return task


@lru_cache(maxsize=64)
def guess(name: str) -> Guess:
    """Return what a task by id means: its module's declaration, or a guess.

    The environment is made, reset and stepped once. Every process guesses the same.

    Args:
        name: "gym:[MODULE:]ID".

    Raises:
        UserError: There is no such environment, it does not run, or no agent can act in it.
    """
    module, id_ = resolve(name)
    unknown = GymTask(id=id_, instruction=words_of(id_))
    task = replace(_declared.get(id_, unknown), package=module)
    with callers_generator_kept(), contextlib.closing(open_environment(task)) as env:
        try:
            first = Moment(*reset(env, 0))
            _, space = spaces(env)
            space.seed(0)
            observation, _, _, _, info = step(env, sampled(space))
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        except (Exception, SystemExit) as error:  # whatever a simulator raises
            raise UserError(f"{name} failed at its first step: {in_a_line(error)}") from error
        later = Moment(observation, info)
        try:
            if id_ in _declared:
                return Guess(_completed(task, env)[0], name, guessed=False)
            return _guessed(name, task, env, first, later)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error


def words_of(id_: str) -> str:
    """Return an id in words: "push t" of "gym_pusht/PushT-v0"."""
    name = re.sub(r"-v\d+$", "", id_.rpartition("/")[2])
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[-_]+", " ", name)
    return " ".join(split.split()).lower() or "do the task"


def _guessed(name: str, task: GymTask, env: gymnasium.Env, first: Moment, later: Moment) -> Guess:
    """The whole task, from what a reset and a step returned."""
    observed = dict(leaves(first.observation))
    prefix = "" if isinstance(first.observation, Mapping | tuple) else OBSERVATION
    notes: list[str] = []
    images = {key: value for key, value in observed.items() if _is_image(value)}
    goal = next((key for key in observed if key.rpartition("/")[2] in _GOALS), None)
    text = next((key for key in observed if _is_text(key, observed[key])), None)
    state = []
    for key, value in observed.items():
        if key in images or key in (goal, text):
            continue
        if _is_state(value):
            state.append(prefix + key)
        else:
            notes.append(f"left out {key or 'the observation'}, {short(value)}")
    cameras = {_camera(key): prefix + key for key in images if key != goal}
    if not cameras and env.render_mode == "rgb_array":
        why = _why_not_drawn(env)
        cameras = {} if why else {"render": RENDER}
        notes += [f"no camera, as it cannot be drawn here: {why}"] if why else []
    if not cameras and not state:
        raise UserError("it shows neither images nor numbers; declare its state: see GymTask")
    success = next((f"{INFO}{key}" for key in _SUCCESS if is_truth(later.info.get(key))), None)
    if success is None:
        notes.append("no key in its info says success")
    if goal is not None:
        goal = prefix + goal
    else:
        infos = (key for key in _GOALS if array_of(first.info.get(key)).dtype.kind in "biuf")
        goal = next((f"{INFO}{key}" for key in infos), None)
    changed = replace(
        task,
        cameras=cameras,
        state=tuple(state),
        success=success,
        goal=goal,
        # This does no harm where `reset(seed=...)` is enough.
        seeding="numpy",
        instruction=task.instruction if text is None else f"{OBSERVATION}{text}",
    )
    completed, assumed = _completed(changed, env)
    notes.append("random numbers may come from reset and from numpy")
    return Guess(completed, name, guessed=True, notes=(*assumed, *notes))


def _completed(task: GymTask, env: gymnasium.Env) -> tuple[GymTask, list[str]]:
    """The task with its rate, its steps and its action contract, and what was assumed for them."""
    notes = []
    rate, steps = task.rate_hz or env.metadata.get("render_fps"), task.max_steps
    if not rate:
        rate = _RATE_HZ
        notes.append(f"its rate is unknown, {_RATE_HZ:g} Hz assumed")
    steps = steps or (env.spec and env.spec.max_episode_steps)
    if not steps:
        steps = getattr(env.unwrapped, "max_steps", None)
        if not isinstance(steps, int) or steps < 1:
            steps = _STEPS
        notes.append(f"its horizon is unknown, {steps} steps assumed")
    action = task.action or contract_of(spaces(env)[1], float(rate))
    return replace(task, rate_hz=float(rate), max_steps=int(steps), action=action), notes


def _why_not_drawn(env: gymnasium.Env) -> str:
    """Why `render` fails, such as for want of a package; "" if it does not."""
    try:
        env.render()
    except (Exception, SystemExit) as error:  # whatever a simulator raises
        return in_a_line(error)
    return ""


def _is_image(value: Any) -> bool:
    array = array_of(value)
    if array.ndim not in (2, 3) or why_no_image(array):
        return False
    return sorted(array.shape)[-2] >= _MIN_PIXELS


def _is_state(value: Any) -> bool:
    array = array_of(value)
    is_large = array.ndim == 3 and sorted(array.shape)[-2] >= _MIN_PIXELS
    return array.dtype.kind in "biuf" and array.size <= _MAX_NUMBERS and not is_large


def _is_text(key: str, value: Any) -> bool:
    return isinstance(value, str) and key.rpartition("/")[2] in _TEXTS and bool(value.strip())


def _camera(key: str) -> str:
    return key.replace("/", "_") or "image"


def _listed(paths: Any) -> str:
    listed = ["the whole observation" if path == OBSERVATION else str(path) for path in paths]
    return first_of(listed, _SHOWN) if listed else "none"
