"""Parameters that pass gradients on but get none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def held(*modules: nn.Module) -> Iterator[None]:
    """Let a computation go through modules without training them.

    Gradients still flow through the modules to their inputs. So an actor learns through a world
    model, and leaves it as it is. Parameters that were frozen before stay frozen.
    """
    parameters = [
        parameter
        for module in modules
        for parameter in module.parameters()
        if parameter.requires_grad
    ]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
