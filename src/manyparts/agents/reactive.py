"""A policy over one vector per frame: it reads the current observation only, and no prompt."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange

from manyparts.agents.base import refuse_prompt
from manyparts.agents.checks import image_of, require_actions, require_carry, state_of
from manyparts.agents.cloning import CloningAgent
from manyparts.core.records import Observation, Precision, Prompt
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.models.representation import Representation
from manyparts.objectives.representations.behaviour_cloning import EmbeddingCloning
from manyparts.objectives.system import System

Carry = tuple[np.ndarray, ...]
"""The actions of the last chunk that are still to come, within [-1, 1]."""


class ReactiveAgent(CloningAgent):
    """Acts with a representation's behaviour cloning.

    Args:
        system: The trained model and its objectives.
        info: The checkpoint's description.
        embodiment: See `PolicyAgent`.
        precision: Precision of matrix products.

    Raises:
        UserError: The run learned no policy, or not for this embodiment.
    """

    prompted = False
    policy: EmbeddingCloning
    model: Representation

    def __init__(
        self,
        system: System,
        info: CheckpointInfo,
        *,
        embodiment: str | None = None,
        precision: Precision = "fp32",
    ):
        super().__init__(system, info, EmbeddingCloning, embodiment=embodiment, precision=precision)

    def needs_observation(self, carry: Carry | None) -> bool:
        """Return whether the last chunk is used up."""
        return not carry

    def replanned(self, carry: Carry) -> Carry:
        """See `agents.base.Replanning`."""
        return ()

    @torch.inference_mode()
    def act(
        self,
        carry: Carry | None,
        observation: Observation | None,
        prompt: Prompt | str | None = None,
        *,
        explore: bool,
    ) -> tuple[np.ndarray, Carry]:
        """See `agents.base.Agent`.

        Raises:
            UserError: There is a prompt, or the observation does not fit.
        """
        refuse_prompt(prompt)
        require_carry(carry, tuple)
        if not carry:
            with self._autocast():
                chunk = self.policy.decide(self._embedded(observation))
            # (1, 1, k a) to (k, a).
            actions = chunk.view(self.window.chunk, -1).float().cpu().numpy()
            carry = tuple(require_actions(actions, self.spec))
        action, *planned = carry
        return self.codec.decode_action(action), tuple(planned)

    def _embedded(self, observation: Observation | None) -> torch.Tensor:
        """Return the embedding of an observation: (1, 1, e)."""
        if self.model.config.sees == "state":
            return self._tensor(state_of(observation, self.codec))[None, None]
        tokens = []
        for name, size in self.spec.cameras.items():
            frame = rearrange(self._tensor(image_of(observation, name, size)), "h w c -> 1 c h w")
            tokens.append(self.model.visual_features(frame, name))
        return torch.cat(tokens, dim=-1)
