"""Batches of windows of a replay."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from manyparts.core.randomness import mix
from manyparts.core.records import Batch, Prompt
from manyparts.data.sampling.base import part_of_rank
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.replay import Replay
from manyparts.embodiment.codec import Codec

_NO_INSTRUCTION = Prompt(None)


class ReplayWindows:
    """Windows of the episodes of a replay; every row starts one. Steps beyond an episode's end are
    masked and zero.

    Args:
        replay: That is drawn from, as it is when a batch is drawn.
        config: Length of windows; their chunks have one action.
        codec: Normalises states and actions.
        seed: Of the draws.
        images: Whether images are read.
        source: Of which source the episodes are; -1: of the agent itself.
    """

    def __init__(
        self,
        replay: Replay,
        config: WindowConfig,
        codec: Codec,
        *,
        seed: int,
        images: bool,
        source: int = -1,
    ) -> None:
        assert config.chunk == 1, config
        self.replay, self.config, self.codec, self.seed = replay, config, codec, seed
        self.cameras = tuple(replay.spec.cameras) if images else ()
        self.source = source

    @property
    def num_windows(self) -> int:
        """How many windows can be drawn now."""
        return self.replay.num_frames

    def batch(self, step: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> Batch:
        """This rank's equal part of the windows of training step `step`: a pure function of (seed,
        step) and of the episodes that can be drawn.

        Raises:
            UserError: The ranks cannot share a batch equally.
        """
        positions = step * batch_size + part_of_rank(batch_size, rank, world_size)
        return self.at((mix(positions, self.seed) % np.uint64(self.num_windows)).astype(np.int64))

    def at(self, windows: np.ndarray) -> Batch:
        """The windows that start at these rows, counted through all episodes that can be drawn."""
        episodes, steps = self.replay.episodes, self.config.steps
        lengths = np.array([each.length for each in episodes])
        ends = lengths.cumsum()
        index = np.searchsorted(ends, windows, side="right")
        first = windows - (ends - lengths)[index]
        real = np.minimum(lengths[index] - first, steps)
        mask = np.arange(steps) < real[:, None]
        numbers = [episodes[each].number for each in index.tolist()]

        cameras = [f"images/{name}" for name in self.cameras]
        columns = {
            name: self._zeros(name, len(windows))
            for name in ("state", "action", "reward", *self.replay.recorded, *cameras)
        }
        spans = zip(numbers, first.tolist(), real.tolist(), strict=True)
        for row, (number, start, count) in enumerate(spans):
            # Steps beyond an episode's end stay zero.
            out = {name: values[row, :count] for name, values in columns.items()}
            self.replay.read_into(number, start, out)

        codec, spec = self.codec, self.codec.spec
        action = _tensor(codec.encode_action(columns["action"]) * mask[..., None])[:, :, None]
        terminated = np.array([episodes[each].terminated for each in index.tolist()])
        at_end = first[:, None] + np.arange(steps) == (lengths[index] - 1)[:, None]
        return Batch(
            images={name: _tensor(columns[f"images/{name}"]) for name in self.cameras},
            features={},
            state=_tensor(codec.encode_state(columns["state"]) * mask[..., None]),
            action=action,
            expert_action=action,
            reward=_tensor(columns["reward"]),
            timestep=_tensor(np.where(mask, first[:, None] + np.arange(steps), 0)),
            mask=_tensor(mask),
            chunk_mask=_tensor(mask)[..., None],
            state_mask=torch.ones(len(windows), spec.state_dimension, dtype=torch.bool),
            action_mask=torch.ones(len(windows), spec.action.dimension, dtype=torch.bool),
            prompt=(_NO_INSTRUCTION,) * len(windows),
            window=_tensor(windows),
            terminated=_tensor(at_end & terminated[:, None]),
            source=torch.full((len(windows),), self.source),
            recorded={name: _tensor(columns[name]).float() for name in self.replay.recorded},
        )

    def _zeros(self, name: str, count: int) -> np.ndarray:
        """(b, t, ...) for a column of so many windows."""
        shape, dtype = self.replay.row(name)
        return np.zeros((count, self.config.steps, *shape), dtype)

    def fractions(self, step: int, batch_size: int) -> dict[str, float]:
        """Empty, since there is one replay."""
        return {}

    def epochs(self, drawn: int) -> dict[str, float]:
        """Empty: a replay that grows has no epochs."""
        return {}

    def describe(self, window: int) -> str:
        """The episode and rows of a window, for people."""
        for episode in self.replay.episodes:
            if window < episode.length:
                last = min(window + self.config.steps, episode.length)
                return f"{episode.task}, seed {episode.seed}, steps {window} to {last}"
            window -= episode.length
        return "an episode that is gone"

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
