"""Phase II: training steps on cached visual tokens, against steps that encode their images."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.harness import Row, in_turns, rate
from benchmarks.recorded import Steps, phase2, recorded
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.windows import Windows
from manyparts.methods.dualmind import transformer
from manyparts.training.config import TrainConfig
from manyparts.training.frozen_features import frozen_features


def measure() -> Iterator[Row]:
    """Measure at the paper's size, where the encoder costs most, and at the laptop's."""
    for name, size, episodes, calls, promised in (
        ("base", 224, 1, 1, 2.0),
        ("laptop", 64, 20, 8, 0.0),
    ):
        with recorded(episodes=episodes, image_size=size) as (dataset, cache):
            value, baseline = _steps_per_second(phase2(name), dataset, cache, calls)
        note = (
            f"steps of dualmind/phase2-{name} with cached visual tokens, "
            "against the same with images"
        )
        yield Row(
            "phase2-cached" if promised else f"phase2-cached-{name}",
            value,
            baseline,
            "steps/s",
            note,
            promised,
        )


def _steps_per_second(
    config: TrainConfig, dataset: EpisodeDataset, cache: FrameCache, calls: int
) -> list[float]:
    plain = Steps(
        replace(config, cache_features=False),
        dataset,
        Windows(dataset, cache, config.window, seed=0),
    )
    with tempfile.TemporaryDirectory() as folder:
        features = frozen_features(
            plain.system,
            dataset,
            cache,
            encoder=transformer(config).encoder,
            precision=config.precision,
            cache_dir=folder,
        )
        cached = Steps(
            config, dataset, Windows(dataset, cache, config.window, seed=0, features=features)
        )
        for side in (cached, plain):
            side()
        return in_turns(
            lambda: rate(cached, calls=calls), lambda: rate(plain, calls=calls), rounds=3
        )
