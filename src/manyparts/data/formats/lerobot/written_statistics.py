"""Statistics of a LeRobotDataset that is being written: of each episode, and of all so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from manyparts.core.columns import IMAGES
from manyparts.embodiment.statistics import (
    FeatureStatistics,
    RunningImageStatistics,
    RunningStatistics,
)


class DatasetStatistics:
    """Collects the statistics of all features, one episode at a time."""

    def __init__(self, features: Mapping[str, Any]) -> None:
        """features: those of info.json."""
        self._features = features
        self._total = {name: self._new(name) for name in features}

    def add(
        self, columns: Mapping[str, np.ndarray], images: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """Add an episode.

        Args:
            columns: feature name to (T,) or (T, d).
            images: camera name to uint8 (n, h, w, 3), those that `sample_rows` chooses.

        Returns:
            The episode's own statistics, as columns of the episodes file.
        """
        flat: dict[str, Any] = {}
        for name in self._features:
            is_image = name.startswith(IMAGES)
            values = images[name.removeprefix(IMAGES)] if is_image else columns[name]
            of_episode = self._new(name)
            for running in (of_episode, self._total[name]):
                running.update(values)
            for key, numbers in of_episode.finish().to_dict(image=is_image).items():
                flat[f"stats/{name}/{key}"] = numbers
        return flat

    def finish(self) -> dict[str, FeatureStatistics]:
        """The statistics of all episodes added, by feature."""
        return {name: running.finish() for name, running in self._total.items()}

    def state(self) -> dict[str, np.ndarray]:
        """All that `restore` needs to go on."""
        state: dict[str, np.ndarray] = {}
        for name, running in self._total.items():
            state |= {f"{name}|{key}": value for key, value in running.state().items()}
        return state

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` returned."""
        for name, running in self._total.items():
            prefix = f"{name}|"
            of_feature = {
                key.removeprefix(prefix): value
                for key, value in state.items()
                if key.startswith(prefix)
            }
            self._total[name] = running.of_state(of_feature)

    def _new(self, name: str) -> RunningStatistics | RunningImageStatistics:
        if name.startswith(IMAGES):
            return RunningImageStatistics()
        return RunningStatistics(self._features[name]["shape"][0])
