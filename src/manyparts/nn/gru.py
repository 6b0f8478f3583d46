"""A gated recurrent unit with normalised gates, as in the Dreamer agents."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyparts.nn.linear import Linear

_sigmoid_backward = torch.ops.aten.sigmoid_backward.default
_tanh_backward = torch.ops.aten.tanh_backward.default


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
        self.gates = Linear(inputs + width, 3 * width, bias=False)
        self.norm = nn.LayerNorm(3 * width)

    def forward(
        self, inputs: Float[Tensor, "n i"], state: Float[Tensor, "n d"]
    ) -> Float[Tensor, "n d"]:
        """Return the next state."""
        # Called directly: see `nn.mlp.Mlp`.
        gates = self.norm.forward(self.gates.forward(torch.cat([inputs, state], dim=-1)))
        if not torch.is_grad_enabled():
            return gated(gates, state)[0]
        return _Gated.apply(gates, state)


class _Gated(torch.autograd.Function):
    """What gates make of a state, in few operations: autograd would record seven small ones."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, state: Tensor) -> Tensor:
        following, *used = gated(gates, state)
        ctx.save_for_backward(state, *used)
        return following

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore
        return gated_backward(gradient, *ctx.saved_tensors)


def gated(gates: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the next state, and what the backward pass reads: reset gate, candidate before that,
    candidate, update gate."""
    reset, proposed, update = gates.chunk(3, dim=-1)
    reset = reset.sigmoid()
    candidate = (reset * proposed).tanh_()
    update = (update - 1).sigmoid_()
    # Where `update` is 1 the candidate replaces the state.
    return torch.lerp(state, candidate, update), reset, proposed, candidate, update


def gated_backward(
    gradient: Tensor,
    state: Tensor,
    reset: Tensor,
    proposed: Tensor,
    candidate: Tensor,
    update: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of gates and state from that of the next state.

    Args:
        gradient: Of the next state.
        state: Before.
        reset: See `gated`.
        proposed: See `gated`.
        candidate: See `gated`.
        update: See `gated`.
    """
    of_product = _tanh_backward(passed := gradient * update, candidate)
    to_gates = torch.cat(
        [
            _sigmoid_backward(of_product * proposed, reset),
            of_product * reset,
            _sigmoid_backward((candidate - state).mul_(gradient), update),
        ],
        dim=-1,
    )
    return to_gates, gradient - passed
