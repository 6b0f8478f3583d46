"""What an evaluated agent is told: the prompt of an episode, sound or degraded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np

from manyparts.agents.expert import ExpertAgent
from manyparts.core.randomness import derive_seed
from manyparts.core.records import Demonstration, Prompt
from manyparts.data.sampling.prompts import evenly_spaced
from manyparts.data.sampling.windows import WindowConfig
from manyparts.envs.base import EnvConfig, Environment
from manyparts.envs.registry import instructions
from manyparts.evaluation.prompt_kinds import is_instruction
from manyparts.rollout.environments import environment
from manyparts.rollout.loop import Step, rollout

_PATCHES = 8
_LINGER_STEPS = 10


def episode_prompt(
    kind: str,
    task: str,
    index: int,
    seed: int,
    env: Environment,
    config: EnvConfig,
    window: WindowConfig,
) -> Prompt:
    """The prompt of episode `index` of the environment `env`, whose scene is that of `seed`, told
    as for `task`.

    kind: a kind of prompt, or the instruction itself. A `task` other than the environment's own
    makes a wrong prompt; its pictures are then of its own scenes.
    """
    if is_instruction(kind):
        return Prompt(kind)
    known, prompt = instructions(task), Prompt()
    for part in kind.split("+"):
        if part == "instruction":
            prompt = replace(prompt, instruction=known.instruction)
        elif part == "held_out":
            prompt = replace(prompt, instruction=known.held_out[index % len(known.held_out)])
        elif part in ("goal_image", "half_goal_image"):
            scene = env if task == env.task else environment(task, config, env.split)
            goal = _goal(scene, seed)
            prompt = replace(
                prompt, goal=_hide_half(goal, seed) if part.startswith("half") else goal
            )
        elif part == "other_goal_image":
            scene = environment(task, config, "train")
            prompt = replace(prompt, goal=_goal(scene, derive_seed("other", seed)))
        elif part in ("demonstration", "watched"):
            shown = _demonstration(task, config, window, derive_seed("demonstration", task, index))
            prompt = replace(
                prompt, demonstration=replace(shown, action=None) if part == "watched" else shown
            )
    return prompt


def _goal(env: Environment, seed: int) -> dict[str, np.ndarray]:
    """For every camera the goal's own picture in the scene of `seed`; where the suite has none,
    what they see shortly after the expert solved it."""
    env.begin(seed)
    if (picture := env.goal_image()) is not None:
        return dict.fromkeys(env.embodiment_spec.cameras, picture)
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
    hidden = {}
    for name, image in images.items():
        height, width = image.shape[0] // _PATCHES, image.shape[1] // _PATCHES
        order = np.random.default_rng(seed).permutation(_PATCHES**2)[: _PATCHES**2 // 2]
        hidden[name] = image.copy()
        for row, column in zip(*np.divmod(order, _PATCHES), strict=True):
            hidden[name][
                row * height : (row + 1) * height, column * width : (column + 1) * width
            ] = 127
    return hidden


@lru_cache(maxsize=32)
def _demonstration(task: str, config: EnvConfig, window: WindowConfig, seed: int) -> Demonstration:
    """The expert in the scene of `seed` of the training split, which is not a scene that is
    evaluated."""
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
    chosen = evenly_spaced(np.array([len(steps)]), window.demonstration_frames)
    observations = [steps[place].observation for place in chosen]
    images = {
        name: np.stack([o["images"][name] for o in observations if o is not None])
        for name in env.embodiment_spec.cameras
    }
    contract = env.embodiment_spec.action
    nothing = (
        np.add(contract.low, contract.high, dtype=np.float32) / 2
    )  # as in training after an episode's last action
    actions = np.stack([*(step.action for step in steps), *[nothing] * (window.chunk - 1)])
    return Demonstration(images, actions[chosen[:, None] + np.arange(window.chunk)])
