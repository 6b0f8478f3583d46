"""Which episodes of a dataset a run holds out, and which of them a model has learned from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from manyparts.core.randomness import derive_seed
from manyparts.data.dataset import EpisodeDataset

_ENOUGH_EPISODES = 10


def split_episodes(
    episode_task: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Episodes to train on and episodes held out: of each task `fraction`, at least one if it has
    ten, none if it has fewer. A pure function of its arguments."""
    held_out: list[int] = []
    for task in np.unique(episode_task):
        episodes = np.flatnonzero(episode_task == task)
        count = (
            max(1, round(fraction * len(episodes)))
            if fraction and len(episodes) >= _ENOUGH_EPISODES
            else 0
        )
        order = np.random.default_rng(derive_seed("validation", seed, int(task))).permutation(
            len(episodes)
        )
        held_out += episodes[order[:count]].tolist()
    everything = np.arange(len(episode_task))
    return np.setdiff1d(everything, held_out), np.asarray(sorted(held_out), dtype=np.int64)


def seen_episodes(
    provenance: Mapping[str, Any] | None, dataset: EpisodeDataset
) -> np.ndarray | None:
    """The episodes that a model, or one that it started from, was trained on, by what its
    checkpoint says: int64, ascending; None if it was trained on other datasets. Datasets are the
    same if their files are, to the bit.

    All of them where the checkpoint is older than this record of how many were held out; one that
    was trained on a mixture, and is as old, does not tell which datasets these were: None.
    """
    seen: np.ndarray | None = None
    while provenance:
        known = provenance.get("dataset_fingerprints") or [provenance.get("dataset_fingerprint")]
        if dataset.fingerprint in known:
            fraction = provenance.get("validation_fraction") or 0.0
            own, _ = split_episodes(dataset.episode_task, fraction, provenance.get("seed", 0))
            seen = own if seen is None else np.union1d(seen, own)
        provenance = provenance.get("start_from")
    return seen
