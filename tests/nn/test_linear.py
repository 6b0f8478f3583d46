"""The linear layer is PyTorch's, also where it lays its matrices out for the gradient."""

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
    ours, theirs = Linear(*sizes), nn.Linear(*sizes)
    theirs.load_state_dict(ours.state_dict())
    got, expected = outputs_and_gradients(ours, precision), outputs_and_gradients(theirs, precision)
    assert len(got) == 4
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(
            one, other, rtol=1e-2 if precision == torch.bfloat16 else 0, atol=0
        )
