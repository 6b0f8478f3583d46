"""Doing a stage: each kind calls the same public function that a user would call."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.storage.atomic import write_atomically
from manyparts.studies.engine.stages import (
    DONE,
    DONE_BEFORE,
    SPENT,
    Collect,
    Cut,
    Evaluate,
    EvaluateReference,
    Export,
    Mixed,
    Probe,
    Run,
    Score,
    Stage,
    Train,
    TrainOnline,
    folder,
    product,
)


def carry_out(stage: Stage, output: Path, *, cores: int = 1) -> None:
    """Do a stage, or what is left of it.

    Args:
        stage: The stage; those that it needs are done.
        output: The study's folder.
        cores: How many cores to use; more than one with worker processes.
    """
    functions: dict[type[Any], Callable[[Any, Path, int], dict[str, Any]]] = {
        Collect: _collect,
        Cut: _cut,
        Export: _export,
        Train: _train,
        TrainOnline: _train_online,
        Evaluate: _evaluate,
        EvaluateReference: _evaluate_reference,
        Score: _score,
        Probe: _probe,
    }
    stage_folder = folder(stage, output)
    with _time_kept(stage_folder / SPENT) as spent:
        facts = functions[type(stage)](stage, output, cores)
    write_atomically(stage_folder / DONE, json.dumps(facts | spent, indent=1).encode())
    (stage_folder / DONE_BEFORE).unlink(missing_ok=True)
    if isinstance(stage, Run):
        _drop_training_state(stage, product(stage, output))


@contextlib.contextmanager
def _time_kept(file: Path) -> Iterator[dict[str, float]]:
    """Add the block's time to that in a file, however the block ends.

    Yields:
        The times by name; the block's own is in them after the block.
    """
    spent = {"seconds": 0.0, "core_seconds": 0.0}
    if file.exists():
        spent = json.loads(file.read_text())
    start = {"seconds": time.monotonic(), "core_seconds": _core_seconds()}
    try:
        yield spent
    finally:
        end = {"seconds": time.monotonic(), "core_seconds": _core_seconds()}
        spent |= {name: round(spent[name] + end[name] - start[name], 1) for name in spent}
        write_atomically(file, json.dumps(spent).encode())


def _collect(stage: Collect, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.rollout.collect import collect, partial_folder

    data = product(stage, output)
    if data.exists():  # a kill came after the dataset got its name, before its shards were removed
        shutil.rmtree(partial_folder(data), ignore_errors=True)
        return {}
    collect(
        stage.tasks,
        episodes=stage.episodes,
        output=data,
        config=stage.environment,
        noise=stage.noise,
        seed=stage.seed,
        workers=cores,
        keep_failures=stage.keep_failures,
        steps_after_success=stage.steps_after_success,
    )
    return {}


def _cut(stage: Cut, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.data.dataset import DatasetWriter, EpisodeDataset

    data = product(stage, output)
    if not data.exists():
        source = EpisodeDataset.open(stage.location)
        if source.fingerprint != stage.fingerprint:
            raise UserError(
                f"{stage.location} has changed since the study was started; "
                "choose another output to study it as it is now"
            )
        with DatasetWriter(
            data,
            source.spec,
            fps=source.fps,
            tasks=source.tasks,
            environment=source.environment,
            **source.known,
        ) as writer:
            for index in stage.episodes:
                writer.add(source.episode(index))
    return {}


def _export(stage: Export, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.data.sampling.replay import REPLAY
    from manyparts.data.tools.export import export

    data = product(stage, output)
    if not data.exists():
        export(product(stage.run, output) / REPLAY, data)
    return {}


def _score(stage: Score, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.evaluation.probes import action_errors, probe

    run, data = product(stage.run, output), product(stage.data, output)
    scores = {"action_errors": action_errors(run, data), "probes": probe(run, data)}
    write_atomically(product(stage, output), json.dumps(scores, indent=1).encode())
    return {}


def _probe(stage: Probe, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.evaluation.probes import probe

    scores = probe(product(stage.run, output), product(stage.data, output))
    write_atomically(product(stage, output), json.dumps(scores, indent=1).encode())
    return {}


def _train(stage: Train, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.training import run_folder
    from manyparts.training.train import train

    run = product(stage, output)
    origin = stage.agent
    if stage.start_from is not None:
        origin = product(stage.start_from, output)
    if isinstance(stage.data, Mixed):
        datasets, weights = stage.data.datasets, stage.data.weights
    else:
        datasets, weights = (stage.data,), ()
    train(
        stage.config,
        data=[product(dataset, output) for dataset in datasets],
        weights=weights,
        output=run,
        start_from=origin,
        resume=(run / run_folder.CONFIG).exists(),
    )
    return _facts_of_run(stage, run)


def _train_online(stage: TrainOnline, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.training import run_folder
    from manyparts.training.online.train import train_online

    run = product(stage, output)
    resume = (run / run_folder.CONFIG).exists()
    if not resume:  # a kill while the replay was prefilled leaves nothing to go on from
        shutil.rmtree(run, ignore_errors=True)
    train_online(
        stage.config,
        environment=stage.task,
        environment_config=stage.environment,
        output=run,
        sources=[product(source, output) for source in stage.sources],
        teachers=[product(stage.teachers, output)] if stage.teachers else [],
        start_from=stage.start_from and product(stage.start_from, output),
        resume=resume,
    )
    return _facts_of_run(stage, run)


def _facts_of_run(stage: Run, run: Path) -> dict[str, Any]:
    """Return what `facts` says of a run apart from its times."""
    train_seconds = _seconds_in_steps(run, stage.config.batch_size)
    return _parameters(run) | {"train_seconds": round(train_seconds, 1)}


def _drop_training_state(stage: Run, run: Path) -> None:
    """Keep only the last weights of a finished run, which take a tenth of the space."""
    from manyparts.data.sampling.replay import REPLAY, SOURCES
    from manyparts.models.checkpoint import resolve
    from manyparts.training.checkpoint import STATE

    if isinstance(stage, TrainOnline):
        shutil.rmtree(run / SOURCES, ignore_errors=True)
        if not stage.keep_replay:
            shutil.rmtree(run / REPLAY, ignore_errors=True)
    last = resolve(run)
    (last / STATE).unlink(missing_ok=True)
    for other in last.parent.iterdir():
        if other.is_dir() and other.resolve() != last:
            shutil.rmtree(other)


def _evaluate(stage: Evaluate, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.evaluation.protocol import evaluate

    evaluate(
        product(stage.run, output),
        tasks=stage.tasks,
        episodes=stage.episodes,
        seed=stage.seed,
        workers=cores,
        prompts=stage.prompts,
        max_steps=stage.max_steps,
        until_success=stage.until_success,
        split=stage.split,
        planner=stage.planner,
        output=product(stage, output),
    )
    return {}


def _evaluate_reference(stage: EvaluateReference, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.evaluation.protocol import evaluate_reference

    evaluate_reference(
        stage.agent,
        stage.tasks,
        episodes=stage.episodes,
        seed=stage.seed,
        workers=cores,
        environment=stage.environment,
        max_steps=stage.max_steps,
        split=stage.split,
        output=product(stage, output),
    )
    return {}


def _parameters(run: Path) -> dict[str, int]:
    """Count the parameters that are learned by gradient, in all and by this run.

    Averaged targets and frozen text encoders do not count.
    """
    from manyparts.models.checkpoint import load_info, resolve
    from manyparts.objectives.system import System
    from manyparts.training.optimizer import train_only, trained
    from manyparts.training.run_folder import read_config

    config, _ = read_config(run)
    embodiments = load_info(resolve(run)).embodiment_set
    system = System.build(config.model, config.objectives, embodiments, config.window)
    learned = sum(parameter.numel() for parameter in trained(system).values())
    train_only(system, config.train_only)
    return {
        "parameters": learned,
        "trained_parameters": sum(value.numel() for value in trained(system).values()),
    }


def _core_seconds() -> float:
    """Return the computing time of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _seconds_in_steps(run: Path, batch_size: int) -> float:
    """Return the time within optimiser steps, by the rates in metrics.jsonl.

    So time that was lost by a kill, and validation, do not count.
    """
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    seconds, last_step = 0, 0
    for row in rows:
        if "samples_per_second" in row:
            seconds += (row["step"] - last_step) * batch_size / row["samples_per_second"]
            last_step = row["step"]
    return seconds
