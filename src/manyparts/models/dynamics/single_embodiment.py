"""What every dynamics model asks of the body and of the windows that it is built for."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from manyparts.core.errors import UserError
from manyparts.embodiment.embodiment_set import EmbodimentSet


def dimensions(embodiments: EmbodimentSet, *, chunk: int, steps: int) -> tuple[int, int]:
    """Numbers of the state and of the action. Raises UserError unless there is one embodiment with
    a state, and windows of at least two steps, an action each."""
    if len(embodiments.specs) > 1:
        raise UserError(
            f"a dynamics model is of one embodiment, not of {', '.join(embodiments.names)}"
        )
    if chunk != 1:
        raise UserError(
            f"a dynamics model predicts every step: window.chunk is {chunk}; expected 1"
        )
    if steps < 2:
        raise UserError(
            f"a dynamics model needs steps to predict: window.steps is {steps}; expected at least 2"
        )
    if not embodiments.state_dimension:
        raise UserError(f"the embodiment {embodiments.names[0]!r} has no state to predict")
    return embodiments.state_dimension, embodiments.action_dimension


def require_finite(values: Tensor, what: str, names: Sequence[str]) -> None:
    """Raises UserError naming the first of `values` (..., d) that is not finite. names: of the d
    numbers."""
    for place in (~values.isfinite()).nonzero()[:1].tolist():
        step = f" {place[-2]}" if len(place) > 1 else ""
        value = values[tuple(place)].item()
        raise UserError(f"{what}{step}: {names[place[-1]]} is {value}; expected finite numbers")
