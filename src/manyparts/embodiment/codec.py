"""An embodiment's observations, actions and prompts in the numbers that weights see, and back.

Training's windows and every agent that acts go through here, so that both see the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from manyparts.core.spec import Spec
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.embodiment.statistics import Statistics

GOAL = 0  # the goal's index among a prompt's images
DEMONSTRATION = slice(1, None)  # where a demonstration's images stand, in their order


@dataclass(frozen=True)
class Codec:
    """States and actions of one embodiment, normalised for weights and back."""

    spec: Spec
    """The embodiment."""

    normaliser: StateNormaliser
    """What its states are normalised by: statistics of the data that weights learned from."""

    @classmethod
    def of(cls, spec: Spec, statistics: Statistics) -> Codec:
        """The codec of an embodiment with these statistics of its data."""
        return cls(spec, StateNormaliser.of(statistics, spec.state_dimension))

    def encode_state(self, state: np.ndarray) -> np.ndarray:
        """(..., s) in the simulator's units to float32 (..., s) of mean 0 and std 1."""
        return self.normaliser(state)

    def decode_state(self, state: np.ndarray) -> np.ndarray:
        """The inverse of `encode_state`."""
        return self.normaliser.inverse(state)

    def encode_action(self, action: np.ndarray) -> np.ndarray:
        """(..., a) in the contract's units to float32 (..., a) in [-1, 1]."""
        return self.spec.action.normalise(action)

    def decode_action(self, action: np.ndarray) -> np.ndarray:
        """The inverse of `encode_action`, clipped to the contract's bounds."""
        return self.spec.action.denormalise(action)


def padded(tensor: Tensor, dimension: int) -> Tensor:
    """A tensor (..., n) with zeros up to (..., dimension): the room that several embodiments
    share."""
    return F.pad(tensor, (0, dimension - tensor.shape[-1]))


def prompt_image_count(*, goal_image: bool, demonstration_frames: int) -> int:
    """How many images a prompt holds where one of the two may be in it; else none."""
    return 1 + demonstration_frames if goal_image or demonstration_frames else 0


def prompt_image_mask(goal: np.ndarray, demonstrated: np.ndarray, count: int) -> np.ndarray:
    """bool (b, count): which images are there, of prompts that show the goal, (b,), or a
    demonstration, (b,)."""
    return np.concatenate(
        [goal[:, None], np.repeat(demonstrated[:, None], count - 1, axis=1)], axis=1
    )
