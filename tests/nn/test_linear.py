"""The linear layer equals PyTorch's, also where its gradient takes another way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from manyparts.nn.linear import Linear


def outputs_and_gradients(layer: nn.Linear, precision: torch.dtype) -> list[Tensor]:
    x = torch.randn(
        3, 5, layer.in_features, generator=torch.Generator().manual_seed(1)
    ).requires_grad_()
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        y = layer(x)
    y.float().square().sum().backward()
    return [y, *(tensor.grad for tensor in (x, *layer.parameters()) if tensor.grad is not None)]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sizes", [(8, 32), (32, 8)])
def test_outputs_and_gradients_equal_pytorch(sizes, precision):
    layer, reference = Linear(*sizes), nn.Linear(*sizes)
    reference.load_state_dict(layer.state_dict())
    results, expected = (
        outputs_and_gradients(layer, precision),
        outputs_and_gradients(reference, precision),
    )
    assert len(results) == 4
    for one, other in zip(results, expected, strict=True):
        torch.testing.assert_close(
            one, other, rtol=1e-2 if precision == torch.bfloat16 else 0, atol=0
        )
