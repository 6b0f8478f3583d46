"""Complete training configurations by name: "method/phase-size". A preset is a function that returns one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.types import UserError

if TYPE_CHECKING:
    from understudy.training.config import TrainConfig

_PHASES = {
    "phase1": ("debug", "laptop", "metaworld45", "base"),
    "phase2": ("debug", "laptop", "metaworld45", "base"),
    "phase2-prompts": ("debug", "laptop"),
    "phase2-prompts-minilm": ("laptop",),
}
_PRESETS = {
    f"dualmind/{phase}-{size}": ("dualmind", f"{phase}_{size}".replace("-", "_"))
    for phase, sizes in _PHASES.items()
    for size in sizes
}


def preset_names() -> list[str]:
    """All presets, without importing any."""
    return sorted(_PRESETS)


def preset(name: str) -> TrainConfig:
    """The configuration of that name. Raises UserError for an unknown one."""
    import importlib

    if name not in _PRESETS:
        raise UserError(f"unknown preset {name!r}; known: {', '.join(preset_names())}")
    module, function = _PRESETS[name]
    return getattr(importlib.import_module(f"understudy.methods.{module}"), function)()
