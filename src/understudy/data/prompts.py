"""Which prompt a window is given: a pure function of (seed, place in the order of training)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from understudy.data.dataset import EpisodeDataset
from understudy.data.permutation import mix
from understudy.types import Prompt

KINDS = ("sentence", "goal_image", "demonstration")


@dataclass(frozen=True)
class Drawn:
    """The prompts of b windows. goal: bool (b,), those that show the goal. shown: int64 (b,), the episode that is
    demonstrated, -1 for none. told: bool (b,), those demonstrations whose actions are told."""

    prompts: tuple[Prompt, ...]
    goal: np.ndarray
    shown: np.ndarray
    told: np.ndarray


class PromptDrawer:
    """Sentences alike, and one or two of the kinds that are on, alike.

    episodes: those that may be demonstrated. A window's own episode is demonstrated only where its task has no other.
    """

    def __init__(
        self, dataset: EpisodeDataset, episodes: np.ndarray, *, seed: int, kinds: Sequence[str], paraphrases: bool
    ) -> None:
        self._task, self._seed = dataset.episode_task, seed
        self._sentences = [[task.sentence, *(task.paraphrases if paraphrases else ())] for task in dataset.tasks]
        self._choices = [set(some) for size in (1, 2) for some in combinations(kinds, size)]
        self._episodes = [episodes[self._task[episodes] == task] for task in range(len(dataset.tasks))]

    def __call__(self, places: np.ndarray, episodes: np.ndarray) -> Drawn:
        """places: of the windows in the order of training; episodes: theirs."""
        words, kinds, others, tells = (mix(places, ~self._seed + key).tolist() for key in range(4))
        chosen = [self._choices[draw % len(self._choices)] for draw in kinds]
        sentences = [
            self._sentence(task, draw) for task, draw in zip(self._task[episodes].tolist(), words, strict=True)
        ]
        shown = [
            self._other(episode, draw) if "demonstration" in some else -1
            for episode, draw, some in zip(episodes.tolist(), others, chosen, strict=True)
        ]
        return Drawn(
            prompts=tuple(
                Prompt(sentence if "sentence" in some else None)
                for sentence, some in zip(sentences, chosen, strict=True)
            ),
            goal=np.array(["goal_image" in some for some in chosen]),
            shown=np.array(shown, dtype=np.int64),
            told=np.array([draw % 2 == 0 for draw in tells]),
        )

    def _sentence(self, task: int, draw: int) -> str:
        return self._sentences[task][draw % len(self._sentences[task])]

    def _other(self, episode: int, draw: int) -> int:
        """An episode of the same task, another one if there is any."""
        same = self._episodes[self._task[episode]]
        others = same[same != episode]
        return int(others[draw % len(others)]) if len(others) else episode


def evenly_spaced(lengths: np.ndarray, count: int) -> np.ndarray:
    """int64 (..., count): places from the first to the last of sequences of `lengths` (..., 1)."""
    return np.round((lengths - 1) * np.linspace(0, 1, count)).astype(np.int64)
