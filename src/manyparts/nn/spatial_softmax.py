"""Spatial softmax: where in the picture each feature map is largest (Finn et al. 2016, arXiv
1509.06113)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class SpatialSoftmax(nn.Module):
    """The mean place of each map under the softmax of its values: x and y in [-1, 1], first all x,
    then all y.

    In float32 also under autocast: bfloat16 knows places to a 128th of half a picture.
    """

    places: Tensor

    def __init__(self, height: int, width: int):
        super().__init__()
        rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        x, y = columns.expand(height, -1), rows[:, None].expand(-1, width)
        self.register_buffer("places", torch.stack([x, y]).flatten(1), persistent=False)

    def forward(self, maps: Float[Tensor, "n m h w"]) -> Float[Tensor, "n k"]:
        with torch.autocast(maps.device.type, enabled=False):
            weights = maps.float().flatten(2).softmax(dim=-1)
            return torch.einsum("nmp,cp->ncm", weights, self.places).flatten(1)
