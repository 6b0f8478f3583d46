"""A gated recurrent unit with normalised gates, as in the Dreamer agents."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class NormGRUCell(nn.Module):
    """One step of a GRU with LayerNorm over its three gates together.

    The update gate has a bias of -1, so that a new cell keeps most of its state (Hafner et al.
    2021, "Mastering Atari with Discrete World Models", arXiv 2010.02193, released code).

    Args:
        inputs: Numbers of an input.
        width: Numbers of the state.
    """

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.gates = nn.Linear(inputs + width, 3 * width, bias=False)
        self.norm = nn.LayerNorm(3 * width)

    def forward(
        self, inputs: Float[Tensor, "n i"], state: Float[Tensor, "n d"]
    ) -> Float[Tensor, "n d"]:
        """Return the next state."""
        gates = self.norm(self.gates(torch.cat([inputs, state], dim=-1)))
        reset, candidate, update = gates.chunk(3, dim=-1)
        candidate = torch.tanh(reset.sigmoid() * candidate)
        # Where `update` is 1 the candidate replaces the state.
        return torch.lerp(state, candidate, (update - 1).sigmoid())
