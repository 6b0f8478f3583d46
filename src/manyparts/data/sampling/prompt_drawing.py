"""Which prompt a window gets: a pure function of (seed, position in the order of training)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from manyparts.core.randomness import mix
from manyparts.core.records import Prompt
from manyparts.data.dataset import EpisodeDataset

KINDS = ("instruction", "goal_image", "demonstration")
_NO_INSTRUCTION = Prompt(None)


@dataclass(frozen=True)
class DrawnPrompts:
    """The prompts of b windows."""

    prompts: tuple[Prompt, ...]
    """Each with its instruction, or without one."""

    goal: np.ndarray
    """bool (b,): those that show the goal."""

    demonstrated: np.ndarray
    """int64 (b,): the episode that is demonstrated, -1 for none."""

    with_actions: np.ndarray
    """bool (b,): whether a demonstration comes with its actions."""


class PromptDrawer:
    """Draws prompts of one or two kinds.

    Every choice of kinds, and every instruction of a task, has the same probability.
    """

    def __init__(
        self,
        dataset: EpisodeDataset,
        episodes: np.ndarray,
        *,
        seed: int,
        kinds: Sequence[str],
        paraphrases: bool,
    ) -> None:
        """Set up the choices.

        Args:
            dataset: that the windows are of.
            episodes: indices of those that may be demonstrated. A window's own episode is
                demonstrated only if its task has no other.
            seed: of all draws.
            kinds: the members of `KINDS` that are on.
            paraphrases: whether instructions include training paraphrases.
        """
        self._task, self._seed = dataset.episode_task, seed
        instructions = [
            [task.instruction, *(task.paraphrases if paraphrases else ())] for task in dataset.tasks
        ]
        self._instructions = [[Prompt(text) for text in texts] for texts in instructions]
        self._counts = np.array([len(texts) for texts in instructions], dtype=np.uint64)
        choices = [*combinations(kinds, 1), *combinations(kinds, 2)]
        self._has_kind = {kind: np.array([kind in choice for choice in choices]) for kind in KINDS}
        self._episodes = [
            episodes[self._task[episodes] == task] for task in range(len(dataset.tasks))
        ]

    def __call__(self, positions: np.ndarray, episodes: np.ndarray) -> DrawnPrompts:
        """Draw the prompts of windows.

        Args:
            positions: int64 (b,), of the windows in the order of training.
            episodes: int64 (b,), that the windows are of.
        """
        # One independent stream of random numbers (b,) for each decision.
        for_text, for_kinds, for_episode, for_actions = (
            mix(positions, ~self._seed + stream) for stream in range(4)
        )
        choice = for_kinds % np.uint64(len(self._has_kind["instruction"]))
        instructed, goal, demonstrates = (self._has_kind[kind][choice] for kind in KINDS)
        tasks = self._task[episodes]
        texts = for_text % self._counts[tasks]
        prompts = [
            self._instructions[task][text] if has_text else _NO_INSTRUCTION
            for task, text, has_text in zip(
                tasks.tolist(), texts.tolist(), instructed.tolist(), strict=True
            )
        ]
        demonstrated = np.full(len(episodes), -1, np.int64)
        for row in np.flatnonzero(demonstrates).tolist():
            demonstrated[row] = self._other(int(episodes[row]), int(for_episode[row]))
        with_actions = for_actions % np.uint64(2) == 0
        return DrawnPrompts(tuple(prompts), goal, demonstrated, with_actions)

    def _other(self, episode: int, draw: int) -> int:
        """Another episode of the same task; the episode itself if there is none. draw: a random
        number."""
        same = self._episodes[self._task[episode]]
        others = same[same != episode]
        return int(others[draw % len(others)]) if len(others) else episode


def evenly_spaced(lengths: np.ndarray, count: int) -> np.ndarray:
    """Evenly spaced indices into sequences, first and last included.

    Args:
        lengths: integers (..., 1), the lengths of the sequences, 1 or more.
        count: how many indices each sequence gets, 1 or more; short ones get some twice.

    Returns:
        int64 (..., count).
    """
    return np.round((lengths - 1) * np.linspace(0, 1, count)).astype(np.int64)
