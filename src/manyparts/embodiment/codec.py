"""States and actions of an embodiment as a model's inputs and outputs, and the layout of prompts.

Training's windows go through here. Agents still normalise by themselves.
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
DEMONSTRATION = slice(1, None)  # the indices of a demonstration's images, in their order


@dataclass(frozen=True)
class Codec:
    """Normalises the states and actions of one embodiment, and inverts it."""

    spec: Spec
    """The embodiment."""

    normaliser: StateNormaliser
    """Normalises states by statistics of the data that a model learned from."""

    @classmethod
    def of(cls, spec: Spec, statistics: Statistics) -> Codec:
        """The codec of an embodiment. statistics: of its data."""
        return cls(spec, StateNormaliser.of(statistics, spec.state_dimension))

    def encode_state(self, state: np.ndarray) -> np.ndarray:
        """States (..., s) in the simulator's units as float32 (..., s) of mean 0 and std 1."""
        return self.normaliser(state)

    def decode_state(self, state: np.ndarray) -> np.ndarray:
        """The inverse of `encode_state`."""
        return self.normaliser.inverse(state)

    def encode_action(self, action: np.ndarray) -> np.ndarray:
        """Actions (..., a) in the contract's units as float32 (..., a) in [-1, 1]."""
        return self.spec.action.normalise(action)

    def decode_action(self, action: np.ndarray) -> np.ndarray:
        """The inverse of `encode_action`, clipped to the contract's bounds."""
        return self.spec.action.denormalise(action)


def padded(tensor: Tensor, dimension: int) -> Tensor:
    """A tensor (..., n) as (..., dimension), with zeros at the end. False, for bool."""
    return F.pad(tensor, (0, dimension - tensor.shape[-1]))


def prompt_image_count(*, goal_image: bool, demonstration_frames: int) -> int:
    """How many images a prompt has room for: the goal's, then a demonstration's; 0 if prompts show
    neither."""
    return 1 + demonstration_frames if goal_image or demonstration_frames else 0


def prompt_image_mask(goal: np.ndarray, demonstrated: np.ndarray, count: int) -> np.ndarray:
    """Which images of b prompts are there.

    Args:
        goal: bool (b,), prompts that show the goal.
        demonstrated: bool (b,), prompts that show a demonstration.
        count: of images that a prompt has room for.

    Returns:
        bool (b, count).
    """
    demonstration = np.repeat(demonstrated[:, None], count - 1, axis=1)
    return np.concatenate([goal[:, None], demonstration], axis=1)
