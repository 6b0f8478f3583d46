"""Complete training configurations by name: "method/phase-size". A preset is a function that
returns one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from manyparts.core.errors import UserError, closest

if TYPE_CHECKING:
    from manyparts.training.config import TrainConfig

_DUALMIND = {
    "phase1": ("debug", "laptop", "metaworld45", "base"),
    "phase2": ("debug", "laptop", "metaworld45", "base"),
    "phase2-prompts": ("debug", "laptop"),
    "phase2-prompts-minilm": ("laptop",),
    "tune": ("debug", "laptop", "metaworld45"),
}
_REPRESENTATIONS = (
    "inverse-dynamics",
    "inverse-dynamics-far",
    "cloning",
    "forward-pixels",
    "forward-contrastive",
    "forward-contrastive-tuned",
    "static-contrastive",
    "static-contrastive-tuned",
)
_FINETUNED = {
    "finetune": "finetune",
    "finetune-states": "finetune_states",
    "scratch": "from_scratch",
}
_SIZES = ("debug", "laptop", "paper")
_PRESETS: dict[str, tuple[str, str, tuple[str, ...]]] = {  # module, function, arguments
    f"dualmind/{phase}-{size}": ("dualmind", f"{phase}_{size}".replace("-", "_"), ())
    for phase, sizes in _DUALMIND.items()
    for size in sizes
}
for _size in _SIZES:
    for _objective in _REPRESENTATIONS:
        _PRESETS[f"inverse_dynamics/{_objective}-{_size}"] = (
            "inverse_dynamics",
            "pretrain",
            (_objective, _size),
        )
    for _name, _function in _FINETUNED.items():
        _PRESETS[f"inverse_dynamics/{_name}-{_size}"] = ("inverse_dynamics", _function, (_size,))
    for _decoding in ("parallel", "sequential"):
        _PRESETS[f"dynamics/{_decoding}-{_size}"] = (
            "transformer_dynamics",
            "dynamics",
            (_decoding, _size),
        )
    for _function in ("generalist", "mlp", "ensemble", "recurrent"):
        _PRESETS[f"dynamics/{_function}-{_size}"] = ("transformer_dynamics", _function, (_size,))


def preset_names() -> list[str]:
    """All presets, without importing any."""
    return sorted(_PRESETS)


def preset(name: str) -> TrainConfig:
    """The configuration of that name. Raises UserError for an unknown one."""
    make, arguments = preset_function(name)
    return make(*arguments)


def preset_function(name: str) -> tuple[Callable[..., TrainConfig], tuple[str, ...]]:
    """The function that makes a preset, and its arguments. Raises UserError for an unknown
    preset."""
    import importlib

    if not isinstance(name, str) or name not in _PRESETS:
        raise UserError(
            f"unknown preset {name!r}; {closest(str(name), preset_names(), command='manyparts list presets')}"
        )
    module, function, arguments = _PRESETS[name]
    return getattr(importlib.import_module(f"manyparts.methods.{module}"), function), arguments
