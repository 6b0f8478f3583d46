"""Multi-layer perceptrons in parallel: one batched product per layer for all members.

Dimensions: e members, n rows, i inputs, o outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class EnsembleLinear(nn.Module):
    """A linear map for each member.

    Weights are initialised as in PETS (Chua et al. 2018): a normal distribution with std
    1 / (2 sqrt(inputs)), truncated at two stds. Biases are zero.
    """

    def __init__(self, members: int, width_in: int, width_out: int):
        super().__init__()
        std = 0.5 / math.sqrt(width_in)
        self.weight = nn.Parameter(torch.empty(members, width_in, width_out))
        self.bias = nn.Parameter(torch.zeros(members, 1, width_out))
        nn.init.trunc_normal_(self.weight, std=std, a=-2 * std, b=2 * std)

    def forward(
        self, x: Float[Tensor, "e n i"], members: Int[Tensor, "e"] | None = None
    ) -> Float[Tensor, "e n o"]:
        """Apply one member's map to each slice of `x`.

        Args:
            x: Inputs, one slice per member.
            members: Indices of the members, in the order of the slices. None: all in their order.
        """
        weight, bias = self.weight, self.bias
        if members is not None:
            weight, bias = weight[members], bias[members]
        return torch.baddbmm(bias, x, weight)


class EnsembleMlp(nn.Module):
    """Linear maps of the given sizes, input first, with SiLU between them."""

    def __init__(self, members: int, sizes: Sequence[int]):
        super().__init__()
        self.layers = nn.ModuleList(EnsembleLinear(members, *pair) for pair in pairwise(sizes))

    def forward(
        self, x: Float[Tensor, "e n i"], members: Int[Tensor, "e"] | None = None
    ) -> Float[Tensor, "e n o"]:
        """Run the networks, one on each slice of `x`.

        Args:
            x: Inputs, one slice per member.
            members: See `EnsembleLinear.forward`.
        """
        first, *later = self.layers
        x = first(x, members)
        # SiLU (swish) as in PETS, not the GELU of `nn.mlp`.
        for layer in later:
            x = layer(F.silu(x), members)
        return x
