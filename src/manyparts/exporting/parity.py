"""Whether an exported policy acts as the agent that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from manyparts.agents.base import ActingTogether, Agent, Situation
from manyparts.core.records import Demonstration, Observation, Prompt
from manyparts.core.spec import Spec

TOLERANCE = 1e-4
"""The largest difference of an action, as a fraction of half of its range."""

ROWS = (1, 3, 5)

_WORDS = ("push", "the", "red", "puck", "to", "its", "goal")


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
    exported: ActingTogether,
    what: str,
    episodes: Sequence[Sequence[Observation]],
    prompts: Sequence[Prompt | None],
) -> Parity:
    """Let both decide on the same observations, each with its own memory.

    The agent decides for one episode after the other, and the exported policy for all of them
    together.

    Args:
        agent: The agent.
        exported: The exported policy.
        what: What the observations are.
        episodes: Observations, one for each decision.
        prompts: Of each episode.
    """
    worst, decisions = 0.0, 0
    own: list[Any] = [None] * len(episodes)
    theirs: list[Any] = [None] * len(episodes)
    for step in range(max(map(len, episodes))):
        rows = [row for row, episode in enumerate(episodes) if step < len(episode)]
        together = exported.act_together(
            [Situation(theirs[row], episodes[row][step], prompts[row]) for row in rows]
        )
        for row, (first, carry) in zip(rows, together, strict=True):
            chunk, theirs[row] = _rest(exported, first, carry, prompts[row])
            first, carry = agent.act(own[row], episodes[row][step], prompts[row], explore=False)
            wanted, own[row] = _rest(agent, first, carry, prompts[row])
            difference = _difference(agent, chunk, wanted)
            worst = worst if difference <= worst else difference  # also if it is no number
            decisions += 1
    return Parity(what, decisions, worst)


def _rest(agent: Any, action: np.ndarray, carry: Any, prompt: Prompt | None) -> Any:
    """A whole chunk of actions with its first one, and the memory after it."""
    actions = [action]
    while not agent.needs_observation(carry):
        action, carry = agent.act(carry, None, prompt, explore=False)
        actions.append(action)
    return np.stack(actions), carry


def _difference(agent: Agent, one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference of actions, as a fraction of half of their ranges."""
    half = np.maximum(agent.spec.action.half_range, 1e-12)
    return float((np.abs(one - other) / half).max())


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


def random_prompts(agent: Any, *, count: int, seed: int = 0) -> list[Prompt]:
    """Return prompts of words, and of random images where the agent reads them.

    Kinds take turns: words; a goal image; words and a demonstration; all three; a demonstration
    without its actions. What the agent does not read is left out.

    Args:
        agent: A `PolicyAgent` that reads prompts.
        count: How many.
        seed: Of what is drawn.
    """
    generator, window, spec = np.random.default_rng(seed), agent.window, agent.spec

    def images(*frames: int) -> dict[str, np.ndarray]:
        return {
            name: generator.integers(0, 256, (*frames, *size, 3), dtype=np.uint8)
            for name, size in spec.cameras.items()
        }

    prompts = []
    for number in range(count):
        goal = images() if window.goal_image and number % 5 in (1, 3) else None
        shown = None
        if (frames := window.demonstration_frames) and number % 5 in (2, 3, 4):
            drawn = generator.uniform(-1, 1, (frames, window.chunk, spec.action.dimension))
            action = spec.action.denormalise(drawn)
            shown = Demonstration(images(frames), None if number % 5 == 4 else action)
        wordless = (goal or shown) is not None and number % 5 in (1, 4)
        said = " ".join(_WORDS[: 1 + number % len(_WORDS)])
        prompts.append(Prompt(None if wordless else said, goal, shown))
    return prompts
