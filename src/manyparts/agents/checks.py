"""Checks of what agents take in and return.

Observations must fit and actions must be numbers; everything else is one line that says why not.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from manyparts.core.errors import DatasetWarning, UserError
from manyparts.core.spec import Spec
from manyparts.embodiment.codec import Codec

_MAX_STDS = 1e5  # a state farther from the mean than this is no state of this robot


def image_of(observation: Any, camera: str, size: tuple[int, int]) -> np.ndarray:
    """Return a camera's image in an observation, uint8 (h, w, 3).

    Args:
        observation: Of `act`, unchecked.
        camera: Name of the camera.
        size: Height and width in pixels that the agent was trained on.

    Raises:
        UserError: There is no such image; the error names what there is instead.
    """
    images = _entry(observation, "images")
    expected = (*size, 3)
    if not isinstance(images, Mapping) or camera not in images:
        present = _names_of(images) or "none"
        raise UserError(
            f"observation has no images[{camera!r}] (images: {present}); "
            f"this agent was trained on images[{camera!r}] of {expected}: make the environment "
            "with make(task, agent.environment)"
        )
    return pixels_of(images[camera], f"camera {camera!r}", expected)


def pixels_of(pixels: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return pixels as a uint8 array of this shape.

    Args:
        pixels: Anything that numpy can read.
        name: What they are, in the error.
        shape: The expected shape.

    Raises:
        UserError: The type, range or shape differs; the error says what to do.
    """
    array = _array(pixels, name)
    if array.dtype != np.uint8:
        raise UserError(
            f"{name} is {array.dtype}{_range(array)}; "
            f"images are uint8 in [0, 255]{_conversion(array)}"
        )
    if array.shape != shape:
        raise UserError(
            f"{name} is uint8 of {array.shape}; "
            f"this agent was trained on {shape}{_reshaping(array, shape)}"
        )
    return array


def numbers_of(observation: Any, dimension: int) -> np.ndarray:
    """Return the state in an observation as it is, (s,).

    Args:
        observation: Of `act`, unchecked.
        dimension: How many numbers it has to have.

    Raises:
        UserError: The state has another shape or type, or a number is not finite.
    """
    state = _array(_entry(observation, "state"), "state")
    if state.shape != (dimension,) or state.dtype.kind not in "fiub":
        raise UserError(
            f"observation has a state of {state.dtype} {state.shape}; this agent was trained on "
            f"numbers ({dimension},)"
        )
    if not np.isfinite(state).all():
        number = int(np.flatnonzero(~np.isfinite(state))[0])
        raise UserError(
            f"observation: number {number} of the state is {state[number]}; expected finite numbers"
        )
    return state


def state_of(observation: Any, codec: Codec) -> np.ndarray:
    """Return an observation's state, normalised: float32 (s,).

    Warns where a number that was constant in the agent's data has another value now, which the
    agent cannot make use of.

    Args:
        observation: Of `act`, unchecked.
        codec: Of the agent's embodiment; it normalises the state.

    Raises:
        UserError: The state has another shape or type, or a number is not finite or too far from
            the data.
    """
    expected = (codec.spec.state_dimension,)
    # An embodiment without a state needs no entry for it.
    state = _array(_entry(observation, "state") if expected[0] else (), "state")
    if state.shape != expected:
        raise UserError(
            f"observation has a state of {state.shape}; this agent was trained on {expected}: "
            "make the environment as its data was collected, such as with EnvConfig(state='full')"
        )
    if state.dtype.kind not in "fiub":
        raise UserError(f"state is {state.dtype}; expected float32 {expected}")
    # Overflows are no warnings of numpy's here: the next lines turn them into an error.
    with np.errstate(over="ignore", invalid="ignore"):
        normalised = codec.encode_state(state)
    # "not <" rather than ">=": nan fails every comparison.
    if not np.abs(normalised).max(initial=0) < _MAX_STDS:
        _refuse_state(state, normalised, codec)
    if codec.normaliser.low:
        # A number that is held looks normal whatever it is.
        if not np.isfinite(state).all():
            _refuse_state(state, normalised, codec)
        _warn_of_constants(state, codec)
    return normalised


