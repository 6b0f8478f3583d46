"""Where an agent's visual tokens look along an episode: saved by the evaluation, drawn in the
report."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from manyparts.core.errors import UserError
from manyparts.core.records import Observation
from manyparts.core.storage.atomic import write_atomically
from manyparts.data.sampling.prompt_drawing import evenly_spaced

if TYPE_CHECKING:
    from manyparts.agents.policy import PolicyAgent

STEPS_SHOWN = 6
_COLOUR, _MAX_OPACITY = np.array([230, 60, 0]), 0.85
_PALE = (70, 235)  # the greys that black and white become


@dataclass(frozen=True)
class Attention:
    """Frames that an agent saw in one episode, and where its visual tokens looked in them."""

    steps: np.ndarray
    """The environment's steps of the frames, int64 (n,)."""

    frames: Mapping[str, np.ndarray]
    """uint8 (n, h, w, 3) by camera."""

    maps: Mapping[str, np.ndarray]
    """float32 (n, tokens, maps, rows, columns) by camera; see `PolicyAgent.attention`."""

    @classmethod
    def of(
        cls, agent: PolicyAgent, seen: Sequence[tuple[int, Observation]], count: int = STEPS_SHOWN
    ) -> Attention:
        """The attention of an agent at some steps of an episode.

        Args:
            agent: who saw the observations.
            seen: steps with their observations.
            count: number of steps, evenly spaced from the first to the last.
        """
        indices = np.unique(evenly_spaced(np.array([len(seen)]), count)).tolist()
        chosen = [seen[index] for index in indices]
        cameras = agent.spec.cameras
        frames = {
            name: np.stack([observation["images"][name] for _, observation in chosen])
            for name in cameras
        }
        return cls(np.array([step for step, _ in chosen]), frames, agent.attention(frames))

    def save(self, path: Path) -> None:
        """Write an .npz, all of it or nothing: steps, frames.<camera>, maps.<camera>."""
        arrays: dict[str, Any] = {"steps": self.steps}
        arrays |= {f"frames.{name}": array for name, array in self.frames.items()}
        arrays |= {f"maps.{name}": array for name, array in self.maps.items()}
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> Attention:
        """Read what `save` wrote.

        Raises:
            UserError: the file cannot be read.
        """
        try:
            with np.load(path) as file:
                arrays = dict(file)
            return cls(
                arrays["steps"], _with_prefix(arrays, "frames."), _with_prefix(arrays, "maps.")
            )
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"cannot read {path}: {error}") from None


def _with_prefix(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays with this prefix, by the rest of their names."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def overlay(frame: np.ndarray, weights: np.ndarray, *, size: int = 128) -> np.ndarray:
    """A frame in pale grey, coloured where it is looked at.

    The colour is strongest at the largest weight and absent at a weight of 0, so that equal weights
    colour the whole frame in the same way.

    Args:
        frame: uint8 (h, w, 3).
        weights: (rows, columns), at least 0, over the whole frame; interpolated linearly.
        size: width of the result in pixels; the aspect ratio is that of the frame.

    Returns:
        uint8 (height, size, 3).
    """
    fine = _resized(weights.astype(np.float32), frame, size, Image.Resampling.BILINEAR)[..., None]
    opacity = _MAX_OPACITY * fine / max(float(fine.max()), np.finfo(np.float32).tiny)
    brightness = resized(frame, size).mean(axis=-1, keepdims=True)
    grey = _PALE[0] + (_PALE[1] - _PALE[0]) / 255 * brightness
    return ((1 - opacity) * grey + opacity * _COLOUR).round().astype(np.uint8)


def resized(frame: np.ndarray, size: int) -> np.ndarray:
    """A frame in another size, with the same aspect ratio.

    Args:
        frame: uint8 (h, w, 3).
        size: width of the result in pixels.

    Returns:
        uint8 (height, size, 3).
    """
    return _resized(frame, frame, size, Image.Resampling.LANCZOS)


def spread(weights: np.ndarray) -> np.ndarray:
    """How much of the image a token looks at: exp(entropy) of its weights as a fraction of the
    cells.

    Args:
        weights: (..., rows, columns), each token's sum to 1.

    Returns:
        (...), from 1 / cells, if the token looks at one cell, to 1, if all weights are equal.
    """
    flat = weights.reshape(*weights.shape[:-2], -1).astype(np.float64)
    entropy = -(flat * np.log(np.maximum(flat, np.finfo(np.float64).tiny))).sum(axis=-1)
    return np.exp(entropy) / flat.shape[-1]


def movement(weights: np.ndarray) -> np.ndarray:
    """How much of a token's weight moves from one frame to the next: the mean total variation of
    successive frames.

    Args:
        weights: (n, ..., rows, columns) of n frames.

    Returns:
        (...), 0 if the token always looks at the same cells, 1 if never at the same ones in two
        successive frames.
    """
    changes = np.abs(np.diff(weights.astype(np.float64), axis=0)).sum(axis=(-2, -1)) / 2
    return changes.mean(axis=0) if len(changes) else np.zeros(weights.shape[1:-2])


def _resized(
    array: np.ndarray, frame: np.ndarray, size: int, resampling: Image.Resampling
) -> np.ndarray:
    """The array, `size` pixels wide and with the frame's aspect ratio."""
    height = round(size * frame.shape[0] / frame.shape[1])
    return np.asarray(Image.fromarray(array).resize((size, height), resampling))
