"""Complete training configs by name: "method/phase-size".

A preset is a function that returns a config. Its method's module also has `FACTS`: what was
measured of each preset.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from manyparts.core.errors import UserError, closest
from manyparts.methods.facts import PresetFacts

if TYPE_CHECKING:
    from manyparts.training.config import TrainConfig


@dataclass(frozen=True)
class _Preset:
    """Where the function of a preset is. Names are listed without importing any method."""

    module: str
    function: str
    arguments: tuple[str, ...] = ()


def preset_names() -> list[str]:
    """Return the names of all presets, without importing their modules."""
    return sorted(_PRESETS)


def preset(name: str) -> TrainConfig:
    """Return the config of that name.

    Raises:
        UserError: There is no such preset.
    """
    function, arguments = preset_function(name)
    return function(*arguments)


def preset_function(name: str) -> tuple[Callable[..., TrainConfig], tuple[str, ...]]:
    """Return the function that makes a preset, and its arguments.

    Raises:
        UserError: There is no such preset.
    """
    entry = _entry(name)
    module = importlib.import_module(f"{__name__}.{entry.module}")
    return getattr(module, entry.function), entry.arguments


def describe(name: str) -> PresetFacts:
    """Return what a preset trains, and what was measured of it.

    Raises:
        UserError: There is no such preset.
    """
    module = importlib.import_module(f"{__name__}.{_entry(name).module}")
    _, _, own_name = name.partition("/")
    return module.FACTS[own_name]


def _entry(name: str) -> _Preset:
    if not isinstance(name, str) or name not in _PRESETS:
        choices = closest(str(name), preset_names(), command="manyparts list presets")
        raise UserError(f"unknown preset {name!r}; {choices}")
    return _PRESETS[name]


def _presets() -> dict[str, _Preset]:
    return _dualmind() | _inverse_dynamics() | _dynamics() | _dreamer() | _vid2act()


def _dualmind() -> dict[str, _Preset]:
    sizes_by_phase = {
        "phase1": ("debug", "laptop", "metaworld45", "base"),
        "phase2": ("debug", "laptop", "metaworld45", "base"),
        "phase2-prompts": ("debug", "laptop"),
        "phase2-prompts-minilm": ("laptop",),
        "tune": ("debug", "laptop", "metaworld45"),
    }
    presets = {}
    for phase, sizes in sizes_by_phase.items():
        for size in sizes:
            function = f"{phase}_{size}".replace("-", "_")
            presets[f"dualmind/{phase}-{size}"] = _Preset("dualmind", function)
    return presets


_SIZES = ("debug", "laptop", "paper")
_ONLINE_SIZES = ("debug", "laptop", "base")


def _inverse_dynamics() -> dict[str, _Preset]:
    objectives = (
        "inverse-dynamics",
        "inverse-dynamics-far",
        "cloning",
        "forward-pixels",
        "forward-contrastive",
        "forward-contrastive-tuned",
        "static-contrastive",
        "static-contrastive-tuned",
    )
    functions = {
        "finetune": "finetune",
        "finetune-states": "finetune_states",
        "scratch": "from_scratch",
    }
    module = "inverse_dynamics"
    presets = {}
    for size in _SIZES:
        for objective in objectives:
            presets[f"{module}/{objective}-{size}"] = _Preset(module, "pretrain", (objective, size))
        for name, function in functions.items():
            presets[f"{module}/{name}-{size}"] = _Preset(module, function, (size,))
    return presets


def _dynamics() -> dict[str, _Preset]:
    module = "transformer_dynamics"
    presets = {}
    for size in _SIZES:
        for decoding in ("parallel", "sequential"):
            presets[f"dynamics/{decoding}-{size}"] = _Preset(module, "dynamics", (decoding, size))
        for function in ("generalist", "mlp", "ensemble", "recurrent"):
            presets[f"dynamics/{function}-{size}"] = _Preset(module, function, (size,))
    return presets


def _dreamer() -> dict[str, _Preset]:
    return {f"dreamer/{size}": _Preset("dreamer", "online", (size,)) for size in _ONLINE_SIZES}


def _vid2act() -> dict[str, _Preset]:
    functions = {
        "teachers-": "teachers",
        "world-": "world",
        "": "student",
        "distilled-": "distilled",
        "rehearsed-": "rehearsed",
        "frozen-": "frozen",
    }
    return {
        f"vid2act/{prefix}{size}": _Preset("vid2act", function, (size,))
        for prefix, function in functions.items()
        for size in _ONLINE_SIZES
    }


_PRESETS = _presets()
