"""What calibration asks of a dynamics model that predicts a distribution."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Distributional(Protocol):
    """A model that predicts how likely every outcome is, not only what is expected."""

    def cumulative(
        self,
        observation: Float[Tensor, "b t s"],
        action: Float[Tensor, "b u a"],
        reward: Float[Tensor, "b u"],
    ) -> Float[Tensor, "b m"]:
        """Return the probability integral transform of the last step of b sequences.

        For each number of the last observation, and at last for the last reward (m = s + 1), this
        is the probability that the model gave to values up to the one that came. If the model is
        calibrated, it is uniform in [0, 1].

        Args:
            observation: t observations, as in `WorldModel.encode`.
            action: The u = t - 1 >= 1 actions between them.
            reward: The rewards of these actions.
        """
        ...
