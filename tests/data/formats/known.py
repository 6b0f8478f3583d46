"""Numbers and images that say which episode, step, dimension and camera they are of.

A wrong row, camera, axis or order of colours is seen at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIDES = (48, 64)  # height and width


def numbers(episode: int, rows: int, width: int, first: int = 0) -> np.ndarray:
    """float32 (rows, width): 100 episode + step + dimension / 64, with dimensions from `first`."""
    steps = np.arange(rows)[:, None]
    return (100 * episode + steps + (first + np.arange(width)) / 64).astype(np.float32)


def small_numbers(episode: int, rows: int, width: int) -> np.ndarray:
    """The same between -1 and 1."""
    return numbers(episode, rows, width) / 8192


def images(episode: int, rows: int, camera: int = 0, sides: tuple[int, int] = SIDES) -> np.ndarray:
    """uint8 (rows, h, w, 3): white above on the left, red on the right, one colour below, which
    says the episode (red), the step (green) and the camera (blue). JPEG does not spoil it."""
    height, width = sides
    frames = np.empty((rows, height, width, 3), np.uint8)
    for step in range(rows):
        frames[step] = (20 + 8 * episode, 20 + 8 * step, 40 + 50 * camera)
    frames[:, : height // 2, : width // 2] = 245
    frames[:, : height // 2, width // 2 :] = (220, 30, 30)
    return frames


@dataclass(frozen=True)
class Seen:
    """What an image shows."""

    episode: int
    step: int
    camera: int
    upside_down: bool = False
    mirrored: bool = False
    red_is_blue: bool = False


def look(image: np.ndarray) -> Seen:
    """What an image (h, w, 3) shows."""
    height, width = image.shape[:2]
    middles = {}
    for row in (0, 1):
        for column in (0, 1):
            y, x = height // 4 + row * height // 2, width // 4 + column * width // 2
            middles[row, column] = np.median(image[y - 3 : y + 4, x - 3 : x + 4], axis=(0, 1))
    ((row, column),) = [where for where, colour in middles.items() if colour.min() > 215]
    mark, colour = middles[row, 1 - column], middles[1 - row, 0]
    exchanged = bool(mark[2] > mark[0])
    red, green, blue = colour[::-1] if exchanged else colour
    return Seen(
        round((red - 20) / 8),
        round((green - 20) / 8),
        round((blue - 40) / 50),
        upside_down=row == 1,
        mirrored=column == 1,
        red_is_blue=exchanged,
    )
