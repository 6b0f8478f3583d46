"""Action replay: what was done in the sources in states like these (Vid2Act).

Pan et al. 2023, arXiv 2306.03360, equation 6.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.core.records import Loss
from manyparts.models.dynamics.action_vae import LatentAction
from manyparts.models.dynamics.taught_world import TaughtWorld
from manyparts.models.dynamics.teachers import TAUGHT
from manyparts.objectives.base import Objective, require_numbers
from manyparts.objectives.configs import ActionReplayConfig
from manyparts.objectives.taught import TaughtPasses


class ActionReplay(Objective, config=ActionReplayConfig, model=TaughtWorld):
    """The evidence lower bound of the sources' actions, given projected features of their teachers.

    Features do not learn from it.
    """

    def __init__(self, config: ActionReplayConfig, model: TaughtWorld):
        super().__init__()
        self.config = config

    def require_learnable(self, model: TaughtWorld) -> None:
        require_numbers(model.embodiments, "the replay of actions")

    def predict(
        self, passes: TaughtPasses
    ) -> tuple[Float[Tensor, "b t a"], Float[Tensor, "b t a"], LatentAction]:
        """The sources' actions, those that are decoded, and the latent actions between them."""
        batch, vae = passes.of_sources, passes.model.action_vae
        assert batch is not None and batch.source is not None, "there are no windows of sources"
        source = batch.source[:, None].expand(batch.mask.shape)
        taught = passes.model.projected(batch.recorded[TAUGHT]).detach()
        # Each window's own teacher is asked.
        features = taught[torch.arange(len(batch)), :, batch.source]
        action = batch.action[:, :, 0]
        latent = vae.encode(features, action, source)
        noise = torch.randn(latent.mean.shape, generator=passes.generator).to(latent.mean)
        drawn = latent.mean + latent.log_std.exp() * noise
        return action, vae.action(vae.guide(features, drawn, source)), latent

    def forward(self, passes: TaughtPasses) -> Loss:
        action, decoded, latent = self.predict(passes)
        batch = passes.of_sources
        assert batch is not None
        real = batch.action_mask[:, None].to(action.dtype)
        error = ((action - decoded).square() * real).sum(dim=-1) / real.sum(dim=-1).clamp(min=1)
        divergence = latent.divergence
        count = batch.mask.sum().clamp(min=1)
        metrics = {
            "error": (error.detach() * batch.mask).sum() / count,
            "divergence": (divergence.detach() * batch.mask).sum() / count,
        }
        return Loss(error + self.config.divergence * divergence, batch.mask, metrics)
