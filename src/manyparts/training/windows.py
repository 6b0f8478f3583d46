"""Which windows a run draws: of which episodes of which datasets, decoded, encoded or streamed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.base import WindowSource
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.mixture import Mixture
from manyparts.data.sampling.splits import split_dataset
from manyparts.data.sampling.stream import StreamedWindows
from manyparts.data.sampling.windows import Windows
from manyparts.data.tools.quality import best_episodes
from manyparts.embodiment.statistics import Statistics
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.models.configs import cacheable_encoder, sees_images
from manyparts.objectives.system import System
from manyparts.training.config import CurationConfig, TrainConfig
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.frozen_features import frozen_features
from manyparts.training.inputs import Sources
from manyparts.training.precision import computed_precision
from manyparts.training.run import Run
from manyparts.training.validation import HeldOutWindows

Features = Mapping[str, np.ndarray]  # camera to the visual tokens (num_frames, n, d)

_MAX_MEMORY_FRACTION = 0.25  # of a GPU's free memory, for frames that stay there


def fill_caches(config: TrainConfig, sources: Sources, system: System) -> None:
    """Decode frames and encode them before other processes look for them.

    Args:
        config: says which caches are used.
        sources: the datasets that are decoded.
        system: on the device that encodes.
    """
    if not config.buffer_frames:
        for dataset in sources.datasets:
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


def features_of(config: TrainConfig, sources: Sources, system: System) -> list[Features]:
    """The visual tokens of every frame of each dataset, read from the cache or encoded now.

    Args:
        config: the run's; its model is no dynamics model.
        sources: the datasets.
        system: the system, with the vision encoder; it encodes on its own device.

    Returns:
        One per dataset, in their order.
    """
    encoder = cacheable_encoder(config.model)
    assert encoder is not None, "its config does not allow features"
    device = next(system.parameters()).device
    precision = computed_precision(config.precision, device)
    return [
        frozen_features(
            system,
            dataset,
            FrameCache.open(dataset),
            encoder=encoder,
            precision=precision,
        )
        for dataset in sources.datasets
    ]


def open_windows(
    run: Run, info: CheckpointInfo, features: Sequence[Features] | None, *, validates: bool
) -> tuple[WindowSource, HeldOutWindows | None]:
    """The windows that a run trains on, and those of held-out episodes.

    Args:
        run: its config says how episodes are split, and its ranks who reads what.
        info: the embodiments, with the statistics that normalise states.
        features: of each dataset, in place of its images.
        validates: whether this process validates.

    Returns:
        Windows to train on, and windows to validate on; None where this process does not validate,
        or no episode is held out.
    """
    config, datasets = run.config, run.sources.datasets
    trained, held_out = [], []
    for dataset in datasets:
        rest, kept = split_dataset(dataset, config.validation_fraction, config.seed)
        trained.append(curated(dataset, rest, config.curation))
        held_out.append(kept)
    in_memory = not config.buffer_frames and fits_in_memory(run.device, run.sources)
    training = windows_of(
        run, info, trained, features=features, device=run.device if in_memory else None
    )
    if not validates or not any(map(len, held_out)):
        return training, None
    # Every validating process reads all validation windows, hence as if it were alone.
    alone = replace(run, ranks=Ranks())
    windows = windows_of(alone, info, held_out, features=features)
    return training, HeldOutWindows(windows, info, config.batch_size)


def curated(dataset: EpisodeDataset, episodes: np.ndarray, curation: CurationConfig) -> np.ndarray:
    """The episodes to train on that are left when the worst ones go.

    Args:
        dataset: the dataset.
        episodes: indices of its episodes to train on, int (n,).
        curation: what fraction goes, and by which measure.

    Returns:
        int (m,), with m at most n.
    """
    if not curation.drop:
        return episodes
    return np.intersect1d(episodes, best_episodes(dataset, curation.measure, curation.drop))


def windows_of(
    run: Run,
    info: CheckpointInfo,
    episodes: Sequence[np.ndarray],
    *,
    features: Sequence[Features] | None = None,
    device: torch.device | None = None,
) -> WindowSource:
    """The windows of some episodes of each dataset.

    One dataset of an agent with one embodiment comes as it is, all else as a `Mixture`. If it is
    streamed, each rank reads its own files.

    Args:
        run: its sources are drawn from.
        info: the embodiments of the agent.
        episodes: for each dataset, the indices of its episodes; a dataset without any is left out.
        features: for each dataset, visual tokens in place of images.
        device: keeps all frames in its memory; None leaves them on the disk.
    """
    config, sources, embodiments = run.config, run.sources, info.embodiment_set
    parts: list[Windows | StreamedWindows] = []
    weights = []
    alone = len(sources.datasets) == len(embodiments.specs) == 1
    for number, (dataset, chosen) in enumerate(zip(sources.datasets, episodes, strict=True)):
        if not len(chosen):
            continue
        embodiment = info.embodiment_of(dataset.spec, f"{dataset.path} is of another embodiment")
        weights.append(sources.weights[number])
        dataset = dataset.bounded_as(embodiment.spec)
        if config.buffer_frames:
            streamed = StreamedWindows(
                dataset.location,
                config.window,
                seed=config.seed,
                reader=run.ranks.rank if alone else 0,
                readers=run.ranks.world if alone else 1,
                buffer_frames=config.buffer_frames,
                episodes=chosen.tolist(),
                statistics=embodiment.statistics,
                spec=embodiment.spec,
                view=dataset.view,
            )
            parts.append(streamed)
        else:
            own = None if features is None else features[number]
            parts.append(_decoded(config, dataset, chosen, embodiment.statistics, own, device))
    return parts[0] if alone else Mixture(parts, weights, embodiments, seed=config.seed)


def _decoded(
    config: TrainConfig,
    dataset: EpisodeDataset,
    episodes: np.ndarray,
    statistics: Statistics,
    features: Features | None,
    device: torch.device | None,
) -> Windows:
    """The windows of a dataset that is decoded on the disk."""
    cache = FrameCache.open(dataset)
    if features is None and not sees_images(config.model):
        features = {}  # in place of images: nothing is read
    in_memory = cache.on(device) if device is not None and features is None else None
    return Windows(
        dataset,
        cache,
        config.window,
        seed=config.seed,
        episodes=episodes.tolist(),
        features=features,
        frames=in_memory,
        statistics=statistics,
    )


def fits_in_memory(device: torch.device, sources: Sources) -> bool:
    """Whether the frames of all datasets take at most a quarter of a GPU's free memory.

    Args:
        device: what the run computes on. On any other than a GPU the answer is no.
        sources: the datasets.
    """
    if device.type != "cuda":
        return False
    size = sum(FrameCache.open(dataset).image_bytes for dataset in sources.datasets)
    return size <= _MAX_MEMORY_FRACTION * torch.cuda.mem_get_info(device)[0]
