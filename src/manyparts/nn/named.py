"""Modules under names of any kind."""

from __future__ import annotations

from torch import nn


class NamedModules(nn.ModuleDict):
    """A `ModuleDict` with names that may contain dots, such as cameras' names.

    torch reserves the dot for parameters' names, so it is stored as "%2E", also in `keys` and
    `items`. Names without dots are as in a `ModuleDict`.
    """

    def __getitem__(self, key: str) -> nn.Module:
        return super().__getitem__(_escaped(key))

    def __setitem__(self, key: str, module: nn.Module) -> None:
        super().__setitem__(_escaped(key), module)

    def __contains__(self, key: str) -> bool:
        return super().__contains__(_escaped(key))


def _escaped(name: str) -> str:
    """Return the name with its dots percent-encoded, as in a URL."""
    return name.replace(".", "%2E")
