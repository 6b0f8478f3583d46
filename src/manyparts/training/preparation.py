"""Build the system that a run trains, with the weights that it has before its next step."""

from __future__ import annotations

import math
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from manyparts.core.errors import UserError
from manyparts.core.plugins import used as plugins_used
from manyparts.core.printing import say
from manyparts.core.provenance import code_commit, command_line, package_versions
from manyparts.core.randomness import derive_seed
from manyparts.core.serialisation import content_hash, from_jsonable, to_jsonable
from manyparts.envs.registry import suite_of
from manyparts.models.checkpoint import (
    CheckpointInfo,
    load_info,
    load_trunk,
    load_weights,
    matches,
)
from manyparts.models.configs import ModelConfig
from manyparts.models.dynamics.configs import (
    ALL_SOURCES,
    LatentWorldConfig,
    TaughtWorldConfig,
)
from manyparts.objectives.system import System
from manyparts.training import preconditions
from manyparts.training.config import TrainConfig
from manyparts.training.frozen_features import require_frozen
from manyparts.training.inputs import Sources, joint_embodiments
from manyparts.training.optimizer import train_only, trained

# Weights do not depend on these.
_PRETRAINED = "pretrained"
_MAY_DIFFER = {"prompt", "dropout", _PRETRAINED, "next", "actions"}


def prepare(
    config: TrainConfig, sources: Sources, origin: Path | None, last: Path | None
) -> tuple[System, CheckpointInfo]:
    """Build a system, and load the weights that it has before its next step.

    Args:
        config: the model, the objectives and what is trained.
        sources: the datasets.
        origin: another run's checkpoint, with the weights that training starts from.
        last: this run's own last checkpoint, which training continues from.

    Returns:
        The system, on the CPU, and the description that its checkpoints carry.

    Raises:
        UserError: config, datasets and origin do not fit each other.
    """
    info = load_info(last) if last is not None else describe(config, sources, origin)
    torch.manual_seed(derive_seed("weights", config.seed))
    system = System.build(config.model, config.objectives, info.embodiment_set, config.window)
    if last is None:
        system.require_learnable()
        if math.isfinite(system.reward_limit):
            sources.require_rewards(system.reward_limit)
    learnable = set(trained(system))
    if last is not None:
        load_weights(system, last)
        has_values = _known_before(system, config, learnable)
    elif origin is not None:
        has_values = load_origin(origin, system, config, info)
    elif config.new_embodiment:
        raise UserError("new_embodiment needs a run to take the trunk of: --from RUN")
    else:
        loaded = [f"model.{part}*" for part in system.model.load_pretrained()]
        has_values = {name for name in learnable if matches(name, loaded)}
    trained_too = sorted(learnable - has_values) if config.new_embodiment else []
    train_only(system, [*config.train_only, *trained_too] if config.train_only else ())
    if not config.freeze_untrained:
        preconditions.require_nothing_left_random(system, sorted(learnable), has_values, origin)
    if config.cache_features:
        require_frozen(system)
    return system, info


def with_sources(config: TrainConfig, count: int) -> TrainConfig:
    """The config for so many datasets: a world model that tells all its sources apart gets to know
    how many there are.

    Args:
        config: the run's.
        count: how many datasets there are.
    """
    model = config.model
    if isinstance(model, LatentWorldConfig) and model.sources == ALL_SOURCES:
        config = replace(config, model=replace(model, sources=count if count > 1 else 0))
    return config


def describe(config: TrainConfig, sources: Sources, origin: Path | None) -> CheckpointInfo:
    """The description that this run's checkpoints carry: embodiments, configs and provenance.

    Args:
        config: the run's.
        sources: the datasets to train on.
        origin: the checkpoint that the run starts from; None for its own initial weights.
    """
    return CheckpointInfo(
        embodiments=joint_embodiments(sources, None if config.new_embodiment else origin)[0],
        model=to_jsonable(config.model),
        objectives=to_jsonable(config.objectives),
        window=to_jsonable(config.window),
        provenance=provenance(config, sources, origin),
    )


def provenance(
    config: TrainConfig, sources: Sources, origin: Path | None, *, acts_in: str | None = None
) -> dict[str, Any]:
    """Where a run's weights come from, as JSON values.

    Args:
        config: the run's.
        sources: the datasets to train on.
        origin: the checkpoint that the run starts from; None for its own initial weights.
        acts_in: the task that the run acts in while it learns; None: it learns from datasets alone.
    """
    plugins = sources.plugins | plugins_used(
        {
            "objectives": [type(each).__name__ for each in config.objectives.values()],
            "methods": [config.method],
            "suites": [] if acts_in is None else [suite_of(acts_in)],
        }
    )
    return {
        **({"plugins": plugins} if plugins else {}),
        "commit": code_commit(),
        "versions": package_versions(),
        "python": platform.python_version(),
        "config_hash": content_hash(config),
        "seed": config.seed,
        "dataset_fingerprint": sources.fingerprint,
        "data": sources.locations,
        "data_embodiments": [dataset.spec.embodiment for dataset in sources.datasets],
        "dataset_fingerprints": [dataset.content for dataset in sources.datasets],
        "rewarded": any(dataset.has_rewards for dataset in sources.datasets),
        "validation_fraction": config.validation_fraction,
        "start_from": origin and dict(load_info(origin).provenance),
        "arguments": command_line(),
    }


