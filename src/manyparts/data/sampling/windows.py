"""Batches of windows in an order that is a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from manyparts.core.errors import UserError
from manyparts.core.randomness import mix, permute
from manyparts.core.records import Batch, PromptImages
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.base import FixedSource, part_of_rank
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.prompt_drawing import KINDS, DrawnPrompts, PromptDrawer, evenly_spaced
from manyparts.data.sampling.rows import RowFile
from manyparts.embodiment.codec import Codec
from manyparts.embodiment.prompt_layout import GOAL
from manyparts.embodiment.statistics import Statistics

_BLOCK = 4096  # positions that are drawn at once
_KEPT_BLOCKS = 3


class Windows(FixedSource):
    """The windows of a dataset: every frame of the chosen episodes starts one.

    Steps beyond the episode's end are masked and zero. In memory, only two integers per episode
    grow with the dataset.

    Attributes:
        dataset: that the windows are of.
        cache: its decoded frames.
        config: length of windows, and prompts.
        seed: of the order and of prompts.
        num_windows: how many windows there are.
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
        """Set up the order, without reading frames.

        Args:
            dataset: that the windows are of.
            cache: its decoded frames.
            config: length of windows, and prompts.
            seed: of the order and of prompts.
            episodes: indices of the episodes to draw from; None: all.
            features: camera to the visual tokens (num_frames, n, d) of a frozen encoder, in place
                of images. A memory-mapped array is read row by row.
            frames: all frames in a device's memory, see `FrameCache.on`; images then come from
                there and stay there. None: they are read from the cache's files.
            statistics: by which states are normalised; None: the dataset's own. A run that starts
                from another one keeps the other's.

        Raises:
            UserError: no episode is chosen, or one that is not in the dataset.
        """
        self.dataset, self.cache, self.config, self.seed = dataset, cache, config, seed
        chosen = np.arange(dataset.num_episodes)
        if episodes is not None:
            chosen = np.asarray(episodes, dtype=np.int64)
        if not len(chosen):
            raise UserError("no episode is chosen; expected at least one")
        outside = chosen[(chosen < 0) | (chosen >= dataset.num_episodes)]
        if len(outside):
            raise UserError(
                f"episode {outside[0]} is not in the dataset; expected 0 to "
                f"{dataset.num_episodes - 1}"
            )
        self._first_frames = dataset.starts[chosen]
        lengths = dataset.starts[chosen + 1] - self._first_frames
        self._window_starts = np.concatenate([[0], lengths.cumsum()])
        self.num_windows = int(self._window_starts[-1])
        self._blocks: dict[int, np.ndarray] = {}
        self._features = None
        if features is not None:
            self._features = {name: _rows(array) for name, array in features.items()}
        self._frames = cache.images if frames is None else frames
        is_on = (True, config.goal_image, config.demonstration_frames > 0)  # in the order of KINDS
        kinds = [kind for kind, on in zip(KINDS, is_on, strict=True) if on]
        self._draw_prompts = PromptDrawer(
            dataset, chosen, seed=seed, kinds=kinds, paraphrases=config.paraphrases
        )
        self._codec = Codec.of(dataset.spec, statistics or dataset.statistics)

    def batch(self, step: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> Batch:
        """This rank's equal part of the `batch_size` windows of training step `step`.

        Steps walk through a permutation of all windows, another one in each epoch.

        See `WindowSource.batch`.
        """
        return self.at(part_of_rank(batch_size, rank, world_size) + step * batch_size)

    def at(self, positions: np.ndarray) -> Batch:
        """The windows at these positions of the order of training; see `order`."""
        windows = self.order(positions)
        episodes = np.searchsorted(self.dataset.starts, windows, side="right") - 1
        return self._assemble(windows, episodes, self._draw_prompts(positions, episodes))

    def fractions(self, step: int, batch_size: int) -> dict[str, float]:
        """See `WindowSource.fractions`. Empty, since all windows are of one dataset."""
        return {}

    def epochs(self, drawn: int) -> dict[str, float]:
        """How many times the first `drawn` windows go through all."""
        return {"": drawn / self.num_windows}

    def order(self, positions: np.ndarray) -> np.ndarray:
        """The windows at positions 0, 1, 2, ... since training started.

        Returns:
            int64, as long as `positions`: the first frame of each window, counted through the whole
            dataset.
        """
        windows, blocks = np.empty(len(positions), np.int64), positions // _BLOCK
        for block in np.unique(blocks).tolist():
            inside = blocks == block
            windows[inside] = self._block(block)[positions[inside] - block * _BLOCK]
        return windows

    def _block(self, number: int) -> np.ndarray:
        """The windows at `_BLOCK` consecutive positions. The last few blocks are kept, since
        drawing a few positions takes as long as drawing many."""
        if number not in self._blocks:
            for old in list(self._blocks)[:-_KEPT_BLOCKS]:
                del self._blocks[old]
            positions = np.arange(number * _BLOCK, (number + 1) * _BLOCK)
            self._blocks[number] = self._permuted(positions)
        return self._blocks[number]

    def _permuted(self, positions: np.ndarray) -> np.ndarray:
        """As `order`, without blocks."""
        epochs, within = np.divmod(positions, self.num_windows)
        drawn = np.empty(len(positions), np.int64)
        for epoch in np.unique(epochs):
            inside = epochs == epoch
            key = int(mix(np.asarray([epoch]), self.seed)[0])
            drawn[inside] = permute(within[inside], self.num_windows, key)
        # `drawn` counts the windows of the chosen episodes alone; the dataset may have others
        # between them.
        episodes = np.searchsorted(self._window_starts, drawn, side="right") - 1
        return self._first_frames[episodes] + drawn - self._window_starts[episodes]

    def close(self) -> None:
        """Do nothing: files are closed with their `RowFile`."""

    def describe(self, window: int) -> str:
        """The episode, task and frames of a window, for people. window: as in `Batch.window`.
        Frames are counted within the episode, end excluded."""
        episode = int(np.searchsorted(self.dataset.starts, window, side="right")) - 1
        first = int(window - self.dataset.starts[episode])
        last = min(first + self.config.steps * self.config.chunk, self.dataset.length(episode))
        task = self.dataset.tasks[self.dataset.episode_task[episode]]
        return f"episode {episode} ({task.name}), frames {first}-{last}"

    def _assemble(self, windows: np.ndarray, episodes: np.ndarray, prompts: DrawnPrompts) -> Batch:
        """Read windows that start at frames `windows` (b,) of `episodes` (b,)."""
        steps, chunk, codec = self.config.steps, self.config.chunk, self._codec
        starts, ends = self.dataset.starts[episodes], self.dataset.starts[episodes + 1]
        frames = windows[:, None] + np.arange(steps * chunk)
        chunk_mask = (frames < ends[:, None]).reshape(-1, steps, chunk)
        mask = chunk_mask[:, :, 0]  # a step is there if its first frame is
        numbers = self._read_numbers(windows, chunk_mask)
        parts = {name: numbers[..., columns] for name, columns in self.cache.columns.items()}
        real = chunk_mask[..., None]
        timestep = np.minimum(frames[:, ::chunk], ends[:, None] - 1) - starts[:, None]
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
            prompt=prompts.prompts,
            window=_tensor(windows),
            terminated=self._terminations(frames, episodes, chunk),
            prompt_images=(
                self._prompt_images(episodes, prompts) if self.config.prompt_layout.count else None
            ),
        )

    def _terminations(self, frames: np.ndarray, episodes: np.ndarray, chunk: int) -> Tensor | None:
        """Whether each step's chunk holds the last action of an episode that ended for good.

        Args:
            frames: (b, t k), the frame of each action.
            episodes: (b,), the episode of each window.
            chunk: actions per step.

        Returns:
            bool (b, t); None where the dataset does not say which episodes ended for good.
        """
        terminated = self.dataset.terminated
        if terminated is None:
            return None
        is_last = frames == self.dataset.starts[episodes + 1][:, None] - 1
        at_end = is_last.reshape(len(frames), -1, chunk).any(axis=2)
        return _tensor(at_end & terminated[episodes][:, None])

    def _prompt_images(self, episodes: np.ndarray, prompts: DrawnPrompts) -> PromptImages:
        """The goal image of each window's episode, and evenly spaced frames of the episode that is
        demonstrated; zero where a prompt has none."""
        starts, layout = self.dataset.starts, self.config.prompt_layout
        count = layout.demonstration_frames
        demonstrated = np.maximum(prompts.demonstrated, 0)  # any episode where there is none
        first, end = starts[demonstrated][:, None], starts[demonstrated + 1][:, None]
        own_end = starts[episodes + 1][:, None]
        # One row per prompt: its frames, and where the episode of each of them ends.
        frames = layout.join(own_end - 1, first + evenly_spaced(end - first, count))
        ends = layout.join(own_end, np.repeat(end, count, axis=1))
        mask, action_mask = layout.masks(
            prompts.goal, prompts.demonstrated >= 0, prompts.with_actions
        )
        chunk = np.arange(layout.chunk)
        real = (frames[..., None] + chunk < ends[..., None]) & action_mask[..., None]
        numbers = self._read_numbers(frames.reshape(-1), real.reshape(-1, 1, len(chunk)))
        action = numbers[..., self.cache.columns["action"]].reshape(*frames.shape, len(chunk), -1)
        images, features = self._read_prompt_images(np.ascontiguousarray(frames), mask)
        return PromptImages(
            images=images,
            features=features,
            action=_tensor(self._codec.encode_action(action) * real[..., None]),
            mask=_tensor(mask),
            action_mask=_tensor(action_mask),
        )

    def _read_prompt_images(
        self, frames: np.ndarray, mask: np.ndarray
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """As `_read_visual`, with the goal camera's image for every camera, if there is one. Then
        images are read even if features are there: tokens of one camera's encoder mean nothing to
        another's."""
        goal_camera = self.dataset.spec.goal_camera
        if goal_camera is None or not self.config.goal_image:
            return self._read_visual(frames, mask)
        images = {name: _gather(rows, frames, mask) for name, rows in self._frames.items()}
        for image in images.values():
            image[:, GOAL] = images[goal_camera][:, GOAL]
        return images, {}

    def _read_numbers(self, windows: np.ndarray, chunk_mask: np.ndarray) -> np.ndarray:
        """float32 (b, t, k, columns): the numbers of frames from `windows` (b,) on, zero where
        `chunk_mask` (b, t, k) is false."""
        file, (count, steps, chunk) = self.cache.numbers, chunk_mask.shape
        span = min(steps * chunk, file.count)
        # Each window is one run of rows in the file. A run that would leave the file starts
        # earlier, and is then shifted back; what is beyond the file's end is masked.
        first_rows = np.minimum(windows, file.count - span)
        runs = np.empty((count, span, *file.shape), file.dtype)
        file.gather(first_rows, runs, np.arange(count), length=span)
        shift = (windows - first_rows)[:, None]
        rows = np.minimum(shift + np.arange(steps * chunk), span - 1)
        aligned = np.take_along_axis(runs, rows[..., None], axis=1)
        aligned = aligned.reshape(count, steps, chunk, -1)
        return np.where(chunk_mask[..., None], aligned, np.float32(0))

    def _read_visual(
        self, frames: np.ndarray, mask: np.ndarray
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Images and features of frames (b, t), by camera, zero where `mask` is false; one of the
        two is empty."""
        if self._features is not None:
            return {}, {name: _gather(rows, frames, mask) for name, rows in self._features.items()}
        return {name: _gather(rows, frames, mask) for name, rows in self._frames.items()}, {}


def _gather(rows: RowFile | np.ndarray | Tensor, frames: np.ndarray, mask: np.ndarray) -> Tensor:
    """Rows of `frames` (b, t) as a tensor (b, t, ...), zero where `mask` is false; on the device of
    `rows`."""
    if isinstance(rows, Tensor):
        indices = torch.from_numpy(np.where(mask, frames, 0)).to(rows.device)
        is_missing = ~torch.from_numpy(mask).to(rows.device)
        gathered = rows[indices]
        ones = [1] * (gathered.ndim - 2)
        return gathered.masked_fill_(is_missing.view(*mask.shape, *ones), 0)
    # Only rows that are there are read, straight to their index in `out`.
    shape = rows.shape if isinstance(rows, RowFile) else rows.shape[1:]
    out = np.empty((frames.size, *shape), rows.dtype)
    targets = np.flatnonzero(mask)
    indices = frames.reshape(-1)[targets]
    if isinstance(rows, RowFile):
        rows.gather(indices, out, targets)
    else:
        out[targets] = rows[indices]
    out[~mask.reshape(-1)] = 0
    return torch.from_numpy(out).view(*frames.shape, *shape)


def _rows(array: np.ndarray) -> RowFile | np.ndarray:
    """The file behind a memory-mapped array; any other array as it is."""
    file = RowFile.of(array)
    return array if file is None else file


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
