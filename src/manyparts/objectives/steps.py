"""A batch's way through a dynamics model: steps, and what is to be predicted of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from manyparts.core.records import Batch
from manyparts.models.dynamics.step_transformer import BinnedPrediction
from manyparts.models.dynamics.transformer import DynamicsTransformer

Model = TypeVar("Model")


@dataclass
class StepPasses(Generic[Model]):
    """model: a dynamics model. Batches have one action a step."""

    model: Model
    batch: Batch
    generator: torch.Generator

    @property
    def action(self) -> Float[Tensor, "b t a"]:
        return self.batch.action[:, :, 0]

    @property
    def outcomes(self) -> Float[Tensor, "b t m"]:
        """The change of each number of the observation until the next step, and at last the reward:
        m = s + 1. The window's last step has no next one."""
        changes = F.pad(self.batch.state.diff(dim=1), (0, 0, 0, 1))
        return torch.cat([changes, self.batch.reward[..., None]], dim=-1)

    @property
    def known(self) -> Bool[Tensor, "b t m"]:
        """Which outcomes there are: a change where the next step is real, a reward where its own
        step is."""
        real, numbers = self.batch.mask, self.batch.state.shape[-1]
        changes = F.pad(real[:, 1:] & real[:, :-1], (0, 1))
        return torch.cat([changes[..., None].expand(-1, -1, numbers), real[..., None]], dim=-1)


class TransformerPasses(StepPasses[DynamicsTransformer]):
    """What two objectives of one model need is computed once."""

    @cached_property
    def values(self) -> Float[Tensor, "b t n"]:
        """The numbers of the batch's steps; see `DynamicsTransformer.sequence`."""
        return self.model.sequence(self.batch.state, self.action, self.batch.reward)

    @cached_property
    def step(self) -> Int[Tensor, "b"]:
        """A real one of each window (padding comes last), whose distribution is learned: of all
        steps, a layer over bins would take longer to train than the rest of the model."""
        there = self.batch.mask.sum(dim=1)
        drawn = torch.rand(len(there), generator=self.generator).to(there.device)
        return (drawn * there).long()

    @property
    def following(self) -> BinnedPrediction:
        """See `DynamicsTransformer.forward`."""
        return self._told[0]

    @property
    def decided(self) -> Float[Tensor, "b t a"]:
        """See `DynamicsTransformer.decide`."""
        assert self._told[1] is not None
        return self._told[1]

    @cached_property
    def _told(self) -> tuple[BinnedPrediction, Tensor | None]:
        if self.model.config.policy:
            return self.model.predict_and_decide(self.values, self.batch.mask, self.step)
        return self.model(self.values, self.batch.mask, self.step), None
