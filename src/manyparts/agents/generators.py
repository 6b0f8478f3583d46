"""Random numbers of agents: those of a decision are a pure function of the agent's seed and the
decision's number."""

from __future__ import annotations

import numpy as np
import torch

from manyparts.core.randomness import mix


def generator_of(seed: int, decision: int, device: torch.device) -> torch.Generator:
    """A fresh generator for one decision."""
    mixed = mix(np.asarray([decision]), seed)[0] >> np.uint64(
        32
    )  # a generator drops all but 32 bits
    return torch.Generator(device).manual_seed(int(mixed))
