"""Checks of an environment against what is declared of it: what `manyparts doctor --suite` runs."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.extras import in_a_line
from manyparts.core.printing import counted, first_of
from manyparts.envs.base import EnvConfig
from manyparts.envs.cameras import FreeCamera
from manyparts.envs.gym.environment import contract_of, require_fitting
from manyparts.envs.gym.mujoco import MujocoCameras
from manyparts.envs.gym.opening import callers_generator_kept, reset, sampled, spaces, step
from manyparts.envs.gym.spaces import outside
from manyparts.envs.gym.task import MUJOCO, RENDER, GymTask, Seeding
from manyparts.envs.gym.values import (
    INFO,
    Moment,
    array_of,
    key_of,
    leaves,
    numbers,
    scalar_reward,
    why_no_image,
)

SEEDS = (0, 1, 2)
STEPS = 5
_SIZE = 64
_FEW_SEEDS = 1000  # of a split; a hundred episodes of so many have a pair of one seed, likely


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    name: str
    """What was checked."""

    works: bool
    """Whether it is as declared."""

    detail: str
    """What is so, or what is wrong."""

    notable: bool = False
    """Whether it is worth a line although it works."""


@dataclass
class _Episode:
    """The first steps of an episode under actions that depend on its seed and step alone."""

    seed: int
    moments: list[Moment] = field(default_factory=list)
    """The reset's and each step's, with the reward 0."""
    rewards: list[Any] = field(default_factory=list)
    """As they were returned."""
    drawn: list[Any] = field(default_factory=list)
    """What `render` returned at each moment, if a camera shows it."""
    error: str = ""
    """What was raised, and when; "" if nothing was."""


def check(
    env: gymnasium.Env, task: GymTask, *, seeds: Sequence[int] = SEEDS, steps: int = STEPS
) -> list[Finding]:
    """Check an environment.

    Args:
        env: The environment; some episodes begin in it.
        task: What is declared of it.
        seeds: The episodes of these begin twice.
        steps: Steps of each.
    """
    with callers_generator_kept():
        return _checked(env, task, seeds, steps)


def _checked(env: gymnasium.Env, task: GymTask, seeds: Sequence[int], steps: int) -> list[Finding]:
    observed, acted = spaces(env)
    try:
        contract_of(acted, 1.0) if task.action is None else require_fitting(task.action, acted)
    except UserError as error:
        return [Finding("actions", False, str(error))]
    first = [_played(env, acted, task, seed, steps) for seed in seeds]
    again = [_played(env, acted, task, seed, steps) for seed in seeds]
    failed = [each for each in (*first, *again) if each.error]
    runs = Finding("runs", True, f"{counted(steps, 'step')} of {counted(len(seeds), 'episode')}")
    if failed:
        runs = Finding("runs", False, failed[0].error)
    if not first[0].moments:
        return [runs]
    pairs = [pair for pair in zip(first, again, strict=True) if all(e.moments for e in pair)]
    differing = [one.seed for one, other in pairs if _difference(one, other, 0, task)]
    moments = [moment for episode in (*first, *again) for moment in episode.moments]
    steady = [pair for pair in pairs if pair[0].seed not in differing]
    return [
        runs,
        _seeds(env, acted, task, pairs, differing),
        _steps(task, steady),
        _spaces(observed, moments),
        _reward(first),
        _success(task, [moment for each in first for moment in each.moments[1:]]),
        *_images(env, task, first),
        _state(task, moments),
        *([_goal(task.goal, first)] if task.goal else []),
        _instruction(task, first),
        _horizon(env, task),
        *_splits(task),
    ]


def _splits(task: GymTask) -> list[Finding]:
    few = {name: len(seeds) for name, seeds in task.splits.items() if len(seeds) < _FEW_SEEDS}
    if not few:
        return []
    shown = ", ".join(f"{name} has {counted(count, 'seed')}" for name, count in few.items())
    text = f"{shown}, which are drawn with repetition: some episodes are likely the same"
    return [Finding("splits", True, text, notable=True)]


def _played(
    env: gymnasium.Env, space: gymnasium.Space, task: GymTask, seed: int, steps: int
) -> _Episode:
    """The first steps of the episode of a seed."""
    episode = _Episode(seed)
    draws = RENDER in task.cameras.values()
    space.seed(seed)
    try:
        # Elsewhere its state goes on from episode to episode, so that draws from it show.
        if task.seeding == "numpy":
            np.random.seed(seed)  # noqa: NPY002
        observation, info = reset(env, None if task.seeding == "none" else seed)
        episode.moments.append(Moment(_copied(observation), info))
        episode.drawn += [env.render()] if draws else []
        for _ in range(steps):
            observation, reward, ended, cut, info = step(env, sampled(space))
            episode.moments.append(Moment(_copied(observation), info))
            episode.rewards.append(reward)
            episode.drawn += [env.render()] if draws else []
            if ended or cut:
                break
    except (Exception, SystemExit) as error:  # whatever a simulator raises
        text = str(error) if isinstance(error, UserError) else in_a_line(error)
        begun = f"step {len(episode.rewards)}" if episode.moments else "its reset"
        episode.error = f"{begun} of the episode of {seed} raised: {text}"
    return episode


def _copied(tree: Any) -> Any:
    """An observation that no later step changes."""
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(map(_copied, tree))
    return tree.copy() if isinstance(tree, np.ndarray) else tree


def _difference(one: _Episode, other: _Episode, index: int, task: GymTask) -> str:
    """What of a moment differs between two episodes; "" if nothing does."""
    values, others = (_shown(episode.moments[index], task) for episode in (one, other))
    for key in dict.fromkeys([*values, *others]):
        a, b = array_of(values.get(key)), array_of(others.get(key))
        if a.shape != b.shape or a.dtype != b.dtype or a.tobytes() != b.tobytes():
            return key or "the observation"
    return ""


def _shown(moment: Moment, task: GymTask) -> dict[str, Any]:
    """What an agent may see of a moment, by path: observations, and of the info what is used."""
    values = dict(leaves(moment.observation))
    paths = [*task.state, *task.full_state, *filter(None, [task.goal])]
    prefixes = [path.rstrip("*") for path in paths if path.startswith(INFO)]
    infos = {f"{INFO}{key}": value for key, value in leaves(moment.info)}
    for path, value in infos.items():
        if any(path.startswith(prefix) for prefix in prefixes):
            values[path] = value
    return values


def _seeds(
    env: gymnasium.Env,
    space: gymnasium.Space,
    task: GymTask,
    pairs: Sequence[tuple[_Episode, _Episode]],
    differing: Sequence[int],
) -> Finding:
    """Whether the start of an episode comes again with its seed."""
    if task.seeding == "none":
        return Finding("seeds", True, "as declared, none reproduces an episode")
    if not differing:
        if task.seeding == "numpy" and not _starts_again(env, space, task, "reset"):
            detail = (
                "reset(seed=...) alone gives other starts; with numpy's generator seeded, too, "
            )
            return Finding("seeds", True, f"{detail}they come again", notable=True)
        others = [one for one, _ in pairs[1:]]
        equal = others and not any(_difference(pairs[0][0], one, 0, task) for one in others)
        remark = "; all seeds have one start, which an agent can learn by heart" if equal else ""
        return Finding("seeds", True, f"reset(seed=...) gives the same start again{remark}")
    one, other = next(pair for pair in pairs if pair[0].seed == differing[0])
    named = "seed" if len(differing) == 1 else "seeds"
    advice = 'declare seeding="none", or seed its generator in reset'
    if task.seeding == "reset" and _starts_again(env, space, task, "numpy"):
        advice = 'it draws from numpy\'s global generator: declare seeding="numpy"'
    return Finding(
        "seeds",
        False,
        f"{named} {', '.join(map(str, differing))} gave another start at the second reset, in "
        f"{_difference(one, other, 0, task)}; {advice}",
    )


def _starts_again(
    env: gymnasium.Env, space: gymnasium.Space, task: GymTask, seeding: Seeding
) -> bool:
    """Whether a start comes again with another way to seed."""
    changed = replace(task, seeding=seeding)
    one, other = (_played(env, space, changed, SEEDS[0], 0) for _ in range(2))
    if not (one.moments and other.moments):
        return False
    return not _difference(one, other, 0, task)


def _steps(task: GymTask, pairs: Sequence[tuple[_Episode, _Episode]]) -> Finding:
    """Whether the same actions from the same start lead to the same observations."""
    if task.seeding == "none" or not pairs:
        return Finding("steps", True, "not checked, since no start comes again")
    for one, other in pairs:
        for index in range(1, min(len(one.moments), len(other.moments))):
            if difference := _difference(one, other, index, task):
                return Finding(
                    "steps",
                    False,
                    f"step {index} came out differently after the same actions, in {difference}",
                )
            reward, another = one.rewards[index - 1], other.rewards[index - 1]
            if not np.array_equal(array_of(reward), array_of(another)):
                return Finding("steps", False, f"step {index} earned {reward}, then {another}")
    return Finding("steps", True, "the same actions lead to the same observations and rewards")


def _spaces(space: gymnasium.Space, moments: Sequence[Moment]) -> Finding:
    """Whether the observation space holds the observations."""
    reasons: dict[str, str] = {}
    for moment in moments:
        for reason in outside(space, moment.observation):
            reasons.setdefault(reason.partition(" ")[0], reason)
    if reasons:
        shown = first_of(reasons.values(), 3)
        return Finding("spaces", False, f"its observation space does not hold {shown}")
    return Finding("spaces", True, "they hold what is observed")


def _reward(episodes: Sequence[_Episode]) -> Finding:
    for episode in episodes:
        for reward in episode.rewards:
            try:
                scalar_reward(reward)
            except UserError as error:
                return Finding("reward", False, str(error))
    return Finding("reward", True, "one finite number")


def _success(task: GymTask, moments: Sequence[Moment]) -> Finding:
    """Whether a step says if the task is solved."""
    if task.success is None:
        return Finding("success", True, "unknown: nothing is declared")
    for moment in moments:
        try:
            task.succeeded(moment)
        except (Exception, SystemExit) as error:
            text = str(error) if isinstance(error, UserError) else in_a_line(error)
            return Finding("success", False, f"after a step, {text}")
    shown = task.success if isinstance(task.success, str) else "a function"
    return Finding("success", True, f"{shown} is there after a step")


def _images(env: gymnasium.Env, task: GymTask, episodes: Sequence[_Episode]) -> list[Finding]:
    """Whether each camera shows images of one size."""
    findings = []
    for name, camera in task.cameras.items():
        if isinstance(camera, FreeCamera) or camera.startswith(MUJOCO):
            findings.append(_mujoco_image(env, name, camera))
            continue
        shapes = []
        try:
            for episode in episodes:
                values = episode.drawn
                if camera != RENDER:
                    values = [moment.value(camera) for moment in episode.moments]
                shapes += [_shape(value) for value in values]
        except UserError as error:
            findings.append(Finding(f"camera {name}", False, str(error)))
            continue
        if not shapes:
            findings.append(Finding(f"camera {name}", False, "it was not drawn once"))
            continue
        sizes = first_of(sorted({f"{height}x{width}" for height, width, *_ in shapes}), 3)
        one = len(set(shapes)) == 1
        detail = f"{sizes} pixels" if one else f"images of several sizes: {sizes}"
        findings.append(Finding(f"camera {name}", one, detail))
    return findings or [Finding("cameras", True, "none")]


def _shape(value: Any) -> tuple[int, ...]:
    """The shape of an image. Raises UserError for anything else."""
    array = array_of(value)
    if problem := why_no_image(array):
        raise UserError(f"it shows {problem}; expected an image, uint8 (h, w, 3)")
    return array.shape


def _mujoco_image(env: gymnasium.Env, name: str, camera: str | FreeCamera) -> Finding:
    plain = camera.removeprefix(MUJOCO) if isinstance(camera, str) else camera
    try:
        cameras = MujocoCameras(env, EnvConfig(image_size=_SIZE), {name: plain})
        with contextlib.closing(cameras):
            flat = cameras.image(name, _SIZE).std() == 0
    except UserError as error:
        return Finding(f"camera {name}", False, str(error))
    detail = "a blank image" if flat else "drawn by the fast renderer, in any size"
    return Finding(f"camera {name}", not flat, detail)


def _state(task: GymTask, moments: Sequence[Moment]) -> Finding:
    """Whether the state has as many finite numbers at every moment."""
    sizes = set()
    try:
        for moment in moments:
            size = 0
            for pattern in (*task.state, *task.full_state):
                for path in moment.expanded(pattern):
                    size += len(numbers(moment.value(path), key_of(path)))
            sizes.add(size)
    except UserError as error:
        return Finding("state", False, str(error))
    if len(sizes) > 1:
        return Finding("state", False, f"its size changes: {first_of(sorted(sizes), 3)} numbers")
    return Finding("state", True, counted(sizes.pop(), "number"))


def _goal(path: str, episodes: Sequence[_Episode]) -> Finding:
    """Whether the goal is there when an episode begins; later steps need not have it."""
    try:
        for episode in episodes:
            for moment in episode.moments[:1]:
                moment.value(path)
    except UserError as error:
        return Finding("goal", False, str(error))
    return Finding("goal", True, f"{path} is there at a reset")


def _instruction(task: GymTask, episodes: Sequence[_Episode]) -> Finding:
    said = []
    try:
        said = [task.said(episode.moments[0]) for episode in episodes if episode.moments]
    except (Exception, SystemExit) as error:
        text = str(error) if isinstance(error, UserError) else in_a_line(error)
        return Finding("instruction", False, text)
    return Finding("instruction", True, first_of(dict.fromkeys(map(repr, said)), 3))


def _horizon(env: gymnasium.Env, task: GymTask) -> Finding:
    limit = env.spec and env.spec.max_episode_steps
    steps = task.max_steps or limit
    if not steps:
        return Finding("horizon", False, "nothing says how long episodes are; declare max_steps")
    if limit and steps > limit:
        declared = f"declared are {counted(int(steps), 'step')}"
        return Finding("horizon", False, f"{declared}, and the environment ends after {limit}")
    return Finding("horizon", True, counted(int(steps), "step"))