def load_origin(
    origin: Path, system: System, config: TrainConfig, info: CheckpointInfo
) -> set[str]:
    """Load another run's weights.

    Args:
        origin: the checkpoint.
        system: that gets the weights.
        config: says which parameters the origin may lack.
        info: the description of the run's own checkpoints.

    Returns:
        The names of the parameters that the origin has.

    Raises:
        UserError: the models differ.
    """
    earlier, now = load_info(origin), dict(info.model)
    # With the values of fields that an earlier version did not have.
    before = to_jsonable(from_jsonable(ModelConfig, dict(earlier.model)))
    was_world = before["type"] == LatentWorldConfig.__name__
    gains_teachers = was_world and isinstance(config.model, TaughtWorldConfig)
    if gains_teachers:
        # What a student has besides its world is new.
        now = {name: value for name, value in now.items() if name in before}
        now["type"] = before["type"]
    differences = _model_differences(before, now)
    robots = [each.spec.embodiment for each in earlier.embodiments]
    is_world = isinstance(config.model, LatentWorldConfig)
    if is_world and len(robots) > 1 and len(info.embodiments) == 1:
        raise UserError(
            f"{origin} is a world of {', '.join(robots)}, and this run has one robot; name the "
            "others' datasets with --sources, or start from a world of one robot"
        )
    if differences:
        raise UserError(f"the model differs from that of {origin}: {'; '.join(differences)}")
    if config.new_embodiment:
        return _load_trunk(origin, system)
    adds_prompts = earlier.model.get("prompt") is None and info.model.get("prompt") is not None
    if adds_prompts and not any("prompt_encoder" in name for name in config.new_parameters):
        raise UserError(
            f"{origin} reads no prompts, and this config tunes an agent that does; start from a "
            "run of phase II"
        )
    dropped = [
        f"objectives.{name}.*" for name in earlier.objectives if name not in config.objectives
    ]
    # A student takes the world alone: an actor without teachers does not read what its own does.
    own = ["objectives.actor_critic.*"] if gains_teachers else []
    return load_weights(system, origin, may_miss=config.new_parameters, ignore=dropped, keep=own)


def _load_trunk(origin: Path, system: System) -> set[str]:
    """Load what another embodiment can use of a run, and print how much that is.

    Raises:
        UserError: nothing of such a model can be used.
    """
    if not system.model.trunk:
        raise UserError(
            f"{origin} is of a {type(system.model).__name__}, in which all depends on the "
            "embodiment; train a new one without --from"
        )
    loaded = load_trunk(system, origin, _trunk_of(system))
    parameters = dict(system.named_parameters())
    sizes = {name: parameter.numel() for name, parameter in parameters.items()}
    kept, total = sum(sizes[name] for name in loaded if name in sizes), sum(sizes.values())
    say(
        f"a new embodiment: {kept / 1e6:.2f} of {total / 1e6:.2f} million parameters are those of "
        f"{origin}; cameras, state, actions and heads are fresh",
        error=True,
    )
    return loaded


def _known_before(system: System, config: TrainConfig, learnable: set[str]) -> set[str]:
    """The parameters that had values before this run, of a run that resumes."""
    if not config.new_embodiment:
        return learnable
    return {name for name in learnable if matches(name, _trunk_of(system))}


def _trunk_of(system: System) -> list[str]:
    return [f"model.{part}*" for part in system.model.trunk]


def _model_differences(earlier: Any, now: Any, name: str = "model") -> list[str]:
    """A text for each setting that two models' configs disagree in, except those that weights do
    not depend on. name: of the setting, with dots."""
    both = isinstance(earlier, dict) and isinstance(now, dict)
    if not both or earlier.get("type") != now.get("type"):
        # Of another type, one name says more than every setting that the other lacks.
        same = earlier == now
        return [] if same else [f"{name} was {_short(earlier)}, is {_short(now)}"]
    different = []
    for key in sorted((earlier.keys() | now.keys()) - _MAY_DIFFER):
        different += _model_differences(earlier.get(key), now.get(key), f"{name}.{key}")
    # Of which weights it started does not matter, but that it did: they have their own epsilon.
    own = [each.get(_PRETRAINED) for each in (earlier, now)]
    if bool(own[0]) != bool(own[1]):
        different.append(f"{name}.{_PRETRAINED} was {own[0]!r}, is {own[1]!r}")
    return different


def _short(setting: Any) -> str:
    """A setting's value, and of a part of a config its type alone."""
    return str(setting.get("type")) if isinstance(setting, dict) else repr(setting)
