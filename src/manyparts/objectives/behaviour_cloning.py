"""Behaviour cloning under a prompt: what the expert would do now (DualMind, phase II)."""

from __future__ import annotations

from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from manyparts.core.records import Loss
from manyparts.models.control_transformer import ControlTransformer, Tokens
from manyparts.models.prompt_encoder import PromptTokens
from manyparts.objectives.base import Objective, Passes, action_head, action_loss, action_mask
from manyparts.objectives.configs import BehaviourCloningConfig


def features_of(outputs: Float[Tensor, "b t o d"]) -> Float[Tensor, "b t f"]:
    """What actions are predicted from.

    Args:
        outputs: of a model, the observation's tokens of each step.
    """
    return rearrange(outputs, "b t o d -> b t (o d)")


class BehaviourCloning(Objective, config=BehaviourCloningConfig, model=ControlTransformer):
    """The expert's actions at step t from the observation's outputs at t.

    The outputs depend on the prompt and, with "causal" attention, on earlier steps.
    """

    def __init__(self, config: BehaviourCloningConfig, model: ControlTransformer):
        super().__init__()
        self.config = config
        # How many steps before the current one an acting agent must keep.
        self.history = 0 if config.attention == "present" else model.steps - 1
        width = (model.visual_tokens + 1) * model.config.width
        self.head = action_head(model, width, config.hidden)

    def predict(self, passes: Passes) -> Float[Tensor, "b t k a v"]:
        """Parameters of the actions at every step."""
        if self.config.attention == "present":
            return self._read(passes.decoded_present(), passes.batch.embodiment)
        outputs = passes.decoded(self.config.attention, prompted=True).observation
        return self._read(outputs, passes.batch.embodiment)

    def decide(
        self,
        model: ControlTransformer,
        window: Tokens,
        prompt: PromptTokens | None,
        embodiment: Int[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b 1 k a v"]:
        """Parameters of the actions at a window's last step, for an agent that acts.

        Args:
            model: the model that this objective trained.
            window: tokens of the last steps, at most `model.steps`, without padding.
            prompt: tokens of each row's prompt; None where the model reads no prompts.
            embodiment: each row's index in the model's `EmbodimentSet`; None where there is only
                one.
        """
        # The same computation as `predict`, but only for the last step.
        if self.config.attention == "present":
            outputs = model.decode_present(
                window.observation[:, -1:], prompt=prompt, embodiment=embodiment
            )
        else:
            decoded = model.decode(
                window, self.config.attention, prompt=prompt, embodiment=embodiment
            )
            outputs = decoded.observation[:, -1:]
        return self._read(outputs, embodiment)

    def _read(
        self, outputs: Float[Tensor, "b t o d"], embodiment: Int[Tensor, "b"] | None
    ) -> Float[Tensor, "b t k a v"]:
        return self.head(features_of(outputs), embodiment)

    def forward(self, passes: Passes) -> Loss:
        batch = passes.batch
        return action_loss(
            self.head, self.predict(passes), batch.expert_action, action_mask(batch), batch
        )
