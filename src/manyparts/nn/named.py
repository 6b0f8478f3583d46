"""Modules under any names."""

from __future__ import annotations

from torch import nn


class NamedModules(nn.ModuleDict):
    """A `ModuleDict` asked by names that may hold dots, such as cameras', which torch keeps for
    parameters' names.

    In those, and in `keys` and `items`, a dot is "%2E"; names without dots are as they are in a
    `ModuleDict`.
    """

    def __getitem__(self, key: str) -> nn.Module:
        return super().__getitem__(_escaped(key))

    def __setitem__(self, key: str, module: nn.Module) -> None:
        super().__setitem__(_escaped(key), module)

    def __contains__(self, key: str) -> bool:
        return super().__contains__(_escaped(key))


def _escaped(name: str) -> str:
    return name.replace(".", "%2E")
