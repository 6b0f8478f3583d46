"""Train one phase: from a config and a dataset to a run folder."""

from __future__ import annotations

import contextlib
import math
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manyparts.core.arguments import explained, path_of
from manyparts.core.devices import choose_device
from manyparts.core.errors import UserError
from manyparts.core.host.launchers import launched_with_others
from manyparts.core.provenance import code_commit, package_versions
from manyparts.core.randomness import derive_seed
from manyparts.core.serialisation import content_hash, from_jsonable, to_jsonable
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.mixture import Mixture
from manyparts.data.sampling.splits import split_episodes
from manyparts.data.sampling.stream import StreamedWindows
from manyparts.data.sampling.windows import Windows
from manyparts.data.tools.quality import best_episodes
from manyparts.models.checkpoint import CheckpointInfo, load_info, load_weights, matches, resolve
from manyparts.objectives.system import DynamicsConfig, System, sees_images
from manyparts.training import checkpoint, preconditions, run_folder
from manyparts.training.config import (
    AugmentationConfig,
    CurationConfig,
    TrainConfig,
    require_config,
)
from manyparts.training.distributed.ranks import (
    LostPeerError,
    Ranks,
    join,
    launch,
    threads_for,
    torchrun_ranks,
)
from manyparts.training.frozen_features import frozen_features, require_frozen
from manyparts.training.inputs import Data, Sources, known_embodiments
from manyparts.training.loop import AnyWindows, TrainContext, fit
from manyparts.training.metrics import Meter
from manyparts.training.optimizer import train_only, trained
from manyparts.training.precision import computed_precision, flushed_denormals
from manyparts.training.update import Learner

_HELD_PART = 0.25  # of a GPU's free memory
_MAY_DIFFER = {"prompt", "dropout", "pretrained", "next"}


@explained(config=TrainConfig)
def train(
    config: TrainConfig,
    *,
    data: Data | Sequence[Data],
    output: str | Path,
    weights: Sequence[float] = (),
    temperature: float | None = None,
    embodiment: str | Sequence[str] = (),
    start_from: str | Path | None = None,
    resume: bool = False,
    device: str | torch.device = "auto",
) -> Path:
    """Train `config` on the dataset at `data`, or a mixture of several; the run's folder `output`
    is returned.

    data: a dataset, or what `EpisodeDataset.open` takes. weights: how much of every batch each
    dataset gives; none: each as much. temperature, embodiment: see `Sources.open`. start_from: a
    run or checkpoint whose weights this one begins with, whose embodiments and scales of states and
    actions it keeps, but for numbers that never moved there. resume: continue the run in `output`
    from its last checkpoint; on a CPU its losses are those of a run that was never stopped, to the
    bit. device: "auto" (cuda, else mps, else cpu) or a torch device.

    Raises UserError, with nothing written, for bad input; KeyboardInterrupt after SIGINT, with a
    checkpoint written.
    """
    require_config(config)
    output = path_of(output, "output")
    start_from = None if start_from is None else path_of(start_from, "start_from")
    launched = launched_with_others()
    device = choose_device(device, process=None if launched is None else launched.local_rank)
    with torchrun_ranks(device) as ranks, _reproducible(device):
        if ranks.first:
            if config.compile:
                preconditions.require_compiler(device)
            run_folder.require_free(output, resume=resume)
            names = embodiment or run_folder.named_embodiment(output)
            sources = Sources.open(data, weights, temperature=temperature, embodiment=names)
            _lead(config, sources, output, start_from, device, ranks)
        else:
            _follow(ranks, device)
    return output


def train_as_worker(assignment: Mapping[str, Any]) -> None:
    """The part of a process other than rank 0; see `distributed.launch`."""
    assigned, device = _read(assignment), torch.device("cpu")
    with _reproducible(device), threads_for(assignment["world"]):
        _work(*assigned, device, join(assignment["rank"], assignment["world"], assignment["port"]))


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
        "arguments": sys.argv,
    }


