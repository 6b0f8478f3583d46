"""The evidence lower bound of a latent world, and the passes that its objectives share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from manyparts.core.records import Batch, Loss
from manyparts.models.dynamics.latent_world import LatentWorld, symlog
from manyparts.models.dynamics.state_space import (
    Filtered,
    WorldState,
    balanced_divergence,
    free_nats,
)
from manyparts.models.image_pyramid import centred
from manyparts.objectives.base import Objective
from manyparts.objectives.configs import WorldConfig


@dataclass
class WorldPasses:
    """A batch's way through a latent world; what several objectives need is computed once."""

    model: LatentWorld
    """The model under training."""

    batch: Batch
    """The windows to learn from; their chunks have one action."""

    generator: torch.Generator
    """The only source of randomness of the objectives."""

    @cached_property
    def action(self) -> Float[Tensor, "b t a"]:
        """The executed action of each step, with the source of a model of several."""
        actions, source = self.batch.action[:, :, 0], self.batch.source
        return self.model.conditioned(actions, None if source is None else source[:, None])

    @cached_property
    def filtered(self) -> Filtered:
        """The states of every window, drawn from what was observed."""
        return self.model.filter(self.model.embed_batch(self.batch), self.action, self.generator)

    def read(self, features: Float[Tensor, "b t f"]) -> Float[Tensor, "b t r"]:
        """Features of every step as the heads read them."""
        source = self.batch.source
        return self.model.conditioned(features, None if source is None else source[:, None])

    @cached_property
    def led_to(self) -> Float[Tensor, "b t f"]:
        """Features of the states that the actions led to.

        That of a window's last action was not observed, and is predicted.
        """
        filtered, batch = self.filtered, self.batch
        rows, ends = torch.arange(len(batch), device=batch.mask.device), batch.mask.sum(dim=1) - 1
        last = WorldState(filtered.recurrent[rows, ends], filtered.drawn[rows, ends])
        beyond = self.model.imagined(last, self.action[rows, ends], self.generator).features
        following = F.pad(filtered.features[:, 1:], (0, 0, 0, 1))
        return following.index_put((rows, ends), beyond)


class World(Objective, config=WorldConfig, model=LatentWorld):
    """-log p(o_t | s_t) - log p(r_t, c_t | s_{t+1}) + KL(q(z_t | h_t, o_t) || p(z_t | h_t)).

    One number per step (Hafner et al. 2021, equation 2). Pixels have a std of 1, and their errors
    are summed.
    """

    def __init__(self, config: WorldConfig, model: LatentWorld):
        super().__init__()
        self.config = config

    def predict(self, passes: WorldPasses) -> Float[Tensor, "b t"]:
        """The reward of each action."""
        return passes.model.reward(passes.read(passes.led_to))

    def forward(self, passes: WorldPasses) -> Loss:
        model, batch, config, filtered = passes.model, passes.batch, self.config, passes.filtered
        read, led_to = passes.read(filtered.features), passes.read(passes.led_to)
        parts: dict[str, Tensor] = {}
        if model.state_head is not None:
            error = (model.state_head(read) - batch.state).square().sum(dim=-1)
            parts["state"] = error / (2 * config.state_std**2)
        if model.cameras:
            parts["image"] = self._image_error(passes, read)
        reward = model.reward_head(led_to)[..., 0]
        parts["reward"] = config.reward * (reward - symlog(batch.reward)).square() / 2
        if not config.source_rewards and batch.source is not None:
            parts["reward"] = parts["reward"] * (batch.source < 0)[:, None]
        goes_on = 1 - batch.terminations.to(reward.dtype)
        parts["continuation"] = config.continuation * F.binary_cross_entropy_with_logits(
            model.continuation_head(led_to)[..., 0], goes_on, reduction="none"
        )
        divergence = balanced_divergence(
            model.latent, filtered.posterior, filtered.prior, balance=config.balance
        )
        parts["divergence"] = config.divergence * free_nats(
            divergence, batch.mask, config.free_nats
        )
        count = batch.mask.sum().clamp(min=1)
        metrics = {
            name: (value.detach() * batch.mask).sum() / count for name, value in parts.items()
        }
        return Loss(torch.stack(list(parts.values())).sum(dim=0), batch.mask, metrics)

    def _image_error(
        self, passes: WorldPasses, read: Float[Tensor, "b t r"]
    ) -> Float[Tensor, "b t"]:
        """The summed squared error of the pixels of each step's images, of some steps if so set."""
        batch, flat = passes.batch, read.flatten(0, 1)
        chosen = torch.arange(len(flat), device=flat.device)
        if self.config.decoded < 1:
            count = max(1, round(self.config.decoded * len(flat)))
            order = torch.randperm(len(flat), generator=passes.generator)
            chosen = order[:count].to(flat.device)
        error = flat.new_zeros(len(flat))
        for name in passes.model.cameras:
            predicted = passes.model.image_heads[name](flat[chosen])
            target = centred(batch.images[name].flatten(0, 1)[chosen])
            squares = (predicted - target).square().sum(dim=(1, 2, 3))
            # Scaled up to what all frames would give, so that the gradient's mean is the same.
            error = error.index_add(0, chosen, squares * (len(flat) / len(chosen)) / 2)
        return error.view(batch.mask.shape)
