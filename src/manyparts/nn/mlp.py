"""A plain multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from manyparts.nn.linear import Linear


class Mlp(nn.Sequential):
    """Layers that are called directly, so that hooks on single layers are not.

    `nn.Module.__call__` takes longer than a small layer computes, when a policy decides for one
    state.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return what the layers make of `input`, one after the other."""
        for layer in self._modules.values():
            input = layer.forward(input)  # pyright: ignore
        return input


def mlp(
    sizes: Sequence[int], *, dropout: float = 0.0, activation: type[nn.Module] = nn.GELU
) -> Mlp:
    """Return linear layers with an activation (and dropout) between them.

    Without dropout there are no dropout layers at all: the layers' numbers are part of the
    parameters' names, which stand in checkpoints.

    Args:
        sizes: Numbers per row of the input, of each hidden layer and of the output; at least two.
        dropout: Dropout probability after each hidden layer, from 0 to less than 1.
        activation: What follows each hidden layer.
    """
    layers: list[nn.Module] = []
    for index, (width_in, width_out) in enumerate(pairwise(sizes)):
        if index:
            layers += [activation(), nn.Dropout(dropout)] if dropout else [activation()]
        layers.append(Linear(width_in, width_out))
    return Mlp(*layers)
