"""What a Gymnasium environment returns, by path: numbers, images, texts and truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from manyparts.core.errors import UserError, closest
from manyparts.core.printing import short

INFO, OBSERVATION = "info:", "obs:"
_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Moment:
    """What an environment returned last, at its reset or after a step."""

    observation: Any
    """The observation, of any structure."""

    info: Mapping[str, Any]
    """The info."""

    reward: float = 0.0
    """The reward; 0 at a reset."""

    def value(self, path: str) -> Any:
        """Return the value at a path.

        Args:
            path: "key/inner" of the observation; "info:key" of the info; "obs:" alone for an
                observation without keys.

        Raises:
            UserError: There is no such key; the message names those that are there.
        """
        values = self.leaves(path)
        key = key_of(path)
        if key not in values:
            where = "info" if path.startswith(INFO) else "the observation"
            near = closest(key, values) if values else "it is empty"
            raise UserError(f"{where} has no {key!r}; {near}")
        return values[key]

    def holds(self, path: str) -> bool:
        """Return whether there is a value at a path."""
        return key_of(path) in self.leaves(path)

    def expanded(self, path: str) -> list[str]:
        """Return the paths of a pattern such as "info:proprio/*", in the order of their values.

        Args:
            path: A path, or a path with a star at its end.

        Raises:
            UserError: Nothing begins as the pattern does.
        """
        if not path.endswith("*"):
            return [path]
        prefix, start = path[: len(path) - len(key_of(path))], key_of(path)[:-1]
        keys = [key for key in self.leaves(path) if key.startswith(start)]
        if not keys:
            near = closest(start, self.leaves(path))
            raise UserError(f"nothing is called {path!r}; {near}")
        return [prefix + key for key in keys]

    def leaves(self, path: str) -> dict[str, Any]:
        """Return all values of the tree that a path is of, by their keys."""
        return dict(leaves(self.info if path.startswith(INFO) else self.observation))


def key_of(path: str) -> str:
    """Return a path without its tree: "agent_pos" of "obs:agent_pos"."""
    return path.removeprefix(INFO) if path.startswith(INFO) else path.removeprefix(OBSERVATION)


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings and tuples with their keys, joined by "/"."""
    children: Any = ()
    if isinstance(tree, Mapping):
        children = tree.items()
    elif isinstance(tree, tuple):
        children = enumerate(tree)
    else:
        yield prefix, tree
    for key, child in children:
        yield from leaves(child, f"{prefix}/{key}" if prefix else str(key))


def array_of(value: Any) -> np.ndarray:
    """Return a value as an array; as one of objects where it is ragged."""
    try:
        return np.asarray(value)
    except ValueError:
        return np.array(None)


def numbers(value: Any, name: str) -> np.ndarray:
    """Return a value as numbers, float32 (n,), a copy.

    Args:
        value: A number, or an array of any shape.
        name: What it is, for the error.

    Raises:
        UserError: It holds something else, or a number that is not finite.
    """
    array = array_of(value)
    if array.dtype.kind not in "biuf":
        raise UserError(f"{name or 'the observation'} is {short(value)}; expected numbers")
    flat = array.astype(np.float32).reshape(-1)
    if not np.isfinite(flat).all():
        raise UserError(f"{name or 'the observation'} holds NaN or infinity; expected numbers")
    return flat


def number_names(key: str, value: Any) -> list[str]:
    """Return a name for each number of a value: "key", or "key_0", "key_1" and so on."""
    size = array_of(value).size
    name = key or "state"
    return [name] if size == 1 else [f"{name}_{index}" for index in range(size)]


def image(value: Any, name: str) -> np.ndarray:
    """Return a value as an image, uint8 (h, w, 3).

    Grey images, and those with their channels first, are brought into this form.

    Args:
        value: uint8 (h, w), or with 1 or 3 channels, which come last or first.
        name: What it is, for the error.

    Raises:
        UserError: It is no such array.
    """
    array = array_of(value)
    problem = why_no_image(array)
    if problem:
        raise UserError(f"{name} is {problem}; expected an image, uint8 (h, w, 3)")
    if array.ndim == 2:
        array = array[..., None]
    if array.shape[-1] not in _CHANNELS:
        array = np.moveaxis(array, 0, -1)
    # A copy, since environments may draw their next image into the same array.
    return np.array(np.broadcast_to(array, (*array.shape[:2], 3)))


def why_no_image(array: np.ndarray) -> str:
    """Return what an array is instead of an image; "" if it is one."""
    is_flat = array.ndim == 2
    has_channels = array.ndim == 3 and (array.shape[-1] in _CHANNELS or array.shape[0] in _CHANNELS)
    if array.dtype == np.uint8 and (is_flat or has_channels):
        return ""
    return f"{array.dtype} of shape {array.shape}"


def resized(pixels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Return an image in another size, each pixel the mean of those that it covers.

    Args:
        pixels: uint8 (h, w, 3).
        size: The new height and width; another aspect ratio squashes the image.
    """
    height, width = size
    if pixels.shape[:2] == (height, width):
        return pixels
    # What is enlarged keeps its hard pixels.
    drawn = Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX)
    return np.asarray(drawn)


def truth(value: Any, name: str) -> bool:
    """Return a value as truth: a bool, 0 or 1, or an array with one of them.

    Args:
        value: Such as True, np.float32(1.0) or np.array(False).
        name: What it is, for the error.

    Raises:
        UserError: It is something else, such as a fraction.
    """
    if not is_truth(value):
        raise UserError(f"{name} is {short(value)}; expected true or false")
    return bool(array_of(value).reshape(()))


def is_truth(value: Any) -> bool:
    """Return whether a value is a truth: a bool, 0 or 1, or an array with one of them."""
    array = array_of(value)
    return array.size == 1 and array.dtype.kind in "biuf" and bool(np.isin(array, (0, 1)).all())


def scalar_reward(value: Any) -> float:
    """Return a step's reward as a number.

    Raises:
        UserError: It is several numbers, none, or not finite.
    """
    array = array_of(value)
    if array.dtype.kind not in "biuf":
        raise UserError(f"its reward is {short(value)}; expected a number")
    if array.size != 1:
        raise UserError(
            f"its reward is a vector of shape {array.shape}; expected one number: wrap the "
            "environment so that it says how its rewards are weighed"
        )
    if not np.isfinite(array).all():
        raise UserError(f"its reward is {float(array.reshape(()))}; expected a finite number")
    return float(array.reshape(()))