def _lead(
    config: TrainConfig,
    sources: Sources,
    output: Path,
    start_from: str | Path | None,
    device: torch.device,
    ranks: Ranks,
) -> None:
    """The part of rank 0: look at all that is asked for, hold the run's folder, train."""
    if ranks.world > 1:
        config = replace(config, processes=ranks.world)
    preconditions.require_data(config, sources, device)
    with run_folder.hold(output):
        begun = (output / run_folder.CONFIG).exists()
        if begun:
            start_from = run_folder.require_same(output, config, sources)["start_from"]
        last = checkpoint.last(output)
        origin = None if last or start_from is None else resolve(start_from)
        system, info = prepare(config, sources, origin, last)
        preconditions.report_embodiments(sources, info, origin or (last and output))
        if not begun:
            preconditions.require_distinct_tasks(config, system, info)
            preconditions.report_scales(info, known_embodiments(sources, origin)[1])
            run_folder.write_config(output, config, _facts(sources, start_from, info))
        _train(config, sources, output, origin, system, info, device, ranks)


def _follow(ranks: Ranks, device: torch.device) -> None:
    """The part of torchrun's other processes: rank 0 tells what to train, and tells people if one
    is lost."""
    try:
        _work(*_read(ranks.broadcast_object()), device, ranks)
    except LostPeerError:
        raise SystemExit(2) from None


def _read(assignment: Mapping[str, Any]) -> tuple[TrainConfig, Sources, Path, Path | None]:
    """Config, data, output and origin of what rank 0 has assigned."""
    origin = assignment["origin"] and Path(assignment["origin"])
    config = from_jsonable(TrainConfig, assignment["config"])
    sources = Sources.open(
        assignment["data"], assignment["weights"], embodiment=assignment["embodiment"]
    )
    return config, sources, Path(assignment["output"]), origin


def _work(
    config: TrainConfig,
    sources: Sources,
    output: Path,
    origin: Path | None,
    device: torch.device,
    ranks: Ranks,
) -> None:
    """The part of a rank that does not lead."""
    system, info = prepare(config, sources, origin, checkpoint.last(output))
    _fit(config, sources, output, system, info, device, ranks)


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


def _facts(sources: Sources, start_from: str | Path | None, info: CheckpointInfo) -> dict[str, Any]:
    """What config.json holds beside the config: a mixture's datasets have weights."""
    origin = None if start_from is None else str(Path(start_from).resolve())
    paths = sources.locations
    data = (
        {"data": paths[0]} if len(paths) == 1 else {"data": paths, "weights": list(sources.weights)}
    )
    data |= {"embodiment": list(sources.embodiment)} if sources.embodiment else {}
    return data | {"start_from": origin, "provenance": dict(info.provenance)}


def _train(
    config: TrainConfig,
    sources: Sources,
    output: Path,
    origin: Path | None,
    system: System,
    info: CheckpointInfo,
    device: torch.device,
    ranks: Ranks,
) -> None:
    """Decode frames and encode them, so that other processes find them; then train with those of
    torchrun, or with as many as asked for."""
    for dataset in sources.datasets if not config.buffer_frames else ():
        FrameCache.open(dataset)
    if config.cache_features:
        if config.augmentation.changes_images:
            print(
                "cache_features: augmentation of images is off, since encoded frames cannot be augmented",
                file=sys.stderr,
            )
        _features(config, sources, system.to(device))
    assignment = {
        "config": to_jsonable(config),
        "data": sources.locations,
        "weights": sources.weights,
        "embodiment": sources.embodiment,
        "output": str(output.resolve()),
        "origin": origin and str(origin.resolve()),
    }
    if ranks.world > 1:
        ranks.broadcast_object(assignment)
        _fit(config, sources, output, system, info, device, ranks)
        return
    with launch(config.processes if device.type == "cpu" else 1, assignment) as ranks:
        _fit(config, sources, output, system, info, device, ranks)


def _fit(
    config: TrainConfig,
    sources: Sources,
    output: Path,
    system: System,
    info: CheckpointInfo,
    device: torch.device,
    ranks: Ranks,
) -> None:
    features = _features(config, sources, system.to(device)) if config.cache_features else None
    if config.cache_features:
        config = replace(
            config, augmentation=AugmentationConfig(state_noise=config.augmentation.state_noise)
        )
    for tensor in system.to(device).state_dict().values():
        ranks.broadcast(tensor)
    learner = Learner(system, config, ranks, device)
    last = checkpoint.last(output)
    start, meter = checkpoint.restore(last, learner) if last else (0, Meter())
    splits = [
        split_episodes(dataset.episode_task, config.validation_fraction, config.seed)
        for dataset in sources.datasets
    ]
    chosen = [
        _curated(dataset, episodes, config.curation)
        for dataset, (episodes, _) in zip(sources.datasets, splits, strict=True)
    ]
    hold = device if not config.buffer_frames and _fit_on(device, sources) else None
    training = _windows(config, sources, info, features, chosen, ranks, hold=hold)
    held_out = [episodes for _, episodes in splits]
    validated = (ranks.first or learner.sharded) and any(len(episodes) for episodes in held_out)
    validation = _windows(config, sources, info, features, held_out, Ranks()) if validated else None
    try:
        fit(TrainContext(config, learner, training, validation, info, output, ranks), start, meter)
    finally:
        for windows in filter(None, (training, validation)):
            windows.close()


