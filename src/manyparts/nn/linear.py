"""A linear layer that is fast on a CPU: in bfloat16, and in float32 on processors of AMD."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.core.host.processor import has_avx512, is_of_amd

# Fewer multiplications take hardly longer than a call from Python, about 0.03 ms.
_LARGE = 3_000_000


class Linear(nn.Linear):
    """An `nn.Linear` that is faster on a CPU, see `linear`.

    Under autocast to bfloat16 its weight gradient is a product of contiguous matrices; of
    transposed views it takes twice as long (docs/log/speed-and-scale.md, 2026-11-21).
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
        return linear(input, weight, bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As `F.linear`, but large products of float32 are oneDNN's where it is faster than MKL."""
    # What is traced is for any machine, and sizes would bind it to those of now: they come last.
    is_here = not _is_traced() and prefers_onednn()
    if not (is_here and x.numel() * len(weight) >= _LARGE and _is_plain(x, weight)):
        return F.linear(x, weight, bias)
    # An output that is a view within the function could not be changed in place.
    return _OneDnnLinear.apply(_rows(x), weight, bias).view(*x.shape[:-1], len(weight))


@functools.cache
def prefers_onednn() -> bool:
    """Whether oneDNN multiplies matrices of float32 faster than MKL, which PyTorch asks.

    MKL uses no AVX-512 on processors of AMD, which halves its speed on those that have it
    (docs/log/speed-and-scale.md, 2026-12-01).
    """
    return torch.backends.mkldnn.is_available() and has_avx512() and is_of_amd()


def _is_traced() -> bool:
    """Whether operations are recorded for an export or a compiler."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # pyright: ignore


def _is_plain(x: Tensor, weight: Tensor) -> bool:
    """Whether a product is of float32, on a CPU."""
    is_float = x.dtype == weight.dtype == torch.float32
    return is_float and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


class _OneDnnLinear(torch.autograd.Function):
    """A linear map of rows of which all products are oneDNN's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return _product(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        x, weight = ctx.saved_tensors
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = _product(gradient, weight.t())
        if ctx.needs_input_grad[1]:
            # Either may be the transposed result. It is faster to go through the narrower one.
            if x.shape[1] < gradient.shape[1]:
                to_weight = _product(x.t(), gradient.t()).t()
            else:
                to_weight = _product(gradient.t(), x.t())
        if ctx.needs_input_grad[2]:
            to_bias = gradient.sum(dim=0)
        return to_x, to_weight, to_bias


def _rows(x: Tensor) -> Tensor:
    """Return a tensor as a matrix with the same last dimension."""
    return x.reshape(-1, x.shape[-1])


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x weight^T + bias by oneDNN. The operator is the one that compiled models use."""
    if bias is not None:
        bias = bias.expand(len(weight)).contiguous()
    return torch.ops.mkldnn._linear_pointwise(_whole(x), _whole(weight), bias, "none", [], "")


def _whole(matrix: Tensor) -> Tensor:
    """Return a matrix that is contiguous, itself or transposed. For a part of another one oneDNN
    takes its slowest way, a thousand times as long."""
    return matrix if matrix.t().is_contiguous() else matrix.contiguous()


class _ContiguousLinear(torch.autograd.Function):
    """A linear map that makes its matrices contiguous in the backward pass."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        x, weight = ctx.saved_tensors
        rows, gradients = _rows(x), _rows(gradient)
        # Either factor can be the transposed one; copying the narrower one is cheaper.
        if rows.shape[1] < gradients.shape[1]:
            to_weight = (rows.t().contiguous() @ gradients).t()
        else:
            to_weight = gradients.t().contiguous() @ rows
        to_bias = gradients.sum(dim=0) if ctx.needs_input_grad[2] else None
        return gradient @ weight, to_weight, to_bias
