"""Complete training configs by name: "method/phase-size".

A preset is a function that returns a config. Its method's module also has `FACTS`: what was
measured of each preset. Plug-ins add methods, see `facts.Method`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from manyparts.core.errors import UserError, closest
from manyparts.core.extras import in_a_line
from manyparts.core.plugins import Plugins, instance_of
from manyparts.methods.facts import Method, PresetFacts

if TYPE_CHECKING:
    from manyparts.training.config import TrainConfig


@dataclass(frozen=True)
class _Preset:
    """Where the function of a preset is. Names are listed without importing any method."""

    module: str
    function: str
    arguments: tuple[str, ...] = ()


def _checked(name: str, value: Any) -> Method:
    """What a plug-in's entry point gave, if it is a method that can be listed."""
    method = instance_of(Method)(name, value)
    if method.facts.keys() != method.presets.keys():
        raise TypeError(f"its facts are of {sorted(method.facts)}, not {sorted(method.presets)}")
    for facts in method.facts.values():
        instance_of(PresetFacts)(name, facts)
    return method


PLUGINS = Plugins("methods", lambda: OWN_METHODS, _checked)
"""Methods of other distributions, entry points of the group `manyparts.methods`."""


def preset_names() -> list[str]:
    """Return the names of all presets. Modules of this package are not imported for that, and those
    of plug-ins are; one that does not load is left out with a warning."""
    of_plugins = [
        f"{method}/{name}"
        for method, declared in PLUGINS.load_all().items()
        for name in declared.presets
    ]
    return sorted([*_PRESETS, *of_plugins])


def is_preset(name: str) -> bool:
    """Return whether there is a preset of that name. The only plug-in that is loaded for that is
    the one with the method that it names.

    Raises:
        UserError: That plug-in does not load.
    """
    method, _, own_name = name.partition("/")
    if name in _PRESETS or method not in PLUGINS.names():
        return name in _PRESETS
    return own_name in PLUGINS.load(method).presets


def preset(name: str) -> TrainConfig:
    """Return the config of that name.

    Raises:
        UserError: There is no such preset.
    """
    function, arguments = preset_function(name)
    method = name.partition("/")[0]
    return function(*arguments) if method not in PLUGINS.names() else _made(name, function)


def _made(name: str, function: Callable[[], TrainConfig]) -> TrainConfig:
    """The preset that a plug-in's function makes."""
    method = name.partition("/")[0]
    try:
        # The name under which a run records which plug-in it is of.
        return replace(function(), method=method)
    except Exception as error:
        raise UserError(
            f"{PLUGINS.title(method)} cannot make the preset {name} ({in_a_line(error)})"
        ) from error


def preset_function(name: str) -> tuple[Callable[..., TrainConfig], tuple[str, ...]]:
    """Return the function that makes a preset, and its arguments.

    Raises:
        UserError: There is no such preset.
    """
    _require_preset(name)
    if name not in _PRESETS:
        method, _, own_name = name.partition("/")
        return PLUGINS.load(method).presets[own_name], ()
    entry = _PRESETS[name]
    module = importlib.import_module(f"{__name__}.{entry.module}")
    return getattr(module, entry.function), entry.arguments


def describe(name: str) -> PresetFacts:
    """Return what a preset trains, and what was measured of it.

    Raises:
        UserError: There is no such preset.
    """
    _require_preset(name)
    method, _, own_name = name.partition("/")
    if name not in _PRESETS:
        return PLUGINS.load(method).facts[own_name]
    return importlib.import_module(f"{__name__}.{_PRESETS[name].module}").FACTS[own_name]


def _require_preset(name: str) -> None:
    if not isinstance(name, str) or not is_preset(name):
        choices = closest(str(name), preset_names(), command="manyparts list presets")
        raise UserError(f"unknown preset {name!r}; {choices}")


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
OWN_METHODS = tuple(dict.fromkeys(name.partition("/")[0] for name in _PRESETS))
"""The methods of this package."""
