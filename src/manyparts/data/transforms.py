"""Normalising states, and augmenting images on batches: every step of a window moves alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from manyparts.data.formats.reader import STATE
from manyparts.data.statistics import ROUNDING, Statistics

_SMALLEST_DEVIATION = 1e-3


@dataclass(frozen=True)
class StateNormaliser:
    """States to mean 0 and std 1 a dimension, and back. A std below 1e-3 counts as 1e-3.

    A number that never moved in the data tells no scale, and weights know nothing of it: it is held at what it was,
    whatever it is given as. low, high: (s,), where such numbers are held, infinite for all others; empty if there are
    none.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @classmethod
    def of(cls, statistics: Statistics, dimension: int) -> StateNormaliser:
        """From a dataset's statistics; of no dimension where the dataset has no state."""
        if dimension == 0:
            return cls((), ())
        state = statistics[STATE]
        still = state.still
        if not still.any():
            return cls(state.mean, state.std)
        low, high = np.where(still, state.min, -np.inf), np.where(still, state.max, np.inf)
        return cls(state.mean, state.std, tuple(low.tolist()), tuple(high.tolist()))

    def __call__(self, state: np.ndarray) -> np.ndarray:
        """(..., s) in the simulator's units to float32 (..., s) without unit, as weights are to see it."""
        return self.scaled(np.clip(state, self.low, self.high) if self.low else state)

    def scaled(self, state: np.ndarray) -> np.ndarray:
        """As `__call__`, with nothing held: what really happened, for whoever measures errors."""
        return ((state - np.asarray(self.mean)) / self.deviation).astype(np.float32)

    def inverse(self, state: np.ndarray) -> np.ndarray:
        """Back to the simulator's units, float32 (..., s)."""
        return (state * self.deviation + np.asarray(self.mean)).astype(np.float32)

    def held(self, state: np.ndarray) -> np.ndarray:
        """bool (..., s): numbers of states (..., s) that are held at another value than they have."""
        if not self.low:
            return np.zeros(np.shape(state), bool)
        return np.abs(state - np.clip(state, self.low, self.high)) > ROUNDING * np.maximum(np.abs(state), 1)

    @property
    def deviation(self) -> np.ndarray:
        """What a deviation of 1 is in the simulator's units, (s,)."""
        return np.maximum(np.asarray(self.std), _SMALLEST_DEVIATION)


def random_shift(images: Tensor, pixels: int, generator: Generator) -> Tensor:
    """Move uint8 (b, t, c, h, w) by up to `pixels` in each direction, repeating the border; one shift a window, drawn
    where the generator is, so that it is the same wherever the images are."""
    b, t, c, h, w = images.shape
    if pixels == 0:
        return images
    drawn = torch.randint(-pixels, pixels + 1, (2, b, 1), generator=generator, device=generator.device)
    down, right = drawn.to(images.device)
    rows = (torch.arange(h, device=images.device) + down).clamp(0, h - 1)
    columns = (torch.arange(w, device=images.device) + right).clamp(0, w - 1)
    index = (rows[:, :, None] * w + columns[:, None, :]).view(b, 1, h * w).expand(b, t * c, h * w)
    return images.view(b, t * c, h * w).gather(2, index).view(b, t, c, h, w)


def random_resized_crop(images: Tensor, scale: tuple[float, float], generator: Generator) -> Tensor:
    """Cut a square share of uint8 (b, t, c, h, w) and stretch it back to (h, w); one cut a window.

    scale: smallest and largest share of the side that is kept, each in (0, 1].
    """
    b, t, c, h, w = images.shape
    low, high = scale
    kept = low + (high - low) * _uniform((b,), generator, images)
    centre = (_uniform((2, b), generator, images) * 2 - 1) * (1 - kept)
    matrix = torch.zeros(b, 2, 3, device=images.device)
    matrix[:, 0, 0] = matrix[:, 1, 1] = kept
    matrix[:, 0, 2], matrix[:, 1, 2] = centre
    grid = F.affine_grid(matrix, [b, t * c, h, w], align_corners=False)
    flat = images.reshape(b, t * c, h, w).float()
    cut = F.grid_sample(flat, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return cut.round_().clamp_(0, 255).to(torch.uint8).view(b, t, c, h, w)


def brightness(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Scale uint8 (b, t, c, h, w) by a factor drawn from [1 - strength, 1 + strength]; one factor a window."""
    if strength == 0:
        return images
    factor = 1 + strength * (2 * _uniform((len(images), 1, 1, 1, 1), generator, images) - 1)
    return (images * factor).round_().clamp_(0, 255).to(torch.uint8)


def _uniform(shape: tuple[int, ...], generator: Generator, like: Tensor) -> Tensor:
    """Numbers in [0, 1) for `like`'s device, drawn where the generator is."""
    return torch.rand(shape, generator=generator, device=generator.device).to(like.device)