def _curated(dataset: EpisodeDataset, episodes: np.ndarray, curation: CurationConfig) -> np.ndarray:
    """The episodes to train on that are left when the worst ones go."""
    if not curation.drop:
        return episodes
    return np.intersect1d(episodes, best_episodes(dataset, curation.measure, curation.drop))


def _windows(
    config: TrainConfig,
    sources: Sources,
    info: CheckpointInfo,
    features: Sequence[Mapping[str, np.ndarray]] | None,
    episodes: Sequence[np.ndarray],
    ranks: Ranks,
    *,
    hold: torch.device | None = None,
) -> AnyWindows:
    """Windows of the chosen episodes of each dataset; of one dataset of an agent with one
    embodiment, as they are. Of one that is streamed, each rank reads its own files. hold: a device
    in whose memory all frames are held."""
    embodiments, parts, weights = info.embodiment_set, [], []
    alone = len(sources.datasets) == len(embodiments.specs) == 1
    for number, (dataset, chosen) in enumerate(zip(sources.datasets, episodes, strict=True)):
        if not len(chosen):
            continue
        embodiment = info.embodiment_of(dataset.spec, f"{dataset.path} is of another embodiment")
        dataset = dataset.bounded_as(embodiment.spec)
        weights.append(sources.weights[number])
        given: dict[str, Any] = {
            "seed": config.seed,
            "episodes": chosen.tolist(),
            "statistics": embodiment.statistics,
        }
        if config.buffer_frames:
            given |= {"spec": embodiment.spec} | (
                {"reader": ranks.rank, "readers": ranks.world} if alone else {}
            )
            streamed = StreamedWindows(
                dataset.location, config.window, buffer_frames=config.buffer_frames, **given
            )
            parts.append(streamed)
            continue
        own = (
            features[number] if features is not None else None if sees_images(config.model) else {}
        )
        cache = FrameCache.open(dataset)
        if hold is not None and own is None:
            given["frames"] = cache.on(hold)
        parts.append(Windows(dataset, cache, config.window, features=own, **given))
    return parts[0] if alone else Mixture(parts, weights, embodiments, seed=config.seed)


def _fit_on(device: torch.device, sources: Sources) -> bool:
    """Whether the frames of all datasets together take no more than a part of what is free of a
    GPU's memory."""
    if device.type != "cuda":
        return False
    size = sum(FrameCache.open(dataset).image_bytes for dataset in sources.datasets)
    return size <= _HELD_PART * torch.cuda.mem_get_info(device)[0]


def _features(config: TrainConfig, sources: Sources, system: System) -> list[dict[str, np.ndarray]]:
    """Of each dataset, by camera."""
    assert not isinstance(config.model, DynamicsConfig), "its config does not allow features"
    device = next(system.parameters()).device
    given: dict[str, Any] = {
        "encoder": config.model.encoder,
        "precision": computed_precision(config.precision, device),
    }
    return [
        frozen_features(system, dataset, FrameCache.open(dataset), **given)
        for dataset in sources.datasets
    ]


@contextlib.contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """The caller's random state is left as it was; on a CPU only algorithms that repeat to the bit
    are used, and denormal numbers count as zero."""
    before = torch.are_deterministic_algorithms_enabled()
    settings: Any = torch.utils.deterministic
    fill = settings.fill_uninitialized_memory
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        flushed_denormals(device),
    ):
        try:
            if device.type == "cpu":
                torch.use_deterministic_algorithms(True, warn_only=True)
                settings.fill_uninitialized_memory = False
            yield
        finally:
            torch.use_deterministic_algorithms(before)
            settings.fill_uninitialized_memory = fill
