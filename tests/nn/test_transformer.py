"""Attention in bfloat16 on a CPU, which is computed in parts, is near that in float32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from manyparts.nn.transformer import Attention


def outputs_and_gradients(
    layer: Attention, x: Tensor, mask: Tensor | None, *, bf16: bool
) -> list[Tensor]:
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        y = layer(x, mask)
    y.float().square().sum().backward()
    return [
        y.float(),
        *(parameter.grad for parameter in layer.parameters() if parameter.grad is not None),
    ]


@pytest.mark.parametrize(
    "mask",
    [None, torch.ones(9, 9, dtype=torch.bool).tril(), torch.arange(162).view(2, 1, 9, 9) % 5 > 0],
)
def test_attention_in_parts_equals_fused_attention(mask: Tensor | None):
    torch.manual_seed(0)
    if mask is not None:
        mask = mask | torch.eye(9, dtype=torch.bool)
    layer, x = Attention(32, heads=4), torch.randn(2, 9, 32)
    by_parts, fused = (outputs_and_gradients(layer, x, mask, bf16=bf16) for bf16 in (True, False))
    assert len(by_parts) == 7
    for one, other in zip(by_parts, fused, strict=True):
        assert (one - other).norm() < 0.02 * other.norm()
