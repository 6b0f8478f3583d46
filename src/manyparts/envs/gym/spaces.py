"""Why a value is outside of a space, in words."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np

from manyparts.core.printing import short
from manyparts.envs.gym.values import array_of

_SHOWN = 3  # keys in a line


def outside(space: gymnasium.Space, value: Any, name: str = "") -> Iterator[str]:
    """Yield each part of a value that a space does not hold, and why.

    Args:
        space: The space.
        value: What was observed.
        name: The value's path.
    """
    shown = name or "the observation"
    parts: list[tuple[Any, gymnasium.Space, Any]] = []
    if isinstance(space, gymnasium.spaces.Dict):
        if not isinstance(value, Mapping):
            yield f"{shown} ({short(value)} and not a dict)"
            return
        different = sorted(set(map(str, value)) ^ set(map(str, space.spaces)))
        if different:
            yield f"{shown} (keys differ in {', '.join(different[:_SHOWN])})"
        parts = [(key, space.spaces[key], value[key]) for key in space.spaces if key in value]
    elif isinstance(space, gymnasium.spaces.Tuple):
        if not isinstance(value, tuple) or len(value) != len(space.spaces):
            yield f"{shown} ({short(value)} and not a tuple of {len(space.spaces)})"
            return
        parts = [(number, space.spaces[number], each) for number, each in enumerate(value)]
    elif reason := _why_leaf(space, value):
        yield f"{shown} ({reason})"
    for key, inner, each in parts:
        yield from outside(inner, each, f"{name}/{key}" if name else str(key))


def _why_leaf(space: gymnasium.Space, value: Any) -> str:
    """Why a space of no parts does not hold a value; "" if it does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of what is said here
        if space.contains(value):
            return ""
    if isinstance(space, gymnasium.spaces.Text) and isinstance(value, str):
        missing = "".join(sorted(set(value) - set(space.character_set)))
        if missing:
            return f"it has the characters {missing!r}, which are not in its charset"
        return f"{len(value)} characters and not {space.min_length} to {space.max_length}"
    if not isinstance(space, gymnasium.spaces.Box):
        return f"{short(value)}, outside of {space}"
    array = array_of(value)
    if array.shape != space.shape:
        return f"shape {array.shape} and not {space.shape}"
    if not np.can_cast(array.dtype, space.dtype):
        return f"{array.dtype} and not {space.dtype}"
    low, high = float(np.min(space.low)), float(np.max(space.high))
    return (
        f"{float(array.min()):g} to {float(array.max()):g}, beyond its bounds {low:g} to {high:g}"
    )
