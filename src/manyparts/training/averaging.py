"""An exponential moving average of weights: what is evaluated and saved, apart from what is
trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from manyparts.training.optimizer import trained


class AveragedWeights:
    """The average of the trained parameters of `system`. decay: of the average a step; it rises to
    this value, so that the first steps are soon forgotten."""

    def __init__(self, system: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = trained(system)
        self.values = {
            name: parameter.detach().clone() for name, parameter in self._parameters.items()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """average <- d average + (1 - d) weights, d = min(decay, (1 + step) / (10 + step)); step
        counts from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, average in self.values.items():
            average.lerp_(self._parameters[name], 1 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The system has the averages while the block runs, and its own weights again after it."""
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
