"""Behaviour cloning under a prompt: what the expert would do now (DualMind, phase II)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from understudy.models.control_transformer import ControlTransformer, Tokens
from understudy.objectives.base import Objective, Passes, action_head, action_mask
from understudy.types import Loss


@dataclass(frozen=True)
class BehaviourCloningConfig:
    """Imitation of `expert_action`, which under noise is not the action that was executed.

    attention: "causal" shows the policy the past of its window; "step" the present alone. The past tells the expert's
    direction so well that a small goal in the image need not be looked at; acting, the agent then follows itself.
    """

    weight: float = 1.0
    attention: Literal["causal", "step"] = "causal"
    hidden: int = 256


class BehaviourCloning(Objective):
    """The expert's actions of step t from the observation outputs at t.

    These see the prompt and, if `attention` lets them, the past.
    """

    def __init__(self, config: BehaviourCloningConfig, model: ControlTransformer):
        super().__init__()
        self.config = config
        width = (model.visual_tokens + 1) * model.config.width
        self.head = action_head(model, width, config.hidden)

    def read(self, outputs: Tokens) -> Float[Tensor, "b t k a v"]:
        """Parameters of the actions, from the decoder's outputs."""
        return self.head(rearrange(outputs.observation, "b t o d -> b t (o d)"))

    def predict(self, passes: Passes) -> Float[Tensor, "b t k a v"]:
        """Parameters of the actions of every step."""
        return self.read(passes.decoded(self.config.attention, prompted=True))

    def forward(self, passes: Passes) -> Loss:
        return Loss(self.head.loss(self.predict(passes), passes.batch.expert_action), action_mask(passes.batch))
