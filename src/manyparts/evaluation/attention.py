"""Where an agent's visual tokens look along an episode: kept by the evaluation, drawn in the
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
from manyparts.data.sampling.prompts import evenly_spaced

if TYPE_CHECKING:
    from manyparts.agents.policy import PolicyAgent

STEPS_SHOWN = 6
_COLOUR, _STRONGEST = np.array([230, 60, 0]), 0.85
_PALE = (70, 235)  # what black and white become


@dataclass(frozen=True)
class Attention:
    """Frames that an agent saw in one episode, and where its visual tokens looked in them.

    steps: int64 (n,), the environment's. frames: camera to uint8 (n, h, w, 3). maps: camera to
    float32 (n, tokens, maps, rows, columns), as of `PolicyAgent.attention`.
    """

    steps: np.ndarray
    frames: Mapping[str, np.ndarray]
    maps: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls, agent: PolicyAgent, seen: Sequence[tuple[int, Observation]], count: int = STEPS_SHOWN
    ) -> Attention:
        """Of `count` of the (step, observation) that the agent saw, evenly spaced from the first to
        the last."""
        places = np.unique(evenly_spaced(np.array([len(seen)]), count)).tolist()
        chosen = [seen[place] for place in places]
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
        """The inverse of `save`. Raises UserError naming the file if it cannot be read."""
        try:
            with np.load(path) as file:
                arrays = dict(file)
            frames, maps = (
                {
                    name.removeprefix(kind): array
                    for name, array in arrays.items()
                    if name.startswith(kind)
                }
                for kind in ("frames.", "maps.")
            )
            return cls(arrays["steps"], frames, maps)
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"cannot read {path}: {error}") from None


def overlay(frame: np.ndarray, weights: np.ndarray, *, size: int = 128) -> np.ndarray:
    """A frame in pale grey, coloured where it is looked at: uint8 (size', size, 3), `size` wide,
    its aspect kept.

    frame: uint8 (h, w, 3). weights: (rows, columns), at least 0, over the same picture;
    interpolated linearly. The colour is strongest at the largest weight and absent at none; so even
    weights colour the whole frame alike.
    """
    share = _resized(weights.astype(np.float32), frame, size, Image.Resampling.BILINEAR)[..., None]
    share = _STRONGEST * share / max(float(share.max()), np.finfo(np.float32).tiny)
    grey = _PALE[0] + (_PALE[1] - _PALE[0]) / 255 * resized(frame, size).mean(
        axis=-1, keepdims=True
    )
    return ((1 - share) * grey + share * _COLOUR).round().astype(np.uint8)


def resized(frame: np.ndarray, size: int) -> np.ndarray:
    """A frame uint8 (h, w, 3), `size` wide, its aspect kept."""
    return _resized(frame, frame, size, Image.Resampling.LANCZOS)


def spread(weights: np.ndarray) -> np.ndarray:
    """How much of the picture a token looks at: exp(entropy) of its weights (..., rows, columns) as
    a share of the places. 1: all of them alike; 1 / places: one."""
    flat = weights.reshape(*weights.shape[:-2], -1).astype(np.float64)
    entropy = -(flat * np.log(np.maximum(flat, np.finfo(np.float64).tiny))).sum(axis=-1)
    return np.exp(entropy) / flat.shape[-1]


def movement(weights: np.ndarray) -> np.ndarray:
    """How much of a token's weight (n, ..., rows, columns) lies elsewhere from one frame to the
    next: the mean total variation of successive frames. 0: it always looks at the same places; 1:
    never at one twice running."""
    changes = np.abs(np.diff(weights.astype(np.float64), axis=0)).sum(axis=(-2, -1)) / 2
    return changes.mean(axis=0) if len(changes) else np.zeros(weights.shape[1:-2])


def _resized(array: np.ndarray, frame: np.ndarray, size: int, how: Image.Resampling) -> np.ndarray:
    height = round(size * frame.shape[0] / frame.shape[1])
    return np.asarray(Image.fromarray(array).resize((size, height), how))
