"""What calibration asks of a dynamics model that predicts a distribution."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Distributional(Protocol):
    """A model that says how likely what may come next is, not only what is expected."""

    def cumulative(
        self,
        observation: Float[Tensor, "b t s"],
        action: Float[Tensor, "b u a"],
        reward: Float[Tensor, "b u"],
    ) -> Float[Tensor, "b m"]:
        """The probability integral transform of the last step of b histories: what probability the
        model gave to values up to the one that came, for each number of the last observation, and
        at last for the last reward. Uniform in [0, 1] if the model is calibrated. m = s + 1; t
        observations, the u = t - 1 >= 1 actions and rewards between them, all as in
        `WorldModel.encode`."""
        ...
