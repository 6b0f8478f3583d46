"""Batches of windows in an order that is a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from manyparts.core.arguments import set_by_replace
from manyparts.core.errors import UserError
from manyparts.core.randomness import mix, permute
from manyparts.core.records import Batch, PromptImages
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.prompts import KINDS, Drawn, PromptDrawer, evenly_spaced
from manyparts.data.sampling.rows import RowFile
from manyparts.embodiment.codec import GOAL, Codec, prompt_image_count, prompt_image_mask
from manyparts.embodiment.statistics import Statistics

_BLOCK, _KEPT_BLOCKS = 4096, 3


@set_by_replace
@dataclass(frozen=True)
class WindowConfig:
    """steps: observations a window. chunk: actions after each, so observations are `chunk` frames
    apart.

    paraphrases: prompts are drawn from a task's instruction and training paraphrases, instead of
    its instruction. goal_image: prompts may show the last frame of the window's episode; where the
    dataset has a goal camera (`Spec.goal_camera`), its picture in every camera's place.
    demonstration_frames: prompts may show so many frames of another episode of the task, half of
    them with their actions. Where one of the two is on, a prompt is one or two of instruction, goal
    image and demonstration, drawn alike, so that an agent learns to take any.
    """

    steps: int = 4
    chunk: int = 4
    paraphrases: bool = True
    goal_image: bool = False
    demonstration_frames: int = 0

    def __post_init__(self) -> None:
        for name, value in (("steps", self.steps), ("chunk", self.chunk)):
            if value < 1:
                raise UserError(f"window's {name} is {value}; it must be at least 1")
        if self.demonstration_frames < 0:
            raise UserError(
                f"window's demonstration_frames is {self.demonstration_frames}; expected at least 0"
            )

    @property
    def prompt_images(self) -> int:
        """How many images a prompt holds: the goal's, then a demonstration's."""
        return prompt_image_count(
            goal_image=self.goal_image, demonstration_frames=self.demonstration_frames
        )


class Windows:
    """Every frame of the chosen episodes begins one window; steps beyond the episode's end are
    masked and zero.

    features: camera to the visual tokens (num_frames, n, d) of a frozen encoder, a memory-mapped
    array that is read by position; they then stand in for images. frames: `FrameCache.on` of a
    device, whose memory images then come from and lie in; without, they are read from the cache's
    files. statistics: those that normalise states, by default the dataset's own; a run that starts
    from another keeps the other's. Nothing else here grows with the dataset but two integers an
    episode. Raises UserError if an episode is not in the dataset.
    """

    def __init__(
        self,
        dataset: EpisodeDataset,
        cache: FrameCache,
        config: WindowConfig,
        *,
        seed: int,
        episodes: Sequence[int] | None = None,
        features: Mapping[str, np.ndarray] | None = None,
        frames: Mapping[str, Tensor] | None = None,
        statistics: Statistics | None = None,
    ) -> None:
        self.dataset, self.cache, self.config, self.seed = dataset, cache, config, seed
        chosen = (
            np.arange(dataset.num_episodes)
            if episodes is None
            else np.asarray(episodes, dtype=np.int64)
        )
        if not len(chosen) or chosen.min() < 0 or chosen.max() >= dataset.num_episodes:
            raise UserError(
                f"episodes are to be chosen from 0 to {dataset.num_episodes - 1}; got {list(chosen)}"
            )
        self._first_frames = dataset.starts[chosen]
        lengths = dataset.starts[chosen + 1] - self._first_frames
        self._window_starts = np.concatenate([[0], lengths.cumsum()])
        self.num_windows = int(self._window_starts[-1])
        self._blocks: dict[int, np.ndarray] = {}
        self._features = (
            None if features is None else {name: _rows(array) for name, array in features.items()}
        )
        self._frames = cache.images if frames is None else frames
        switched_on = (True, config.goal_image, config.demonstration_frames > 0)
        kinds = [kind for kind, on in zip(KINDS, switched_on, strict=True) if on]
        self._draw_prompts = PromptDrawer(
            dataset, chosen, seed=seed, kinds=kinds, paraphrases=config.paraphrases
        )
        self._codec = Codec.of(dataset.spec, statistics or dataset.statistics)

    def batch(self, step: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> Batch:
        """The batch of training step `step`: `batch_size` windows, of which this rank draws its
        equal share.

        Steps walk through a permutation of all windows, another one each epoch. Raises UserError if
        the ranks cannot share a batch equally.
        """
        if batch_size % world_size:
            raise UserError(f"batch size {batch_size} does not divide among {world_size} processes")
        share = batch_size // world_size
        return self.at(np.arange(rank * share, (rank + 1) * share) + step * batch_size)

    def at(self, places: np.ndarray) -> Batch:
        """The windows drawn at `places`; see `order`."""
        windows = self.order(places)
        episodes = np.searchsorted(self.dataset.starts, windows, side="right") - 1
        return self._assemble(windows, episodes, self._draw_prompts(places, episodes))

    def fractions(self, step: int, batch_size: int) -> dict[str, float]:
        """Parts of a batch by where they come from, for logs: nothing to tell of one dataset."""
        return {}

    def epochs(self, drawn: int) -> dict[str, float]:
        """How often all windows were gone through once so many are drawn."""
        return {"": drawn / self.num_windows}

    def order(self, places: np.ndarray) -> np.ndarray:
        """The windows drawn at places 0, 1, 2, ... since training began, each named by its first
        frame: int64."""
        drawn, blocks = np.empty(len(places), np.int64), places // _BLOCK
        for block in np.unique(blocks).tolist():
            here = blocks == block
            drawn[here] = self._block(block)[places[here] - block * _BLOCK]
        return drawn

    def _block(self, number: int) -> np.ndarray:
        """The windows at `_BLOCK` places in a row; the last few blocks are kept, as few places cost
        what many do."""
        if number not in self._blocks:
            for old in list(self._blocks)[:-_KEPT_BLOCKS]:
                del self._blocks[old]
            self._blocks[number] = self._drawn(np.arange(number * _BLOCK, (number + 1) * _BLOCK))
        return self._blocks[number]

    def _drawn(self, places: np.ndarray) -> np.ndarray:
        epochs, within = np.divmod(places, self.num_windows)
        drawn = np.empty(len(places), np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            key = int(mix(np.asarray([epoch]), self.seed)[0])
            drawn[here] = permute(within[here], self.num_windows, key)
        episodes = np.searchsorted(self._window_starts, drawn, side="right") - 1
        return self._first_frames[episodes] + drawn - self._window_starts[episodes]

    def close(self) -> None:
        """Nothing is held."""

    def describe(self, window: int) -> str:
        """Where a window, named as in `Batch.window`, comes from; frames count within the episode,
        end excluded."""
        episode = int(np.searchsorted(self.dataset.starts, window, side="right")) - 1
        first = int(window - self.dataset.starts[episode])
        last = min(first + self.config.steps * self.config.chunk, self.dataset.length(episode))
        task = self.dataset.tasks[self.dataset.episode_task[episode]]
        return f"episode {episode} ({task.name}), frames {first}-{last}"

    def _assemble(self, windows: np.ndarray, episodes: np.ndarray, drawn: Drawn) -> Batch:
        steps, chunk, codec = self.config.steps, self.config.chunk, self._codec
        begins, ends = self.dataset.starts[episodes], self.dataset.starts[episodes + 1]
        frames = windows[:, None] + np.arange(steps * chunk)
        chunk_mask = (frames < ends[:, None]).reshape(-1, steps, chunk)
        mask = chunk_mask[:, :, 0]
        numbers = self._read_numbers(windows, chunk_mask)
        parts = {name: numbers[..., columns] for name, columns in self.cache.columns.items()}
        real = chunk_mask[..., None]
        timestep = np.minimum(frames[:, ::chunk], ends[:, None] - 1) - begins[:, None]
        images, features = self._read_visual(np.ascontiguousarray(frames[:, ::chunk]), mask)
        return Batch(
            images=images,
            features=features,
            state=_tensor(codec.encode_state(parts["state"][:, :, 0]) * mask[..., None]),
            action=_tensor(codec.encode_action(parts["action"]) * real),
            expert_action=_tensor(codec.encode_action(parts["expert_action"]) * real),
            reward=_tensor(parts["reward"][..., 0].sum(axis=2)),
            timestep=_tensor(timestep),
            mask=_tensor(mask),
            chunk_mask=_tensor(chunk_mask),
            state_mask=torch.ones(len(windows), codec.spec.state_dimension, dtype=torch.bool),
            action_mask=torch.ones(len(windows), codec.spec.action.dimension, dtype=torch.bool),
            prompt=drawn.prompts,
            window=_tensor(windows),
            prompt_images=self._pictures(episodes, drawn) if self.config.prompt_images else None,
        )

    def _pictures(self, episodes: np.ndarray, drawn: Drawn) -> PromptImages:
        """The goal of each window's episode, and evenly spaced frames of the one that is
        demonstrated."""
        starts, places = self.dataset.starts, self.config.demonstration_frames
        shown = np.maximum(drawn.shown, 0)
        begins, ends = starts[shown][:, None], starts[shown + 1][:, None]
        shown_frames = begins + evenly_spaced(ends - begins, places)
        frames = np.concatenate([starts[episodes + 1][:, None] - 1, shown_frames], axis=1)
        there = prompt_image_mask(drawn.goal, drawn.shown >= 0, 1 + places)
        told = there & drawn.told[:, None]
        told[:, GOAL] = False
        chunk = np.arange(self.config.chunk)
        last = np.concatenate(
            [starts[episodes + 1][:, None], np.repeat(ends, places, axis=1)], axis=1
        )
        real = (frames[..., None] + chunk < last[..., None]) & told[..., None]
        numbers = self._read_numbers(frames.reshape(-1), real.reshape(-1, 1, len(chunk)))
        action = numbers[..., self.cache.columns["action"]].reshape(*frames.shape, len(chunk), -1)
        images, features = self._read_pictures(np.ascontiguousarray(frames), there)
        return PromptImages(
            images=images,
            features=features,
            action=_tensor(self._codec.encode_action(action) * real[..., None]),
            mask=_tensor(there),
            action_mask=_tensor(told),
        )

    def _read_pictures(
        self, frames: np.ndarray, there: np.ndarray
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """As `_read_visual`, with the goal's picture for every camera where there is a camera of
        it. These are pixels then, although features may be at hand: those of one camera's encoder
        say nothing to another's."""
        goal_camera = self.dataset.spec.goal_camera
        if goal_camera is None or not self.config.goal_image:
            return self._read_visual(frames, there)
        images = {name: _gather(rows, frames, there) for name, rows in self._frames.items()}
        for picture in images.values():
            picture[:, GOAL] = images[goal_camera][:, GOAL]
        return images, {}

    def _read_numbers(self, windows: np.ndarray, chunk_mask: np.ndarray) -> np.ndarray:
        """float32 (b, t, k, columns), zero beyond the episode's end."""
        file, (count, steps, chunk) = self.cache.numbers, chunk_mask.shape
        span = min(steps * chunk, file.count)
        begins = np.minimum(
            windows, file.count - span
        )  # a run that would leave the file begins earlier
        runs = np.empty((count, span, *file.shape), file.dtype)
        file.gather(begins, runs, np.arange(count), length=span)
        wanted = np.minimum((windows - begins)[:, None] + np.arange(steps * chunk), span - 1)
        aligned = np.take_along_axis(runs, wanted[..., None], axis=1).reshape(
            count, steps, chunk, -1
        )
        return np.where(chunk_mask[..., None], aligned, np.float32(0))

    def _read_visual(
        self, frames: np.ndarray, mask: np.ndarray
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        if self._features is not None:
            return {}, {name: _gather(rows, frames, mask) for name, rows in self._features.items()}
        return {name: _gather(rows, frames, mask) for name, rows in self._frames.items()}, {}


def _gather(rows: RowFile | np.ndarray | Tensor, frames: np.ndarray, mask: np.ndarray) -> Tensor:
    """Rows of `frames` (b, t) as a tensor (b, t, ...), zero where `mask` is false; on the device of
    `rows`."""
    if isinstance(rows, Tensor):
        wanted, real = (
            torch.from_numpy(array).to(rows.device) for array in (np.where(mask, frames, 0), mask)
        )
        found = rows[wanted]
        return found.masked_fill_(~real.view(*real.shape, *[1] * (found.ndim - 2)), 0)
    shape = rows.shape if isinstance(rows, RowFile) else rows.shape[1:]
    out = np.empty((frames.size, *shape), rows.dtype)
    slots = np.flatnonzero(mask)
    wanted = frames.reshape(-1)[slots]
    if isinstance(rows, RowFile):
        rows.gather(wanted, out, slots)
    else:
        out[slots] = rows[wanted]
    out[~mask.reshape(-1)] = 0
    return torch.from_numpy(out).view(*frames.shape, *shape)


def _rows(array: np.ndarray) -> RowFile | np.ndarray:
    file = RowFile.of(array)
    return array if file is None else file


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
