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
from manyparts.core.errors import UserError
from manyparts.core.host.launchers import launched_with_others
from manyparts.core.printing import say
from manyparts.embodiment.views.view import View
from manyparts.models.checkpoint import CheckpointInfo, load_info, resolve
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
from manyparts.training.inputs import Data, Sources, joint_embodiments
from manyparts.training.loop import TrainContext, fit
from manyparts.training.metrics import Meter
from manyparts.training.precision import reproducible
from manyparts.training.preparation import prepare, with_sources
from manyparts.training.run import Run
from manyparts.training.trackers import require_tracker
from manyparts.training.update import Learner
from manyparts.training.windows import features_of, fill_caches, open_windows

Viewed = View | Mapping[str, Any] | str | Path
"""What `View.of` takes."""


@explained(config=TrainConfig)
def train(
    config: TrainConfig,
    *,
    data: Data | Sequence[Data],
    output: str | Path,
    weights: Sequence[float] = (),
    temperature: float | None = None,
    embodiment: str | Sequence[str] = (),
    view: Viewed | Sequence[Viewed | None] = (),
    start_from: str | Path | None = None,
    resume: bool = False,
    device: str | torch.device = "auto",
    track: str | None = None,
) -> Path:
    """Train `config` on one dataset, or on a mixture of several.

    Args:
        config: a preset, or one that you changed.
        data: a dataset or several, each as `EpisodeDataset.open` takes it.
        output: the run's folder, new or empty unless `resume` is set.
        weights: how much of every batch each dataset gives; empty: equal parts.
        temperature: see `Sources.open`.
        embodiment: the robot's name, or one for each dataset; see `Sources.open`.
        view: what the model sees of the data: a `View`, its fields, a JSON file with them, or one
            of these for each dataset. An agent applies it to what it observes.
        start_from: a run or checkpoint that training starts from. Its embodiments and the
            scales of its states and actions are kept, except for numbers that never moved there.
        resume: continue the run in `output` from its last checkpoint. On a CPU its losses equal
            those of a run that was never stopped, to the bit.
        device: "auto" (cuda, else mps, else cpu) or a torch device.
        track: "wandb" writes the metrics for Weights & Biases, too, and the name of a plug-in's
            tracker for that. TensorBoard gets them wherever it is installed.

    Returns:
        The run's folder.

    Raises:
        UserError: for bad input, with nothing written.
        KeyboardInterrupt: after SIGINT, with a checkpoint written.
    """
    require_config(config)
    require_tracker(track)
    output = path_of(output, "output")
    start_from = None if start_from is None else path_of(start_from, "start_from")
    if config.new_embodiment and start_from is None and not resume:
        raise UserError("new_embodiment needs a run to take the trunk of: --from RUN")
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
        views = _views(view) or run_folder.views_of(output)
        sources = Sources.open(
            data, weights, temperature=temperature, embodiment=names, views=views
        )
        if start_from is not None and not config.new_embodiment:
            sources, lines = sources.as_learned(load_info(resolve(start_from)))
            for line in lines:
                say(line, error=True)
        config = with_sources(config, len(sources.datasets))
        if ranks.world > 1:
            config = replace(config, processes=ranks.world)
        preconditions.require_data(config, sources, device)
        with run_folder.hold(output):
            run = _with_origin(Run(config, sources, output, None, device, ranks, track), start_from)
            system, info = prepare(config, sources, run.origin, run.last_checkpoint())
            _report_and_record(run, system, info, start_from)
            fill_caches(config, sources, system.to(device))
            with _all_processes(run) as ranks:
                train_system(replace(run, ranks=ranks), system, info)
    return output