def require_actions(action: np.ndarray, spec: Spec) -> np.ndarray:
    """Return the actions as they are, if all of their numbers are finite.

    Args:
        action: Actions (..., a) of a model.
        spec: The embodiment, which names the numbers in the error.

    Raises:
        UserError: A number is not finite.
    """
    if not np.isfinite(action).all():
        number = np.argwhere(~np.isfinite(action))[0, -1]
        raise UserError(
            f"the agent's action {spec.action.names[number]} is {action[..., number].ravel()[0]}; "
            "its weights or its prompt hold numbers that are not finite"
        )
    return action


def require_carry(carry: Any, kind: type) -> None:
    """Refuse a carry that no `act` of this agent returned, such as an observation.

    Args:
        carry: Of `act`, unchecked; None is allowed.
        kind: The class of this agent's carries.

    Raises:
        UserError: The carry is of another class.
    """
    if carry is not None and not isinstance(carry, kind):
        raise UserError(
            f"carry is of type {type(carry).__name__}; "
            "expected None or what act() returned at the step before: "
            "act(carry, observation, prompt, explore=...)"
        )


def _entry(observation: Any, name: str) -> Any:
    """Return an entry of an observation. Raises UserError where there is none."""
    if observation is None:
        raise UserError("act needs an observation where needs_observation says so")
    if not isinstance(observation, Mapping) or name not in observation:
        raise UserError(
            f"observation has no {name!r} ({_names_of(observation) or 'empty'}); "
            "expected {'images': {camera: uint8 (h, w, 3)}, 'state': float32 (s,)}"
        )
    return observation[name]


def _names_of(value: Any) -> str:
    """Return a mapping's names, or the type of anything else, for an error."""
    if isinstance(value, Mapping):
        return ", ".join(map(repr, value))
    return type(value).__name__


def _array(value: Any, name: str) -> np.ndarray:
    """Return a value as an array. Raises UserError if numpy cannot read it."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"{name} is a {type(value).__name__} that numpy cannot read: {reason}"
        ) from error


def _range(array: np.ndarray) -> str:
    """Return the range of numbers for an error; empty for anything else."""
    if not array.size or array.dtype.kind not in "fiu":
        return ""
    return f" in [{array.min():g}, {array.max():g}]"


def _conversion(array: np.ndarray) -> str:
    """Return how an array becomes uint8 pixels, if its range shows that."""
    if array.dtype.kind not in "fiu" or not array.size:
        return ""
    if not 0 <= array.min() <= array.max() <= 255:
        return ""
    is_fraction = array.dtype.kind == "f" and array.max() <= 1
    return f": {'(image * 255)' if is_fraction else 'image'}.astype(np.uint8)"


def _reshaping(array: np.ndarray, shape: tuple[int, ...]) -> str:
    """Return how an array gets the expected shape, if its own shows that."""
    if array.shape == (*shape[:-3], shape[-1], *shape[-3:-1]):
        return ": channels come last, np.moveaxis(image, -3, -1)"
    if array.shape == (1, *shape):
        return ": one image without a batch, image[0]"
    return ""


def _refuse_state(state: np.ndarray, normalised: np.ndarray, codec: Codec) -> None:
    """Raise UserError with the first number that is not finite, else the first that is too far."""
    names, normaliser = codec.spec.state_names, codec.normaliser
    for number in np.flatnonzero(~np.isfinite(state))[:1]:
        raise UserError(f"observation: {names[number]} is {state[number]}; expected finite numbers")
    number = int(np.argmax(~(np.abs(normalised) < _MAX_STDS)))
    raise UserError(
        f"observation: {names[number]} is {state[number]:g}; this agent was trained on "
        f"{normaliser.mean[number]:g} with a std of {normaliser.std[number]:g}: "
        "is it in other units?"
    )


def _warn_of_constants(state: np.ndarray, codec: Codec) -> None:
    """Warn of each number that was constant in the agent's data and has another value now."""
    names, normaliser = codec.spec.state_names, codec.normaliser
    for number in np.flatnonzero(normaliser.held(state)):
        warnings.warn(
            f"state {names[number]} was always {normaliser.mean[number]:g} "
            "in the agent's data and is another now: the agent cannot make use of it, "
            "and acts as if it were the same",
            DatasetWarning,
            stacklevel=4,
        )
