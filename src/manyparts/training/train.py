"""Train one phase: from a config and a dataset to a run folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from manyparts.core.arguments import explained, path_of
from manyparts.core.devices import choose_device
from manyparts.core.host.launchers import launched_with_others
from manyparts.data.sampling.splits import split_episodes
from manyparts.models.checkpoint import CheckpointInfo, resolve
from manyparts.objectives.system import System
from manyparts.training import checkpoint, preconditions, run_folder
from manyparts.training.config import AugmentationConfig, TrainConfig, require_config
from manyparts.training.distributed.ranks import (
    LostPeerError,
    Ranks,
    join,
    launch,
    threads_for,
    torchrun_ranks,
)
from manyparts.training.inputs import Data, Sources, known_embodiments
from manyparts.training.loop import TrainContext, fit
from manyparts.training.metrics import Meter
from manyparts.training.precision import reproducible
from manyparts.training.preparation import prepare
from manyparts.training.run import Run
from manyparts.training.update import Learner
from manyparts.training.windows import curated, features_of, fill_caches, fit_on, windows_of


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
    with torchrun_ranks(device) as ranks, reproducible(device):
        if not ranks.first:
            _follow(ranks, device)
            return output
        if config.compile:
            preconditions.require_compiler(device)
        run_folder.require_free(output, resume=resume)
        names = embodiment or run_folder.named_embodiment(output)
        sources = Sources.open(data, weights, temperature=temperature, embodiment=names)
        if ranks.world > 1:
            config = replace(config, processes=ranks.world)
        preconditions.require_data(config, sources, device)
        with run_folder.hold(output):
            run = _begin(Run(config, sources, output, None, device, ranks), start_from)
            system, info = prepare(run.config, run.sources, run.origin, run.last_checkpoint())
            _record(run, system, info, start_from)
            fill_caches(run.config, run.sources, system.to(device))
            with _all_processes(run) as ranks:
                train_system(replace(run, ranks=ranks), system, info)
    return output


def train_as_worker(assignment: Mapping[str, Any]) -> None:
    """Be one of the processes that rank 0 launched; see `distributed.ranks.launch`."""
    device = torch.device("cpu")
    with reproducible(device), threads_for(assignment["world"]):
        run = Run.assigned(
            assignment, device, Ranks()
        )  # what cannot be read ends us before we join
        ranks = join(assignment["rank"], assignment["world"], assignment["port"])
        _train_assigned(replace(run, ranks=ranks))


def train_system(run: Run, system: System, info: CheckpointInfo) -> None:
    """Train a prepared system from its last checkpoint, or the start, to the last step."""
    config, sources, ranks = run.config, run.sources, run.ranks
    system.to(run.device)
    features = features_of(config, sources, system) if config.cache_features else None
    if config.cache_features:  # encoded frames cannot be augmented
        config = replace(
            config, augmentation=AugmentationConfig(state_noise=config.augmentation.state_noise)
        )
    for tensor in system.state_dict().values():
        ranks.broadcast(tensor)
    learner = Learner(system, config, ranks, run.device)
    last = run.last_checkpoint()
    start, meter = checkpoint.restore(last, learner) if last else (0, Meter())
    splits = [
        split_episodes(dataset.episode_task, config.validation_fraction, config.seed)
        for dataset in sources.datasets
    ]
    chosen = [
        curated(dataset, episodes, config.curation)
        for dataset, (episodes, _) in zip(sources.datasets, splits, strict=True)
    ]
    hold = run.device if not config.buffer_frames and fit_on(run.device, sources) else None
    training = windows_of(config, sources, info, features, chosen, ranks, hold=hold)
    held_out = [episodes for _, episodes in splits]
    validates = (ranks.first or learner.sharded) and any(map(len, held_out))
    validation = (
        windows_of(config, sources, info, features, held_out, Ranks()) if validates else None
    )
    try:
        fit(
            TrainContext(config, learner, training, validation, info, run.output, ranks),
            start,
            meter,
        )
    finally:
        for windows in filter(None, (training, validation)):
            windows.close()


def _begin(run: Run, start_from: str | Path | None) -> Run:
    """The run with the checkpoint that it starts from, if it has none of its own. Raises UserError
    where the folder's run has other settings."""
    if (run.output / run_folder.CONFIG).exists():
        start_from = run_folder.require_same(run.output, run.config, run.sources)["start_from"]
    if run.last_checkpoint() is not None or start_from is None:
        return run
    return replace(run, origin=resolve(start_from))


def _record(run: Run, system: System, info: CheckpointInfo, start_from: str | Path | None) -> None:
    """Say what the user must know of the run, and write down what it is, unless it resumes."""
    earlier = run.origin or (run.output if run.last_checkpoint() is not None else None)
    preconditions.report_embodiments(run.sources, info, earlier)
    if (run.output / run_folder.CONFIG).exists():
        return
    preconditions.require_distinct_tasks(run.config, system, info)
    preconditions.report_scales(info, known_embodiments(run.sources, run.origin)[1])
    run_folder.write_config(run.output, run.config, _facts(run.sources, start_from, info))


def _facts(sources: Sources, start_from: str | Path | None, info: CheckpointInfo) -> dict[str, Any]:
    """What config.json holds beside the config: a mixture's datasets have weights."""
    paths = sources.locations
    facts: dict[str, Any] = {"data": paths[0] if len(paths) == 1 else paths}
    if len(paths) > 1:
        facts["weights"] = list(sources.weights)
    if sources.embodiment:
        facts["embodiment"] = list(sources.embodiment)
    facts["start_from"] = None if start_from is None else str(Path(start_from).resolve())
    return facts | {"provenance": dict(info.provenance)}


@contextlib.contextmanager
def _all_processes(run: Run) -> Iterator[Ranks]:
    """Rank 0 among all processes while the block runs: those of torchrun, which wait to be told
    what to train, or on a CPU as many workers as the config asks for."""
    if run.ranks.world > 1:
        run.ranks.broadcast_object(run.assignment())
        yield run.ranks
        return
    processes = run.config.processes if run.device.type == "cpu" else 1
    with launch(processes, run.assignment()) as ranks:
        yield ranks


def _follow(ranks: Ranks, device: torch.device) -> None:
    """Be another process of torchrun: rank 0 says what to train, and tells people if one is
    lost."""
    try:
        _train_assigned(Run.assigned(ranks.broadcast_object(), device, ranks))
    except LostPeerError:
        raise SystemExit(2) from None


def _train_assigned(run: Run) -> None:
    system, info = prepare(run.config, run.sources, run.origin, run.last_checkpoint())
    train_system(run, system, info)
