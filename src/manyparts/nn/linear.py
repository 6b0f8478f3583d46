"""A linear layer that is fast to train on a CPU in bfloat16."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Linear(nn.Linear):
    """An `nn.Linear` with a faster weight gradient under a CPU's autocast to bfloat16.

    There the gradient is a product of contiguous matrices; of transposed views it takes twice as
    long (docs/log/speed-and-scale.md, 2026-11-21).
    """

    def reset_parameters(self) -> None:
        """Draw weights as `nn.Linear` does, without its warning where there are none to draw."""
        if self.in_features:
            super().reset_parameters()
        elif self.bias is not None:
            nn.init.uniform_(self.bias, 0, 0)

    def forward(self, input: Tensor) -> Tensor:
        """Map the last dimension of `input`."""
        # Small layers take hardly longer than these questions, so the cheapest comes first, and
        # parameters are read without `nn.Module.__getattr__`.
        weight, bias = self._parameters["weight"], self._parameters["bias"]
        assert weight is not None
        rounded = torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
        if rounded and input.device.type == "cpu" and weight.requires_grad:
            return _ContiguousLinear.apply(input, weight, bias)
        return F.linear(input, weight, bias)


class _ContiguousLinear(torch.autograd.Function):
    """A linear map that makes its matrices contiguous in the backward pass."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pyright: ignore
        x, weight = ctx.saved_tensors
        rows, gradients = x.flatten(0, -2), gradient.flatten(0, -2)
        # Either factor can be the transposed one; copying the narrower one is cheaper.
        if rows.shape[1] < gradients.shape[1]:
            to_weight = (rows.t().contiguous() @ gradients).t()
        else:
            to_weight = gradients.t().contiguous() @ rows
        return gradient @ weight, to_weight, gradients.sum(dim=0)
