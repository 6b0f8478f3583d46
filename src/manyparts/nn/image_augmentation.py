"""Image augmentation of a batch of windows: all steps of a window are changed equally.

Random numbers are drawn on the generator's device and then moved, so that a seed gives the same
augmentation wherever the images are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def random_shift(images: Tensor, pixels: int, generator: Generator) -> Tensor:
    """Shift images by a random number of pixels, repeating the border; one shift per window.

    Args:
        images: uint8 (b, t, c, h, w).
        pixels: Largest shift in each direction.
        generator: Source of the shifts.
    """
    b, t, c, h, w = images.shape
    if pixels == 0:
        return images
    shifts = torch.randint(
        -pixels, pixels + 1, (2, b, 1), generator=generator, device=generator.device
    )
    down, right = shifts.to(images.device)
    rows = (torch.arange(h, device=images.device) + down).clamp(0, h - 1)
    columns = (torch.arange(w, device=images.device) + right).clamp(0, w - 1)
    # Row-major pixel indices, (b, h, w) flattened: one gather moves all steps and channels of a
    # window at once, and `expand` repeats the indices without copying them.
    index = (rows[:, :, None] * w + columns[:, None, :]).view(b, 1, h * w).expand(b, t * c, h * w)
    return images.view(b, t * c, h * w).gather(2, index).view(b, t, c, h, w)


def random_resized_crop(images: Tensor, scale: tuple[float, float], generator: Generator) -> Tensor:
    """Cut a random square part of images and resize it to the whole; one cut per window.

    Args:
        images: uint8 (b, t, c, h, w).
        scale: Smallest and largest fraction of the side that is kept, each in (0, 1].
        generator: Source of the cuts.
    """
    b, t, c, h, w = images.shape
    low, high = scale
    kept = low + (high - low) * _uniform((b,), generator, images)
    # In the coordinates of `affine_grid` an image is [-1, 1]: a cut of half-width `kept` stays
    # inside if its centre is within 1 - kept.
    centre = (_uniform((2, b), generator, images) * 2 - 1) * (1 - kept)
    matrix = torch.zeros(b, 2, 3, device=images.device)
    matrix[:, 0, 0] = matrix[:, 1, 1] = kept
    matrix[:, 0, 2], matrix[:, 1, 2] = centre
    grid = F.affine_grid(matrix, [b, t * c, h, w], align_corners=False)
    flat = images.reshape(b, t * c, h, w).float()
    cut = F.grid_sample(flat, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return cut.round_().clamp_(0, 255).to(torch.uint8).view(b, t, c, h, w)


def brightness(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Scale images by a random factor; one factor per window.

    Args:
        images: uint8 (b, t, c, h, w).
        strength: The factor is drawn from [1 - strength, 1 + strength].
        generator: Source of the factors.
    """
    if strength == 0:
        return images
    factor = 1 + strength * (2 * _uniform((len(images), 1, 1, 1, 1), generator, images) - 1)
    return (images * factor).round_().clamp_(0, 255).to(torch.uint8)


def _uniform(shape: tuple[int, ...], generator: Generator, like: Tensor) -> Tensor:
    """Return numbers in [0, 1) on the device of `like`."""
    return torch.rand(shape, generator=generator, device=generator.device).to(like.device)
