"""The prompt of an evaluated episode, sound or degraded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from manyparts.agents.expert import ExpertAgent
from manyparts.agents.viewed import SeenAs
from manyparts.core.errors import UserError
from manyparts.core.randomness import derive_seed
from manyparts.core.records import Demonstration, Prompt
from manyparts.core.spec import Spec
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.prompt_drawing import evenly_spaced
from manyparts.envs.base import EnvConfig, Environment, Instructions
from manyparts.envs.registry import (
    has_own_instructions,
    instruction_of,
    instructions,
    is_known,
    suite_of,
)
from manyparts.evaluation.prompt_kinds import is_instruction
from manyparts.rollout.environments import environment
from manyparts.rollout.loop import Step, rollout

_PATCHES = 8  # per side of an image
_LINGER_STEPS = 10
_GREY = 127


def episode_prompt(
    kind: str,
    task: str,
    index: int,
    seed: int,
    env: Environment,
    config: EnvConfig,
    window: WindowConfig,
    *,
    wording: Instructions | None = None,
    seen_as: SeenAs | None = None,
) -> Prompt:
    """The prompt of one episode.

    Args:
        kind: a kind of prompt, or the instruction itself.
        task: the task that the prompt asks for. One that is not the environment's own makes a wrong
            prompt, with images of that task's scenes.
        index: the episode's number within its task.
        seed: the seed of the episode's scene.
        env: the episode's environment.
        config: the settings of environments that show other scenes, or this one to its end where
            `env` cuts its episodes shorter.
        window: the windows that the agent was trained on.
        wording: the task's instructions; None: those of its suite.
        seen_as: how an agent with a view sees its robot; None without one.
    """
    if is_instruction(kind):
        return Prompt(kind)
    wording = instructions(task) if wording is None else wording
    prompt = Prompt()
    for part in kind.split("+"):
        if part in ("instruction", "held_out"):
            said = _said(part, task, index, seed, env, wording)
            prompt = replace(prompt, instruction=said)
        elif part in ("goal_image", "half_goal_image"):
            is_here = task == env.task and not _is_shorter(env, config)
            scene = env if is_here else environment(task, config, env.split)
            goal = goal_images(scene, seed)
            if part == "half_goal_image":
                goal = _hide_half(goal, seed)
            prompt = replace(prompt, goal=goal)
        elif part == "other_goal_image":
            scene = environment(task, config, "train")
            prompt = replace(prompt, goal=goal_images(scene, derive_seed("other", seed)))
        elif part in ("demonstration", "watched"):
            scene = derive_seed("demonstration", task, index)
            shown = demonstrated(task, config, scene, window, seen_as)
            if part == "watched":
                shown = replace(shown, action=None)
            prompt = replace(prompt, demonstration=shown)
    return prompt


def _is_shorter(env: Environment, config: EnvConfig) -> bool:
    """Whether an environment's episodes are of another length than `config` says."""
    own = getattr(env, "config", None)
    return isinstance(own, EnvConfig) and own.max_steps != config.max_steps


def _said(
    part: str, task: str, index: int, seed: int, env: Environment, wording: Instructions
) -> str:
    """The instruction of an episode, or another wording of it."""
    if is_known(suite_of(task)) and has_own_instructions(task):
        if part == "instruction" and task == env.task:
            return instruction_of(env, seed)
        raise UserError(
            f"each episode of {task} brings its own instruction, which has no other wording and "
            "fits no other episode; choose other prompts"
        )
    if part == "instruction":
        return wording.instruction
    if not wording.held_out:
        raise UserError(f"{task} has no held-out instructions; choose other prompts")
    return wording.held_out[index % len(wording.held_out)]


def goal_images(env: Environment, seed: int) -> dict[str, np.ndarray]:
    """The goal's image for every camera, in the scene of `seed`.

    Where the suite has no image of a goal: what the cameras see shortly after the expert solved the
    task.

    Args:
        env: the environment, in which the episode begins.
        seed: the episode's.
    """
    env.begin(seed)
    if (image := env.goal_image()) is not None:
        return dict.fromkeys(env.embodiment_spec.cameras, image)
    rollout(
        env,
        ExpertAgent(env),
        seed=seed,
        prompt=None,
        explore=False,
        steps_after_success=_LINGER_STEPS,
    )
    return dict(env.observe()["images"])


def _hide_half(images: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """The same images with half of their patches, the same for all cameras, in grey."""
    hidden = {}
    for name, image in images.items():
        height, width = image.shape[0] // _PATCHES, image.shape[1] // _PATCHES
        order = np.random.default_rng(seed).permutation(_PATCHES**2)[: _PATCHES**2 // 2]
        hidden[name] = image.copy()
        for row, column in zip(*np.divmod(order, _PATCHES), strict=True):
            rows = slice(row * height, (row + 1) * height)
            columns = slice(column * width, (column + 1) * width)
            hidden[name][rows, columns] = _GREY
    return hidden


@lru_cache(maxsize=32)
def demonstrated(
    task: str, config: EnvConfig, seed: int, window: WindowConfig, seen_as: SeenAs | None
) -> Demonstration:
    """Frames of the expert in the scene of `seed` of the training split, which is never an
    evaluated scene.

    Args:
        task: the task's name.
        config: the settings of its environment.
        seed: the scene's.
        window: the windows that the agent was trained on.
        seen_as: how an agent with a view sees its robot; None without one.
    """
    env, steps = environment(task, config, "train"), list[Step]()
    rollout(
        env,
        ExpertAgent(env),
        seed=seed,
        prompt=None,
        explore=False,
        on_step=steps.append,
        observed=range(env.max_steps),
        steps_after_success=_LINGER_STEPS,
    )
    return demonstration_of(steps, env.embodiment_spec, window, seen_as)


def demonstration_of(
    steps: Sequence[Step],
    spec: Spec,
    window: WindowConfig,
    seen_as: SeenAs | None,
) -> Demonstration:
    """Frames of a demonstration, with the actions after each as the model sees them.

    Args:
        steps: all steps, each with its observation.
        spec: the robot's.
        window: the windows that the agent was trained on.
        seen_as: how an agent with a view sees its robot; None without one.
    """
    every, contract = 1, spec.action
    taken = np.stack([step.action for step in steps])
    if seen_as is not None:
        every, contract = seen_as.source.view.every, seen_as.spec.action
        states = [step.observation["state"] for step in steps if step.observation is not None]
        taken = seen_as.source.actions(taken, np.stack(states))
    chosen = evenly_spaced(np.array([len(taken)]), window.demonstration_frames)
    observations = [steps[index * every].observation for index in chosen]
    images = {
        name: np.stack([seen["images"][name] for seen in observations if seen is not None])
        for name in spec.cameras
    }
    # As in training, chunks that reach beyond the last action end in actions that do nothing.
    nothing = np.add(contract.low, contract.high, dtype=np.float32) / 2
    actions = np.stack([*taken, *[nothing] * (window.chunk - 1)])
    # Row i holds the `chunk` actions from the chosen step i on: (frames, chunk, a).
    return Demonstration(images, actions[chosen[:, None] + np.arange(window.chunk)])
