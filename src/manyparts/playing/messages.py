"""What a page may ask for: one JSON object a message, checked field by field."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from manyparts.core.errors import UserError, closest
from manyparts.core.printing import printable, short
from manyparts.core.spec import Spec
from manyparts.playing.hand import Wish

MAX_INSTRUCTION = 300  # letters
_SMALL_BYTES = 1 << 16  # of a message without images


def max_bytes(specs: Sequence[Spec]) -> int:
    """Return how many bytes a message may have: the goal images of the largest robot.

    Args:
        specs: Of all robots that can be played with.
    """
    pixels = [sum(3 * h * w for h, w in spec.cameras.values()) for spec in specs]
    return _SMALL_BYTES + 2 * max(pixels, default=0)


def read(data: bytes | str) -> Mapping[str, Any]:
    """Return a message.

    Args:
        data: As it came.

    Raises:
        UserError: It is no JSON object with a text `type`.
    """
    if isinstance(data, bytes):
        raise UserError("the message is binary; expected JSON text")
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the message is no JSON: {type(error).__name__}") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise UserError("the message is no JSON object with a text `type`")
    return message


def word(message: Mapping[str, Any], name: str, choices: Sequence[str]) -> str:
    """Return a field that is one of some words.

    Raises:
        UserError: It is none of them.
    """
    value = message.get(name)
    if not isinstance(value, str) or value not in choices:
        written = value if isinstance(value, str) else ""
        near = closest(written[:60], choices)
        raise UserError(f"{name} is {_shown(value)}; {near}")
    return value


def flag(message: Mapping[str, Any], name: str) -> bool:
    """Return a field that is true or false."""
    value = message.get(name)
    if not isinstance(value, bool):
        raise UserError(f"{name} is {_shown(value)}; expected true or false")
    return value


def verdict(message: Mapping[str, Any], name: str) -> bool | None:
    """Return a field that is true, false or null."""
    return None if message.get(name) is None else flag(message, name)


def whole(message: Mapping[str, Any], name: str, low: int, high: int) -> int:
    """Return a whole number from low to high."""
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UserError(f"{name} is {_shown(value)}; expected a whole number, {low} to {high}")
    return value


def number(message: Mapping[str, Any], name: str, low: float, high: float) -> float:
    """Return a finite number from low to high."""
    return _number(message.get(name), name, low, high)


def text(message: Mapping[str, Any], name: str, limit: int = MAX_INSTRUCTION) -> str:
    """Return a text of one line that is not empty."""
    value = message.get(name)
    if not isinstance(value, str):
        raise UserError(f"{name} is {_shown(value)}; expected text")
    line = " ".join(value.split())
    if not line or len(line) > limit:
        raise UserError(f"{name} has {len(line)} letters; expected 1 to {limit}")
    if not line.isprintable():
        raise UserError(f"{name} has control characters: {printable(line)[:60]}")
    return line


def wish(message: Mapping[str, Any], spec: Spec) -> Wish:
    """Return what a person presses.

    Raises:
        UserError: A number or a dimension is not the robot's.
    """
    choice = None
    if message.get("choice") is not None:
        if not spec.action.choices:
            raise UserError(f"{spec.embodiment} acts by numbers; there is nothing to choose")
        choice = whole(message, "choice", 0, len(spec.action.choices) - 1)
    dimension = spec.action.dimension
    return Wish(
        deflection=_of_dimensions(message.get("deflection"), "deflection", dimension),
        pointed=_of_dimensions(message.get("pointed"), "pointed", dimension),
        choice=choice,
    )


def images(message: Mapping[str, Any], name: str, spec: Spec) -> dict[str, np.ndarray]:
    """Return an image for each of a robot's cameras, uint8 (h, w, 3).

    They come as raw pixels of the cameras' size, so that nothing is decoded here.

    Raises:
        UserError: A camera is missing, or an image is not base64 or of another size.
    """
    value = message.get(name)
    if not isinstance(value, dict) or value.keys() != spec.cameras.keys():
        expected = ", ".join(spec.cameras) or "none"
        raise UserError(f"{name} is {_shown(value)}; expected an image for each camera: {expected}")
    return {camera: _image(value[camera], camera, size) for camera, size in spec.cameras.items()}


def _image(value: Any, camera: str, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    if not isinstance(value, str):
        raise UserError(f"the image of {camera} is {_shown(value)}; expected base64")
    try:
        pixels = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"the image of {camera} is no base64") from error
    if len(pixels) != height * width * 3:
        raise UserError(
            f"the image of {camera} has {len(pixels)} bytes; expected {height}x{width} pixels of 3"
        )
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def _of_dimensions(value: Any, name: str, dimension: int) -> dict[int, float]:
    """Numbers from -1 to 1 by the dimension of an action that they are for."""
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > dimension:
        raise UserError(f"{name} is {_shown(value)}; expected numbers by dimension")
    numbers = {}
    for key, each in value.items():
        if not (key.isascii() and key.isdigit() and len(key) < 6 and int(key) < dimension):
            raise UserError(f"{name} has dimension {_shown(key)}; expected 0 to {dimension - 1}")
        numbers[int(key)] = _number(each, f"{name}[{key}]", -1, 1)
    return numbers


def _number(value: Any, name: str, low: float, high: float) -> float:
    valid = isinstance(value, int | float) and not isinstance(value, bool)
    if not valid or not low <= value <= high:  # which nan is not, either
        raise UserError(f"{name} is {_shown(value)}; expected a number, {low:g} to {high:g}")
    return float(value)


def _shown(value: Any) -> str:
    return printable(short(value))[:80]
