"""An exponential moving average of weights, which is saved and evaluated in place of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from manyparts.training.optimizer import trained


class AveragedWeights:
    """The moving average of the trained parameters of a system.

    Attributes:
        decay: of the average per step. It rises to this value, so that the average soon forgets
            the first steps.
        values: name to the averaged parameter.
    """

    def __init__(self, system: nn.Module, decay: float) -> None:
        """Start from the parameters as they are."""
        self.decay = decay
        self._parameters = trained(system)
        self.values = {
            name: parameter.detach().clone() for name, parameter in self._parameters.items()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Set average = d * average + (1 - d) * weights, with d = min(decay, (1 + step) / (10 +
        step)); `step` counts from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, average in self.values.items():
            average.lerp_(self._parameters[name], 1 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Give the averages to the system while the block runs, and its own weights after it."""
        own = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self._set(self.values)
        try:
            yield
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])
