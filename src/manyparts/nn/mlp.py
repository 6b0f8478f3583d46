"""A plain multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from manyparts.nn.linear import Linear


def mlp(
    sizes: Sequence[int], *, dropout: float = 0.0, activation: type[nn.Module] = nn.GELU
) -> nn.Sequential:
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
    return nn.Sequential(*layers)