def train_system(run: Run, system: System, info: CheckpointInfo) -> None:
    """Train a prepared system from its last checkpoint, or the start, to the last step.

    Args:
        run: the run.
        system: with the weights of the last checkpoint, or those that the run starts from. It is
            moved to the run's device.
        info: the description that checkpoints carry.

    Raises:
        KeyboardInterrupt: see `fit`.
        UserError: see `fit`.
    """
    system.to(run.device)
    features = None
    if run.config.cache_features:
        features = features_of(run.config, run.sources, system)
        # Encoded frames cannot be augmented.
        states_only = AugmentationConfig(state_noise=run.config.augmentation.state_noise)
        run = replace(run, config=replace(run.config, augmentation=states_only))
    for tensor in system.state_dict().values():
        run.ranks.broadcast(tensor)
    learner = Learner(system, run.config, run.ranks, run.device)
    last = run.last_checkpoint()
    start, meter = checkpoint.restore(last, learner) if last else (0, Meter())
    validates = run.ranks.first or learner.sharded  # a sharded loss needs every rank's weights
    training, validation = open_windows(run, info, features, validates=validates)
    try:
        fit(TrainContext(run, learner, training, validation, info), start, meter)
    finally:
        training.close()
        if validation is not None:
            validation.close()


def train_as_worker(assignment: Mapping[str, Any]) -> None:
    """Be one of the processes that rank 0 launched; see `distributed.ranks.launch`."""
    device = torch.device("cpu")
    with reproducible(device), threads_for(assignment["world"]):
        # Data that cannot be read ends this process before it joins, and rank 0 notices.
        run = Run.assigned(assignment, device, Ranks())
        ranks = join(assignment["rank"], assignment["world"], assignment["port"])
        _train_assigned(replace(run, ranks=ranks))


def _views(view: Viewed | Sequence[Viewed | None]) -> list[View | None]:
    """One view for each dataset, or one for all; empty if there is none."""
    if isinstance(view, View | Mapping | str | Path):
        return [View.of(view)]
    if not isinstance(view, Sequence):
        raise UserError(
            f"view is of type {type(view).__name__}; expected a View, or one per dataset"
        )
    return [None if each is None else View.of(each) for each in view]


def _with_origin(run: Run, start_from: str | Path | None) -> Run:
    """The run with the checkpoint that it starts from, if it has none of its own. Raises UserError
    where the folder's run has other settings."""
    if (run.output / run_folder.CONFIG).exists():
        run_folder.require_same_origin(run.output, start_from)
        start_from = run_folder.require_same(run.output, run.config, run.sources)["start_from"]
    if run.last_checkpoint() is not None or start_from is None:
        return run
    return replace(run, origin=resolve(start_from))


def _report_and_record(
    run: Run, system: System, info: CheckpointInfo, start_from: str | Path | None
) -> None:
    """Print what the user must know of the run and, unless it resumes, write config.json."""
    earlier = run.output if run.last_checkpoint() is not None else None
    origin = None if run.config.new_embodiment else run.origin
    preconditions.report_embodiments(run.sources, info, origin or earlier)
    if (run.output / run_folder.CONFIG).exists():
        return
    preconditions.require_distinct_tasks(run.config, system, info)
    preconditions.report_scales(info, joint_embodiments(run.sources, origin)[1])
    facts = run_folder.facts_of(run.sources, start_from, info, run.track)
    run_folder.write_config(run.output, run.config, facts)


@contextlib.contextmanager
def _all_processes(run: Run) -> Iterator[Ranks]:
    """Rank 0 among all processes while the block runs: torchrun's, which wait for the assignment,
    or on a CPU as many workers as the config asks for."""
    if run.ranks.world > 1:
        run.ranks.broadcast_object(run.assignment())
        yield run.ranks
        return
    processes = run.config.processes if run.device.type == "cpu" else 1
    with launch(processes, run.assignment()) as ranks:
        yield ranks


def _follow(ranks: Ranks, device: torch.device) -> None:
    """Be another process of torchrun: rank 0 says what to train, and reports a lost process."""
    try:
        _train_assigned(Run.assigned(ranks.broadcast_object(), device, ranks))
    except LostPeerError:
        raise SystemExit(2) from None


def _train_assigned(run: Run) -> None:
    system, info = prepare(run.config, run.sources, run.origin, run.last_checkpoint())
    train_system(run, system, info)
