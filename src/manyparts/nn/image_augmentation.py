"""Augmented images of a batch: every step of a window moves alike."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def random_shift(images: Tensor, pixels: int, generator: Generator) -> Tensor:
    """Move uint8 (b, t, c, h, w) by up to `pixels` in each direction, repeating the border; one
    shift a window, drawn where the generator is, so that it is the same wherever the images are."""
    b, t, c, h, w = images.shape
    if pixels == 0:
        return images
    drawn = torch.randint(
        -pixels, pixels + 1, (2, b, 1), generator=generator, device=generator.device
    )
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
    """Scale uint8 (b, t, c, h, w) by a factor drawn from [1 - strength, 1 + strength]; one factor a
    window."""
    if strength == 0:
        return images
    factor = 1 + strength * (2 * _uniform((len(images), 1, 1, 1, 1), generator, images) - 1)
    return (images * factor).round_().clamp_(0, 255).to(torch.uint8)


def _uniform(shape: tuple[int, ...], generator: Generator, like: Tensor) -> Tensor:
    """Numbers in [0, 1) for `like`'s device, drawn where the generator is."""
    return torch.rand(shape, generator=generator, device=generator.device).to(like.device)
