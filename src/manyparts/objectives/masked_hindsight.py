"""Masked hindsight control: hidden actions from what came before and after (DualMind, phase I;
SMART, arXiv 2301.09816)."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyparts.core.records import Batch, Loss
from manyparts.models.control_transformer import ControlTransformer, Tokens
from manyparts.objectives.base import Objective, Passes, action_head, action_loss, action_mask
from manyparts.objectives.configs import MaskedHindsightConfig


class MaskedHindsight(Objective, config=MaskedHindsightConfig, model=ControlTransformer):
    """Hide k actions and k' observations of each window and predict the hidden actions.

    Every window has its own random choice. The decoder sees a learned mask token instead of what is
    hidden, under full attention.
    """

    def __init__(self, config: MaskedHindsightConfig, model: ControlTransformer):
        super().__init__()
        self.config = config
        width = model.config.width
        self.hidden_action = nn.Parameter(torch.randn(width) * 0.02)
        self.hidden_observation = nn.Parameter(torch.randn(model.visual_tokens + 1, width) * 0.02)
        self.head = action_head(model, width, config.hidden)
        self.progress = 0.0

    def set_progress(self, fraction: float) -> None:
        self.progress = fraction

    def counts(self, steps: int) -> tuple[int, int]:
        """How many of `steps` actions and observations are hidden at this point of training."""
        start, end = self.config.hidden_from, self.config.hidden_to
        fraction = start + (end - start) * self.progress
        actions = min(max(round(fraction * steps), 1), steps)
        return actions, int(self.config.observations * actions)

    def draw(
        self, batch: Batch, generator: torch.Generator
    ) -> tuple[Bool[Tensor, "b t"], Bool[Tensor, "b t"]]:
        """Masks of hidden actions and hidden observations, among each window's real steps.

        Args:
            batch: the windows.
            generator: chooses the steps.

        Returns:
            The two masks, True where hidden; `counts` says how many are per row.
        """
        actions, observations = self.counts(batch.mask.shape[1])
        return _choose(batch.mask, actions, generator), _choose(batch.mask, observations, generator)

    def predict(
        self,
        passes: Passes,
        hidden_actions: Bool[Tensor, "b t"],
        hidden_observations: Bool[Tensor, "b t"],
    ) -> Float[Tensor, "b t k a v"]:
        """Parameters of every action; a hidden action does not influence its prediction.

        Args:
            passes: the batch's way through the model.
            hidden_actions: True at steps with a hidden chunk of actions.
            hidden_observations: True at steps with a hidden observation.
        """
        # Tokens are replaced after embedding, so that all objectives share one embedding of the
        # batch. With full attention no pass of the decoder can be shared.
        embedded = passes.embedded
        tokens = Tokens(
            visual=torch.where(
                hidden_observations[..., None, None], self.hidden_observation[:-1], embedded.visual
            ),
            state=torch.where(
                hidden_observations[..., None], self.hidden_observation[-1], embedded.state
            ),
            action=torch.where(hidden_actions[..., None], self.hidden_action, embedded.action),
        )
        batch = passes.batch
        outputs = passes.model.decode(tokens, "full", mask=batch.mask, embodiment=batch.embodiment)
        return self.head(outputs.action, batch.embodiment)

    def forward(self, passes: Passes) -> Loss:
        batch = passes.batch
        hidden_actions, hidden_observations = self.draw(batch, passes.generator)
        predicted = self.predict(passes, hidden_actions, hidden_observations)
        mask = action_mask(batch) & hidden_actions[..., None, None]
        loss = action_loss(self.head, predicted, batch.action, mask, batch)
        return replace(loss, metrics={"hidden_part": hidden_actions.float().mean()})


def _choose(
    real: Bool[Tensor, "b t"], count: int, generator: torch.Generator
) -> Bool[Tensor, "b t"]:
    """A mask of `count` real steps per row, drawn uniformly; all of a row that has fewer."""
    # Random numbers get ranks (a double argsort), and the lowest `count` are chosen. Padding gets
    # 2.0, more than any draw, so that it ranks last. Drawing on the generator's device keeps the
    # choice the same on a CPU and a GPU.
    draws = torch.rand(real.shape, generator=generator, device=generator.device)
    draws = draws.to(real.device, non_blocking=True)
    ranks = draws.masked_fill(~real, 2.0).argsort(dim=1).argsort(dim=1)
    return (ranks < count) & real
