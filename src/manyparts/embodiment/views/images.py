"""Images as a view shows them: a box of them, at another size."""

from __future__ import annotations

import numpy as np
from PIL import Image

from manyparts.core.errors import UserError
from manyparts.embodiment.views.view import Box, Fit


def require_box(box: Box, camera: str, size: tuple[int, int]) -> None:
    """Raise UserError unless a box lies within a camera's image.

    Args:
        box: Top, left, height and width in pixels.
        camera: The camera's name, for the message.
        size: Height and width of its images.
    """
    top, left, height, width = box
    if top + height > size[0] or left + width > size[1]:
        raise UserError(
            f"view.crop of {camera} is {list(box)}, which reaches to row {top + height} and column "
            f"{left + width}; its images are {size[0]}x{size[1]}"
        )


def resized(
    frames: np.ndarray, box: Box | None, size: tuple[int, int] | None, fit: Fit
) -> np.ndarray:
    """Return images at another size, by Pillow's bilinear filter, which averages when it shrinks.

    Args:
        frames: uint8 (..., h, w, 3).
        box: What is kept of each image before, as top, left, height and width; None: all.
        size: Height and width of the result; None: those of the box.
        fit: See `View.fit`.

    Returns:
        uint8 (..., height, width, 3).
    """
    if box is not None:
        top, left, height, width = box
        frames = frames[..., top : top + height, left : left + width, :]
    if size is None or frames.shape[-3:-1] == size:
        return frames
    flat = frames.reshape(-1, *frames.shape[-3:])
    out = np.zeros((len(flat), *size, 3), np.uint8)
    for source, target in zip(flat, out, strict=True):
        _resize(source, target, fit)
    return out.reshape(*frames.shape[:-3], *size, 3)


def _resize(source: np.ndarray, target: np.ndarray, fit: Fit) -> None:
    """Write an image (h, w, 3) to another one of another size, which is black."""
    height, width = source.shape[:2]
    rows, columns = target.shape[:2]
    inner = (rows, columns)
    if fit == "pad":
        ratio = min(rows / height, columns / width)
        inner = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    elif fit == "crop":
        # Cut before resizing: Pillow's own box lets the pixels next to it shine through.
        ratio = max(rows / height, columns / width)
        source = _middle(source, max(1, round(rows / ratio)), max(1, round(columns / ratio)))
    image = Image.fromarray(np.ascontiguousarray(source))
    made = image.resize((inner[1], inner[0]), Image.Resampling.BILINEAR)
    top, left = (rows - inner[0]) // 2, (columns - inner[1]) // 2
    target[top : top + inner[0], left : left + inner[1]] = np.asarray(made)


def _middle(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of an image, which is at least as large."""
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]
