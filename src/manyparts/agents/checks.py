"""What agents take in and give out: observations that fit, actions that are numbers, or one line
that says why not."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from manyparts.core.errors import DatasetWarning, UserError
from manyparts.core.spec import Spec
from manyparts.embodiment.normalisation import StateNormaliser

_FAR = 1e5  # stds from the mean beyond which a state is no state of this robot


def image_of(observation: Any, camera: str, size: tuple[int, int]) -> np.ndarray:
    """A camera's image in an observation, uint8 (h, w, 3) of `size`. Raises UserError naming what
    it is instead."""
    images = _entry(observation, "images")
    if not isinstance(images, Mapping) or camera not in images:
        given = (
            ", ".join(map(repr, images)) if isinstance(images, Mapping) else type(images).__name__
        )
        raise UserError(
            f"observation has no images[{camera!r}] (images: {given or 'none'}); this agent was trained on "
            f"images[{camera!r}] of {(*size, 3)}"
        )
    return pixels_of(images[camera], f"camera {camera!r}", (*size, 3))


def pixels_of(given: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Pixels as a uint8 array of this shape. name: what they are, in the error. Raises UserError
    naming dtype, range or shape, and what to do."""
    array = _array(given, name)
    if array.dtype != np.uint8:
        raise UserError(
            f"{name} is {array.dtype}{_range(array)}; images are uint8 in [0, 255]{_to_pixels(array)}"
        )
    if array.shape != shape:
        raise UserError(
            f"{name} is uint8 of {array.shape}; this agent was trained on {shape}{_to_shape(array, shape)}"
        )
    return array


def state_of(observation: Any, spec: Spec, normaliser: StateNormaliser) -> np.ndarray:
    """An observation's state, normalised: float32 (s,).

    Warns where a number that never moved in the agent's data is another one now, which it cannot
    make use of. Raises UserError for a state of another shape or kind, or numbers that are not
    finite or too far away to be meant.
    """
    expected = (spec.state_dimension,)
    state = _array(_entry(observation, "state") if expected[0] else (), "state")
    if state.shape != expected:
        raise UserError(
            f"observation has a state of {state.shape}; this agent was trained on {expected}: make the environment as "
            "its data was collected, such as with EnvConfig(state='full')"
        )
    if state.dtype.kind not in "fiub":
        raise UserError(f"state is {state.dtype}; expected float32 {expected}")
    with np.errstate(over="ignore", invalid="ignore"):
        normalised = normaliser(state)
    if not (np.abs(normalised) < _FAR).all() or not np.isfinite(state).all():
        _refuse(state, normalised, spec, normaliser)
    if normaliser.low:
        _warn_of_held(state, spec, normaliser)
    return normalised


def require_actions(action: np.ndarray, spec: Spec) -> np.ndarray:
    """The actions (..., a) that a model gave. Raises UserError where one is not finite."""
    if not np.isfinite(action).all():
        number = np.argwhere(~np.isfinite(action))[0, -1]
        raise UserError(
            f"the agent's action {spec.action.names[number]} is {action[..., number].ravel()[0]}; its weights or "
            "its prompt hold numbers that are not finite"
        )
    return action


def require_carry(carry: Any, kind: type) -> None:
    """Raises UserError for a carry that no `act` of this agent returned, such as an observation in
    its place."""
    if carry is not None and not isinstance(carry, kind):
        raise UserError(
            f"carry is of type {type(carry).__name__}; expected None or what act() returned at the step before: "
            "act(carry, observation, prompt, explore=...)"
        )


def _entry(observation: Any, name: str) -> Any:
    if observation is None:
        raise UserError("act needs an observation where needs_observation says so")
    if not isinstance(observation, Mapping) or name not in observation:
        keys = (
            ", ".join(map(repr, observation))
            if isinstance(observation, Mapping)
            else type(observation).__name__
        )
        raise UserError(
            f"observation has no {name!r} ({keys or 'empty'}); expected {{'images': {{camera: uint8 (h, w, 3)}}, "
            "'state': float32 (s,)}"
        )
    return observation[name]


def _array(given: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"{name} is a {type(given).__name__} that numpy cannot read: {reason}"
        ) from error


def _range(array: np.ndarray) -> str:
    return (
        f" in [{array.min():g}, {array.max():g}]"
        if array.size and array.dtype.kind in "fiu"
        else ""
    )


def _to_pixels(array: np.ndarray) -> str:
    if (
        array.dtype.kind not in "fiu"
        or not array.size
        or not 0 <= array.min() <= array.max() <= 255
    ):
        return ""
    unit = array.dtype.kind == "f" and array.max() <= 1
    return f": {'(image * 255)' if unit else 'image'}.astype(np.uint8)"


def _to_shape(array: np.ndarray, shape: tuple[int, ...]) -> str:
    if array.shape == (*shape[:-3], shape[-1], *shape[-3:-1]):
        return ": channels come last, np.moveaxis(image, -3, -1)"
    if array.shape == (1, *shape):
        return ": one image without a batch, image[0]"
    return ""


def _refuse(
    state: np.ndarray, normalised: np.ndarray, spec: Spec, normaliser: StateNormaliser
) -> None:
    finite = np.isfinite(state)
    for number in np.flatnonzero(~finite)[:1]:
        name = spec.state_names[number]
        raise UserError(f"observation: {name} is {state[number]}; expected finite numbers")
    number = int(np.argmax(~(np.abs(normalised) < _FAR)))
    raise UserError(
        f"observation: {spec.state_names[number]} is {state[number]:g}; this agent was trained on "
        f"{normaliser.mean[number]:g} with a std of {normaliser.std[number]:g}: is it in other units?"
    )


def _warn_of_held(state: np.ndarray, spec: Spec, normaliser: StateNormaliser) -> None:
    for number in np.flatnonzero(normaliser.held(state)):
        warnings.warn(
            f"state {spec.state_names[number]} was always {normaliser.mean[number]:g} in the agent's data and is "
            "another now: the agent cannot make use of it, and acts as if it were the same",
            DatasetWarning,
            stacklevel=4,
        )
