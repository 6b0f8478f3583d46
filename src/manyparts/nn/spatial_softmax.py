"""Spatial softmax: the image position at which each feature map is largest.

Finn et al. 2016, arXiv 1509.06113.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class SpatialSoftmax(nn.Module):
    """The mean position of each map under the softmax of its values.

    Args:
        height: Rows of a map.
        width: Columns of a map.
    """

    positions: Tensor

    def __init__(self, height: int, width: int):
        super().__init__()
        rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        x, y = columns.expand(height, -1), rows[:, None].expand(-1, width)
        self.register_buffer("positions", torch.stack([x, y]).flatten(1), persistent=False)

    def forward(self, maps: Float[Tensor, "n m h w"]) -> Float[Tensor, "n k"]:
        """Return x and y in [-1, 1] of each of m maps: first all x, then all y, so k = 2 m."""
        # In float32 also under autocast: bfloat16 would round positions to a 128th of half an
        # image.
        with torch.autocast(maps.device.type, enabled=False):
            weights = maps.float().flatten(2).softmax(dim=-1)
            return torch.einsum("nmp,cp->ncm", weights, self.positions).flatten(1)
