"""What every dynamics model requires of its embodiment and windows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from manyparts.core.errors import UserError
from manyparts.embodiment.embodiment_set import EmbodimentSet


def dimensions(embodiments: EmbodimentSet, *, chunk: int, steps: int) -> tuple[int, int]:
    """Return the numbers of a state and of an action.

    Args:
        embodiments: What the model is built for; exactly one, with a state.
        chunk: Actions per step; must be 1.
        steps: Steps of a window; at least 2.

    Raises:
        UserError: There are several embodiments, the one has no state, a step has several actions,
            or windows have less than two steps.
    """
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
    """Raise UserError with the name of the first value that is not finite.

    Args:
        values: (..., d), where a dimension before the last one is of steps.
        what: What they are, in the error.
        names: Names of the d numbers.
    """
    # The first one is enough: an error is one line.
    for index in (~values.isfinite()).nonzero()[:1].tolist():
        step = f" {index[-2]}" if len(index) > 1 else ""
        value = values[tuple(index)].item()
        raise UserError(f"{what}{step}: {names[index[-1]]} is {value}; expected finite numbers")
