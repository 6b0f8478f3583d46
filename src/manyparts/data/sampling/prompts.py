"""Which prompt a window is given: a pure function of (seed, place in the order of training)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from manyparts.core.randomness import mix
from manyparts.core.records import Prompt
from manyparts.data.dataset import EpisodeDataset

KINDS = ("instruction", "goal_image", "demonstration")
_SILENT = Prompt(None)


@dataclass(frozen=True)
class Drawn:
    """The prompts of b windows. goal: bool (b,), those that show the goal. shown: int64 (b,), the
    episode that is demonstrated, -1 for none. told: bool (b,), those demonstrations whose actions
    are told."""

    prompts: tuple[Prompt, ...]
    goal: np.ndarray
    shown: np.ndarray
    told: np.ndarray


class PromptDrawer:
    """Instructions alike, and one or two of the kinds that are on, alike.

    episodes: those that may be demonstrated. A window's own episode is demonstrated only where its
    task has no other.
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
        self._task, self._seed = dataset.episode_task, seed
        instructions = [
            [task.instruction, *(task.paraphrases if paraphrases else ())] for task in dataset.tasks
        ]
        self._instructions = [
            [Prompt(instruction) for instruction in known] for known in instructions
        ]
        self._counts = np.array([len(known) for known in instructions], dtype=np.uint64)
        choices = [set(some) for size in (1, 2) for some in combinations(kinds, size)]
        self._holds = {kind: np.array([kind in some for some in choices]) for kind in KINDS}
        self._episodes = [
            episodes[self._task[episodes] == task] for task in range(len(dataset.tasks))
        ]

    def __call__(self, places: np.ndarray, episodes: np.ndarray) -> Drawn:
        """places: of the windows in the order of training; episodes: theirs."""
        words, kinds, others, tells = (mix(places, ~self._seed + key) for key in range(4))
        choice = kinds % np.uint64(len(self._holds["instruction"]))
        spoken, goal, demonstrated = (self._holds[kind][choice] for kind in KINDS)
        tasks, shown = self._task[episodes], np.full(len(episodes), -1, np.int64)
        drawn = zip(
            tasks.tolist(), (words % self._counts[tasks]).tolist(), spoken.tolist(), strict=True
        )
        for place in np.flatnonzero(demonstrated).tolist():
            shown[place] = self._other(int(episodes[place]), int(others[place]))
        return Drawn(
            prompts=tuple(
                self._instructions[task][number] if said else _SILENT
                for task, number, said in drawn
            ),
            goal=goal,
            shown=shown,
            told=tells % np.uint64(2) == 0,
        )

    def _other(self, episode: int, draw: int) -> int:
        """An episode of the same task, another one if there is any."""
        same = self._episodes[self._task[episode]]
        others = same[same != episode]
        return int(others[draw % len(others)]) if len(others) else episode


def evenly_spaced(lengths: np.ndarray, count: int) -> np.ndarray:
    """int64 (..., count): places from the first to the last of sequences of `lengths` (..., 1)."""
    return np.round((lengths - 1) * np.linspace(0, 1, count)).astype(np.int64)
