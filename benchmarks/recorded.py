"""A small dataset for benchmarks that train: the point mass, which needs no simulator."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from manyparts.core.records import Observation
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.windows import Windows
from manyparts.envs.base import EnvConfig
from manyparts.methods import preset
from manyparts.models.configs import PromptConfig
from manyparts.rollout.collect import collect
from manyparts.training.config import TrainConfig
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.inputs import Sources
from manyparts.training.preparation import prepare
from manyparts.training.update import Learner


@contextlib.contextmanager
def recorded(
    *, episodes: int = 40, image_size: int = 64
) -> Iterator[tuple[EpisodeDataset, FrameCache]]:
    """Yield a dataset and its decoded frames, in a folder that exists while the block runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = EnvConfig(image_size=image_size)
        dataset = collect(
            ["pointmass/colours"], episodes=episodes, output=folder / "data", config=config
        )
        yield dataset, FrameCache.open(dataset, folder / "cache")


def phase2(size: str) -> TrainConfig:
    """Return the phase II preset of a size, with the small text encoder and not compiled.

    So nothing is downloaded, and no minutes are spent on compiling.
    """
    config = preset(f"dualmind/phase2-{size}")
    return replace(config, model=replace(config.model, prompt=PromptConfig()), compile=False)


def observation(dataset: EpisodeDataset) -> Observation:
    """Return the first observation of a dataset."""
    episode = dataset.episode(0)
    return {
        "images": {name: frames[0] for name, frames in episode.images.items()},
        "state": episode.state[0],
    }


class Steps:
    """Training steps of a config on one device, one after the other: call it to take a step."""

    def __init__(
        self, config: TrainConfig, dataset: EpisodeDataset, windows: Windows, device: str = "cpu"
    ) -> None:
        self.config, self.windows = config, windows
        self.system, self.info = prepare(config, Sources((dataset,)), None, None)
        self.learner = Learner(self.system, config, Ranks(), torch.device(device))
        self.count = 0

    def __call__(self) -> None:
        self.learner.step(
            self.count % self.config.steps,
            {0: self.windows.batch(self.count, self.config.batch_size)},
        )
        self.count += 1
