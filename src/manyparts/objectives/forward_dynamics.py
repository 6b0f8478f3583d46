"""Forward dynamics: the next observation's tokens from the outputs at t (DualMind, phase I)."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.core.records import Batch, Loss
from manyparts.models.control_transformer import ControlTransformer, ObservationEmbedding
from manyparts.nn.ema import detached_copy, move_towards
from manyparts.nn.mlp import mlp
from manyparts.objectives.base import Objective, Passes, require_pairs
from manyparts.objectives.configs import ForwardDynamicsConfig


class ForwardDynamics(Objective, config=ForwardDynamicsConfig, model=ControlTransformer):
    """|| predict(t) - target(o_{t+1}) ||^2, averaged over channels; each target token is normalised
    on its own."""

    def __init__(self, config: ForwardDynamicsConfig, model: ControlTransformer):
        super().__init__()
        self.config = config
        width, tokens = model.config.width, model.visual_tokens + 1
        hidden = [config.hidden] if config.hidden else []
        self.head = mlp([width * (tokens + 1), *hidden, width * tokens])
        self.target = detached_copy(model.embedding) if config.target == "ema" else None

    def require_learnable(self, model: ControlTransformer) -> None:
        require_pairs(model.steps, "forward dynamics")
        if self.config.attention == "full":
            raise UserError(
                "objectives.forward_dynamics.attention is 'full', which would show it its answer; "
                "choices: causal, inverse, visual"
            )

    def predict(self, passes: Passes) -> Float[Tensor, "b u o d"]:
        """The tokens of steps 1 to t - 1, each from the outputs of the step before."""
        outputs = passes.decoded(self.config.attention)
        # The action's token joins the observation's as one more; the last step has no next one.
        inputs = torch.cat([outputs.observation, outputs.action[:, :, None]], dim=2)[:, :-1]
        predicted = self.head(rearrange(inputs, "b t o d -> b t (o d)"))
        return rearrange(predicted, "b t (o d) -> b t o d", d=inputs.shape[-1])

    def targets(self, passes: Passes) -> Float[Tensor, "b u o d"]:
        """The target encoder's tokens of steps 1 to t - 1; an average gives no gradient."""
        if self.target is None:
            return _normalised(passes.embedded.observation[:, 1:])
        with torch.no_grad():
            return _normalised(_observation_tokens(self.target, passes.batch.without_first_step()))

    def forward(self, passes: Passes) -> Loss:
        targets = self.targets(passes)
        error = (self.predict(passes).float() - targets).square().mean(dim=-1)
        batch = passes.batch
        # A prediction counts if both its step and the next one are real, and only for the tokens
        # of cameras that the row's embodiment has.
        steps = batch.mask[:, 1:] & batch.mask[:, :-1]
        mask = steps[..., None] & passes.model.embedding.real(batch.embodiment)[:, None]
        # Logged because a collapse of the encoder makes the loss small, but shows here: the std of
        # each target number over the batch then goes to 0.
        spread = targets.detach().flatten(0, 1).std(dim=0).mean()
        return Loss(error, mask, {"target_std": spread})

    def after_step(self, model: ControlTransformer) -> None:
        if self.target is not None:
            move_towards(self.target, model.embedding, self.config.target_rate)

    def train(self, mode: bool = True) -> ForwardDynamics:
        """Set the mode of all but the target, which stays in evaluation mode."""
        super().train(mode)
        if self.target is not None:
            self.target.eval()
        return self


def _observation_tokens(embedding: ObservationEmbedding, batch: Batch) -> Tensor:
    """Visual tokens, then the state's, as `Tokens.observation` has them."""
    visual = embedding.embed_visual(batch, batch.embodiment)
    state = embedding.embed_state(batch.state, batch.state_mask)
    return torch.cat([visual, state[:, :, None]], dim=2)


def _normalised(tokens: Tensor) -> Tensor:
    # In float32 also under autocast: layer norm's variance loses digits in bfloat16.
    return F.layer_norm(tokens.float(), tokens.shape[-1:])
