"""States and actions of an embodiment as a model's inputs and outputs.

Training's windows, agents and evaluations go through here, so that a model meets the same numbers
everywhere. `embodiment.prompt_layout` does the same for prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from manyparts.core.spec import Spec
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.embodiment.statistics import Statistics

if TYPE_CHECKING:  # exported agents use this module without torch
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Codec:
    """Normalises the states and actions of one embodiment, and inverts it."""

    spec: Spec
    """The embodiment."""

    normaliser: StateNormaliser
    """Normalises states by statistics of the data that a model learned from."""

    @classmethod
    def of(cls, spec: Spec, statistics: Statistics) -> Codec:
        """The codec of an embodiment.

        Args:
            spec: the embodiment.
            statistics: of its data; those of the state are used.
        """
        return cls(spec, StateNormaliser.of(statistics, spec.state_dimension))

    def encode_state(self, state: np.ndarray) -> np.ndarray:
        """States (..., s) in the simulator's units as float32 (..., s) of mean 0 and std 1."""
        return self.normaliser(state)

    def decode_state(self, state: np.ndarray) -> np.ndarray:
        """The inverse of `encode_state`."""
        return self.normaliser.inverse(state)

    def encode_action(self, action: np.ndarray) -> np.ndarray:
        """Actions (..., a) in the contract's units as float32 (..., a) in [-1, 1]."""
        return self.spec.action.normalise(action)

    def decode_action(self, action: np.ndarray) -> np.ndarray:
        """The inverse of `encode_action`, clipped to the contract's bounds."""
        return self.spec.action.denormalise(action)

    def tensor_decoder(
        self, device: torch.device
    ) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """A function from a model's states (..., s) and actions (..., a) on a device to both in
        the simulator's units, without clipping."""
        import torch

        contract = self.spec.action
        values = (self.normaliser.mean, self.normaliser.scale, contract.low, contract.high)
        mean, scale, low, high = (
            torch.tensor(each, dtype=torch.float32, device=device) for each in values
        )

        def decode(state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
            return state * scale + mean, low + (action + 1) / 2 * (high - low)

        return decode


def padded(tensor: Tensor, dimension: int) -> Tensor:
    """A tensor with zeros at the end of its last dimension; False, for bool.

    Args:
        tensor: (..., n).
        dimension: the size of the last dimension afterwards, at least n.

    Returns:
        (..., dimension); the tensor itself if it has that size.
    """
    if tensor.shape[-1] == dimension:
        return tensor
    import torch.nn.functional as F

    return F.pad(tensor, (0, dimension - tensor.shape[-1]))
