"""Which windows a run draws: of which episodes of which datasets, decoded, encoded or streamed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.base import WindowSource
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.mixture import Mixture
from manyparts.data.sampling.stream import StreamedWindows
from manyparts.data.sampling.windows import Windows
from manyparts.data.tools.quality import best_episodes
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.objectives.system import DynamicsConfig, System, sees_images
from manyparts.training.config import CurationConfig, TrainConfig
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.frozen_features import frozen_features
from manyparts.training.inputs import Sources
from manyparts.training.precision import computed_precision

_HELD_PART = 0.25  # of a GPU's free memory


def fill_caches(config: TrainConfig, sources: Sources, system: System) -> None:
    """Decode frames and encode them before other processes look for them. system: on the device
    that encodes."""
    for dataset in sources.datasets if not config.buffer_frames else ():
        FrameCache.open(dataset)
    if not config.cache_features:
        return
    if config.augmentation.changes_images:
        print(
            "cache_features: augmentation of images is off, since encoded frames cannot be "
            "augmented",
            file=sys.stderr,
        )
    features_of(config, sources, system)


def curated(dataset: EpisodeDataset, episodes: np.ndarray, curation: CurationConfig) -> np.ndarray:
    """The episodes to train on that are left when the worst ones go."""
    if not curation.drop:
        return episodes
    return np.intersect1d(episodes, best_episodes(dataset, curation.measure, curation.drop))


def windows_of(
    config: TrainConfig,
    sources: Sources,
    info: CheckpointInfo,
    features: Sequence[Mapping[str, np.ndarray]] | None,
    episodes: Sequence[np.ndarray],
    ranks: Ranks,
    *,
    hold: torch.device | None = None,
) -> WindowSource:
    """Windows of the chosen episodes of each dataset; of one dataset of an agent with one
    embodiment, as they are. Of one that is streamed, each rank reads its own files. hold: a device
    in whose memory all frames are held."""
    embodiments, parts, weights = info.embodiment_set, [], []
    alone = len(sources.datasets) == len(embodiments.specs) == 1
    for number, (dataset, chosen) in enumerate(zip(sources.datasets, episodes, strict=True)):
        if not len(chosen):
            continue
        embodiment = info.embodiment_of(dataset.spec, f"{dataset.path} is of another embodiment")
        dataset = dataset.bounded_as(embodiment.spec)
        weights.append(sources.weights[number])
        given: dict[str, Any] = {
            "seed": config.seed,
            "episodes": chosen.tolist(),
            "statistics": embodiment.statistics,
        }
        if config.buffer_frames:
            given |= {"spec": embodiment.spec} | (
                {"reader": ranks.rank, "readers": ranks.world} if alone else {}
            )
            streamed = StreamedWindows(
                dataset.location, config.window, buffer_frames=config.buffer_frames, **given
            )
            parts.append(streamed)
            continue
        own = (
            features[number] if features is not None else None if sees_images(config.model) else {}
        )
        cache = FrameCache.open(dataset)
        if hold is not None and own is None:
            given["frames"] = cache.on(hold)
        parts.append(Windows(dataset, cache, config.window, features=own, **given))
    return parts[0] if alone else Mixture(parts, weights, embodiments, seed=config.seed)


def fit_on(device: torch.device, sources: Sources) -> bool:
    """Whether the frames of all datasets together take no more than a part of what is free of a
    GPU's memory."""
    if device.type != "cuda":
        return False
    size = sum(FrameCache.open(dataset).image_bytes for dataset in sources.datasets)
    return size <= _HELD_PART * torch.cuda.mem_get_info(device)[0]


def features_of(
    config: TrainConfig, sources: Sources, system: System
) -> list[dict[str, np.ndarray]]:
    """Of each dataset, by camera."""
    assert not isinstance(config.model, DynamicsConfig), "its config does not allow features"
    device = next(system.parameters()).device
    given: dict[str, Any] = {
        "encoder": config.model.encoder,
        "precision": computed_precision(config.precision, device),
    }
    return [
        frozen_features(system, dataset, FrameCache.open(dataset), **given)
        for dataset in sources.datasets
    ]
