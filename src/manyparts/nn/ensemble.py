"""Multi-layer perceptrons side by side: all members in one batched product a layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class EnsembleLinear(nn.Module):
    """A linear map for each member. Weights begin as in PETS: a normal distribution of std 1 / (2
    sqrt(inputs)), cut at two stds; biases at zero."""

    def __init__(self, members: int, width_in: int, width_out: int):
        super().__init__()
        std = 0.5 / math.sqrt(width_in)
        self.weight = nn.Parameter(torch.empty(members, width_in, width_out))
        self.bias = nn.Parameter(torch.zeros(members, 1, width_out))
        nn.init.trunc_normal_(self.weight, std=std, a=-2 * std, b=2 * std)

    def forward(
        self, x: Float[Tensor, "e n i"], members: Int[Tensor, "e"] | None = None
    ) -> Float[Tensor, "e n o"]:
        """members: whose maps these are, one a slice of x; None: all in their order."""
        weight, bias = (
            (self.weight, self.bias)
            if members is None
            else (self.weight[members], self.bias[members])
        )
        return torch.baddbmm(bias, x, weight)


class EnsembleMlp(nn.Module):
    """Linear maps of the given sizes, input first, with SiLU between them."""

    def __init__(self, members: int, sizes: Sequence[int]):
        super().__init__()
        self.layers = nn.ModuleList(EnsembleLinear(members, *pair) for pair in pairwise(sizes))

    def forward(
        self, x: Float[Tensor, "e n i"], members: Int[Tensor, "e"] | None = None
    ) -> Float[Tensor, "e n o"]:
        """See `EnsembleLinear.forward`."""
        first, *later = self.layers
        x = first(x, members)
        for layer in later:
            x = layer(F.silu(x), members)
        return x
