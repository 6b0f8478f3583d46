"""Which episodes of a dataset a run holds out, and which a model was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from manyparts.core.randomness import derive_seed
from manyparts.data.dataset import EpisodeDataset

_MIN_EPISODES = 10  # of a task, for any to be held out


def split_episodes(
    episode_task: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split a dataset's episodes, as a pure function of the arguments.

    Args:
        episode_task: int (episodes,), the index of each episode's task.
        fraction: of each task's episodes that is held out: at least one episode of a task with ten
            or more, none of a task with fewer.
        seed: of the choice.

    Returns:
        Indices of the episodes to train on, and of those held out: int64, ascending.
    """
    held_out: list[int] = []
    for task in np.unique(episode_task):
        episodes = np.flatnonzero(episode_task == task)
        count = 0
        if fraction and len(episodes) >= _MIN_EPISODES:
            count = max(1, round(fraction * len(episodes)))
        rng = np.random.default_rng(derive_seed("validation", seed, int(task)))
        order = rng.permutation(len(episodes))
        held_out += episodes[order[:count]].tolist()
    everything = np.arange(len(episode_task))
    return np.setdiff1d(everything, held_out), np.asarray(sorted(held_out), dtype=np.int64)


def split_dataset(
    dataset: EpisodeDataset, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split a dataset's episodes as `split_episodes` splits those in its files.

    So a view changes nothing: parts of an episode are on the same side, whatever asks for them.

    Args:
        dataset: with or without a view.
        fraction: see `split_episodes`.
        seed: of the choice.

    Returns:
        Indices of the dataset's episodes to train on, and of those held out: int64, ascending.
    """
    rest, held_out = split_episodes(dataset.source_tasks, fraction, seed)
    origin = dataset.source_episodes
    return np.flatnonzero(np.isin(origin, rest)), np.flatnonzero(np.isin(origin, held_out))


def seen_episodes(
    provenance: Mapping[str, Any] | None, dataset: EpisodeDataset
) -> np.ndarray | None:
    """The episodes that a model, or one that it started from, was trained on.

    Datasets are the same if their files are equal to the bit, through whichever views.

    Args:
        provenance: of the model's checkpoint. A checkpoint of an early version does not say how
            many episodes were held out, which then counts as none; nor, after training on a
            mixture, on which datasets.
        dataset: with the episodes to choose from.

    Returns:
        Indices of episodes, int64, ascending; None if the model was trained on other datasets.
    """
    seen: np.ndarray | None = None
    while provenance:
        fingerprints = provenance.get("dataset_fingerprints")
        fingerprints = fingerprints or [provenance.get("dataset_fingerprint")]
        if dataset.content in fingerprints:
            fraction = provenance.get("validation_fraction") or 0.0
            own, _ = split_dataset(dataset, fraction, provenance.get("seed", 0))
            seen = own if seen is None else np.union1d(seen, own)
        provenance = provenance.get("start_from")
    return seen
