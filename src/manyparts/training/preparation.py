"""The system that a run trains, before its next step, and what checkpoints say of it."""

from __future__ import annotations

import math
import platform
from pathlib import Path
from typing import Any

import torch

from manyparts.core.errors import UserError
from manyparts.core.provenance import code_commit, command_line, package_versions
from manyparts.core.randomness import derive_seed
from manyparts.core.serialisation import content_hash, to_jsonable
from manyparts.models.checkpoint import CheckpointInfo, load_info, load_weights, matches
from manyparts.objectives.system import System
from manyparts.training import preconditions
from manyparts.training.config import TrainConfig
from manyparts.training.frozen_features import require_frozen
from manyparts.training.inputs import Sources, known_embodiments
from manyparts.training.optimizer import train_only, trained

_MAY_DIFFER = {"prompt", "dropout", "pretrained", "next"}  # no weight depends on these


def prepare(
    config: TrainConfig, sources: Sources, origin: Path | None, last: Path | None
) -> tuple[System, CheckpointInfo]:
    """The system before its next step, and what checkpoints say of it. origin: another run's
    checkpoint to begin with. last: this run's own, to go on from. Raises UserError where config,
    datasets and origin do not fit.
    """
    info = load_info(last) if last is not None else describe(config, sources, origin)
    torch.manual_seed(derive_seed("weights", config.seed))
    system = System.build(config.model, config.objectives, info.embodiment_set, config.window)
    if last is None and math.isfinite(system.reward_limit):
        sources.require_rewards(system.reward_limit)
    learnable = set(trained(system))
    if last is not None:
        load_weights(system, last)
        known = learnable
    elif origin is not None:
        known = _begin_with(origin, system, config, info)
    else:
        loaded = [f"model.{part}*" for part in system.model.load_pretrained()]
        known = {name for name in learnable if matches(name, loaded)}
    train_only(system, config.train_only)
    if not config.freeze_untrained:
        preconditions.require_nothing_left_random(system, sorted(learnable), known, origin)
    if config.cache_features:
        require_frozen(system)
    return system, info


def describe(config: TrainConfig, sources: Sources, origin: Path | None) -> CheckpointInfo:
    """What a checkpoint of this run says of itself."""
    return CheckpointInfo(
        embodiments=known_embodiments(sources, origin)[0],
        model=to_jsonable(config.model),
        objectives=to_jsonable(config.objectives),
        window=to_jsonable(config.window),
        provenance=provenance(config, sources, origin),
    )


def provenance(config: TrainConfig, sources: Sources, origin: Path | None) -> dict[str, Any]:
    """Where a run's weights come from, as JSON values."""
    return {
        "commit": code_commit(),
        "versions": package_versions(),
        "python": platform.python_version(),
        "config_hash": content_hash(config),
        "seed": config.seed,
        "dataset_fingerprint": sources.fingerprint,
        "dataset_fingerprints": [dataset.fingerprint for dataset in sources.datasets],
        "rewarded": any(dataset.has_rewards for dataset in sources.datasets),
        "validation_fraction": config.validation_fraction,
        "start_from": origin and dict(load_info(origin).provenance),
        "arguments": command_line(),
    }


def _begin_with(
    origin: Path, system: System, config: TrainConfig, info: CheckpointInfo
) -> set[str]:
    """Load the weights of a checkpoint; the names of those that it has. Raises UserError where the
    models differ."""
    theirs = load_info(origin)
    differences = _model_differences(dict(theirs.model), dict(info.model))
    if differences:
        raise UserError(f"the model differs from that of {origin}: {'; '.join(differences)}")
    begins_prompts = theirs.model.get("prompt") is None and info.model.get("prompt") is not None
    if begins_prompts and not any("prompt_encoder" in name for name in config.new_parameters):
        raise UserError(
            f"{origin} reads no prompts, and this config tunes an agent that does; start from phase II"
        )
    dropped = [
        f"objectives.{name}.*" for name in theirs.objectives if name not in config.objectives
    ]
    return load_weights(system, origin, may_miss=config.new_parameters, ignore=dropped)


def _model_differences(theirs: Any, ours: Any, where: str = "model") -> list[str]:
    """What two models' configs disagree in, beside what weights do not depend on."""
    if not (isinstance(theirs, dict) and isinstance(ours, dict)):
        return [] if theirs == ours else [f"{where} was {theirs!r}, is {ours!r}"]
    keys = sorted((theirs.keys() | ours.keys()) - _MAY_DIFFER)
    return [
        text
        for key in keys
        for text in _model_differences(theirs.get(key), ours.get(key), f"{where}.{key}")
    ]
