"""Why a value is outside of a space, in words."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from manyparts.core.printing import short
from manyparts.envs.gym.values import array_of


def why_outside(space: gymnasium.Space, value: Any, name: str = "") -> str:
    """Return what of a value a space does not hold, and why; "" if it holds all of it.

    Args:
        space: The space.
        value: What was observed.
        name: The value's path.
    """
    shown = name or "the observation"
    if isinstance(space, gymnasium.spaces.Dict):
        if not isinstance(value, Mapping):
            return f"{shown}: it is {short(value)} and not a dict"
        different = sorted(set(map(str, value)) ^ set(map(str, space.spaces)))
        if different:
            return f"{shown}: its keys differ in {', '.join(different[:3])}"
        parts = [(key, space.spaces[key], value[key]) for key in space.spaces]
    elif isinstance(space, gymnasium.spaces.Tuple):
        if not isinstance(value, tuple) or len(value) != len(space.spaces):
            return f"{shown}: it is {short(value)} and not a tuple of {len(space.spaces)}"
        parts = [(number, space.spaces[number], each) for number, each in enumerate(value)]
    else:
        return _why_leaf(space, value, shown)
    for key, inner, each in parts:
        if reason := why_outside(inner, each, f"{name}/{key}" if name else str(key)):
            return reason
    return ""


def _why_leaf(space: gymnasium.Space, value: Any, name: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of what is said here
        if space.contains(value):
            return ""
    if not isinstance(space, gymnasium.spaces.Box):
        return f"{name}: it is {short(value)}, outside of {space}"
    array = array_of(value)
    if array.shape != space.shape:
        return f"{name}: its shape is {array.shape} and not {space.shape}"
    if not np.can_cast(array.dtype, space.dtype):
        return f"{name}: it is {array.dtype} and not {space.dtype}"
    low, high = float(np.min(space.low)), float(np.max(space.high))
    return (
        f"{name}: it reaches from {float(array.min()):g} to {float(array.max()):g}, and its bounds "
        f"are {low:g} to {high:g}"
    )
