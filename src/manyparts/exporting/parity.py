"""Whether an exported policy acts as the agent that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from manyparts.agents.base import Agent
from manyparts.core.records import Observation, Prompt
from manyparts.core.spec import Spec

TOLERANCE = 1e-4
"""The largest difference of an action, as a fraction of half of its range."""

ROWS = (1, 3, 5)


@dataclass(frozen=True)
class Parity:
    """Differences of actions, as fractions of half of their ranges."""

    what: str
    """What was compared."""

    decisions: int
    """How many decisions."""

    worst: float
    """The largest difference."""


def compared(
    agent: Agent,
    exported: Agent,
    what: str,
    episodes: Sequence[Sequence[Observation]],
    prompts: Sequence[Prompt | None],
) -> Parity:
    """Let both decide on the same observations, each with its own memory.

    Args:
        agent: The agent.
        exported: The exported one.
        what: What the observations are.
        episodes: Observations, one for each decision.
        prompts: Of each episode.
    """
    half = np.maximum(agent.spec.action.half_range, 1e-12)
    worst, decisions = 0.0, 0
    for observations, prompt in zip(episodes, prompts, strict=True):
        carries = [None, None]
        for observation in observations:
            chunks = []
            for number, each in enumerate((agent, exported)):
                action, carry = each.act(carries[number], observation, prompt, explore=False)
                actions = [action]
                while not each.needs_observation(carry):
                    action, carry = each.act(carry, None, prompt, explore=False)
                    actions.append(action)
                carries[number] = carry
                chunks.append(np.stack(actions))
            worst = max(worst, float((np.abs(chunks[0] - chunks[1]) / half).max()))
            decisions += 1
    return Parity(what, decisions, worst)


def random_episodes(
    spec: Spec, mean: np.ndarray, std: np.ndarray, *, count: int, steps: int, seed: int = 0
) -> list[list[Observation]]:
    """Return episodes of random images and states.

    Args:
        spec: Of the embodiment.
        mean: Of each number of the state.
        std: Of each number.
        count: Episodes.
        steps: Observations of each.
        seed: Of what is drawn.
    """
    generator = np.random.default_rng(seed)
    return [
        [
            {
                "images": {
                    name: generator.integers(0, 256, (*size, 3), dtype=np.uint8)
                    for name, size in spec.cameras.items()
                },
                "state": (mean + std * generator.normal(size=len(mean))).astype(np.float32),
            }
            for _ in range(steps)
        ]
        for _ in range(count)
    ]
