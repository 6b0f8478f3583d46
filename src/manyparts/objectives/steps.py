"""A batch's way through a dynamics model: its steps, and what to predict from them."""

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
    """A batch for a dynamics model, with one action per step."""

    model: Model
    """The dynamics model under training."""

    batch: Batch
    """The windows to learn from; their chunks have one action."""

    generator: torch.Generator
    """The only source of randomness of the objectives."""

    @property
    def action(self) -> Float[Tensor, "b t a"]:
        """The executed action of each step."""
        return self.batch.action[:, :, 0]

    @property
    def outcomes(self) -> Float[Tensor, "b t m"]:
        """Each observed number's change until the next step, then the reward: m = s + 1."""
        # The window's last step has no next one: its changes are 0 and masked by `outcome_mask`.
        changes = F.pad(self.batch.state.diff(dim=1), (0, 0, 0, 1))
        return torch.cat([changes, self.batch.reward[..., None]], dim=-1)

    @property
    def outcome_mask(self) -> Bool[Tensor, "b t m"]:
        """The outcomes that exist: a change if the next step is real, a reward if its step is."""
        real, numbers = self.batch.mask, self.batch.state.shape[-1]
        changes = F.pad(real[:, 1:] & real[:, :-1], (0, 1))
        return torch.cat([changes[..., None].expand(-1, -1, numbers), real[..., None]], dim=-1)


class TransformerPasses(StepPasses[DynamicsTransformer]):
    """A batch for a dynamics transformer; what several objectives need is computed once."""

    @cached_property
    def values(self) -> Float[Tensor, "b t n"]:
        """The steps as numbers to predict, see `DynamicsTransformer.sequence`."""
        return self.model.sequence(self.batch.state, self.action, self.batch.reward)

    @cached_property
    def drawn_step(self) -> Int[Tensor, "b"]:
        """One random real step per window, at which the distribution is learned."""
        # The layer over bins has an output per number and bin. At every step it would take longer
        # to train than the rest of the model. Padding comes last, so real steps are 0 to n - 1.
        real_steps = self.batch.mask.sum(dim=1)
        drawn = torch.rand(len(real_steps), generator=self.generator).to(real_steps.device)
        return (drawn * real_steps).long()

    @property
    def prediction(self) -> BinnedPrediction:
        """What comes next, see `DynamicsTransformer.forward`."""
        return self._outputs[0]

    @property
    def policy_action(self) -> Float[Tensor, "b t a"]:
        """What the model would do at each step, see `DynamicsTransformer.decide`."""
        action = self._outputs[1]
        assert action is not None
        return action

    @cached_property
    def _outputs(self) -> tuple[BinnedPrediction, Tensor | None]:
        # With a policy, one pass of the transformer serves both the prediction and the action.
        if self.model.config.policy:
            return self.model.predict_and_decide(self.values, self.batch.mask, self.drawn_step)
        return self.model(self.values, self.batch.mask, self.drawn_step), None
