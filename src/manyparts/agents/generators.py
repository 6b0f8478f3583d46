"""Random numbers of agents: those of a decision depend on the agent's seed and its number only."""

from __future__ import annotations

import torch

from manyparts.core.randomness import mix_one


def generator_of(seed: int, decision: int, device: torch.device) -> torch.Generator:
    """Return a fresh generator for one decision of an episode.

    Args:
        seed: The agent's seed.
        decision: Number of decisions before this one in the episode.
        device: Where the generator draws.
    """
    # The upper half of the hash: a generator of torch ignores all but 32 bits of its seed.
    return torch.Generator(device).manual_seed(mix_one(decision, seed) >> 32)
