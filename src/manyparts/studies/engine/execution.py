"""Doing a stage: each kind of stage calls the same public function that a user would."""

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
    Mixed,
    Probe,
    Score,
    Stage,
    Train,
    folder,
    product,
)


def carry_out(stage: Stage, output: Path, *, cores: int = 1) -> None:
    """Do a stage, or what is left of it, in this process and, to use more cores, in workers of its
    own."""
    work: dict[type[Any], Callable[[Any, Path, int], dict[str, Any]]] = {
        Collect: _collect,
        Cut: _cut,
        Train: _train,
        Evaluate: _evaluate,
        EvaluateReference: _evaluate_reference,
        Score: _score,
        Probe: _probe,
    }
    with _time_kept(folder(stage, output) / SPENT) as spent:
        found = work[type(stage)](stage, output, cores)
    write_atomically(folder(stage, output) / DONE, json.dumps(found | spent, indent=1).encode())
    (folder(stage, output) / DONE_BEFORE).unlink(missing_ok=True)
    if isinstance(stage, Train):
        _drop_training_state(product(stage, output))


@contextlib.contextmanager
def _time_kept(file: Path) -> Iterator[dict[str, float]]:
    """Add what the block takes to the times in `file`, however it ends; they are there after it."""
    spent: dict[str, float] = (
        json.loads(file.read_text()) if file.exists() else {"seconds": 0.0, "core_seconds": 0.0}
    )
    began = {"seconds": time.monotonic(), "core_seconds": _core_seconds()}
    try:
        yield spent
    finally:
        ended = {"seconds": time.monotonic(), "core_seconds": _core_seconds()}
        spent |= {name: round(spent[name] + ended[name] - began[name], 1) for name in spent}
        write_atomically(file, json.dumps(spent).encode())


def _collect(stage: Collect, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.rollout.collect import collect

    data = product(stage, output)
    if data.exists():  # it is put in place whole; a kill may have left what it was made from
        shutil.rmtree(data.with_name(f"{data.name}.partial"), ignore_errors=True)
        return {}
    given: dict[str, Any] = {
        "config": stage.environment,
        "noise": stage.noise,
        "keep_failures": stage.keep_failures,
    }
    collect(
        stage.tasks, episodes=stage.episodes, output=data, seed=stage.seed, workers=cores, **given
    )
    return {}


def _cut(stage: Cut, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.data.dataset import DatasetWriter, EpisodeDataset

    data = product(stage, output)
    if not data.exists():
        source = EpisodeDataset.open(stage.location)
        if source.fingerprint != stage.fingerprint:
            raise UserError(f"{stage.location} has changed since the study was begun")
        given = {"fps": source.fps, "tasks": source.tasks, "environment": source.environment}
        with DatasetWriter(data, source.spec, **given) as writer:
            for index in stage.episodes:
                writer.add(source.episode(index))
    return {}


def _score(stage: Score, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.evaluation.probes import action_errors, probe

    run, data = product(stage.run, output), product(stage.data, output)
    found = {"action_errors": action_errors(run, data), "probes": probe(run, data)}
    write_atomically(product(stage, output), json.dumps(found, indent=1).encode())
    return {}


def _probe(stage: Probe, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.evaluation.probes import probe

    found = probe(product(stage.run, output), product(stage.data, output))
    write_atomically(product(stage, output), json.dumps(found, indent=1).encode())
    return {}


def _train(stage: Train, output: Path, cores: int) -> dict[str, Any]:
    from manyparts.training import run_folder
    from manyparts.training.train import train

    run = product(stage, output)
    begun = (run / run_folder.CONFIG).exists()
    origin = stage.start_from and product(stage.start_from, output)
    mixed, weights = (
        (stage.data.datasets, stage.data.weights)
        if isinstance(stage.data, Mixed)
        else ((stage.data,), ())
    )
    data = [product(each, output) for each in mixed]
    train(stage.config, data=data, weights=weights, output=run, start_from=origin, resume=begun)
    return _parameters(run) | {
        "train_seconds": round(_seconds_in_steps(run, stage.config.batch_size), 1)
    }


def _drop_training_state(run: Path) -> None:
    """Keep of a finished run's checkpoints the last one's weights: a tenth of the space."""
    from manyparts.models.checkpoint import resolve
    from manyparts.training.checkpoint import STATE

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
    """Learned by gradient in all, averaged targets and frozen text encoders left out; and by this
    run."""
    from manyparts.models.checkpoint import load_info, resolve
    from manyparts.objectives.system import System
    from manyparts.training.optimizer import train_only, trained
    from manyparts.training.run_folder import read_config

    config, _ = read_config(run)
    system = System.build(
        config.model, config.objectives, load_info(resolve(run)).embodiment_set, config.window
    )
    learned = sum(parameter.numel() for parameter in trained(system).values())
    train_only(system, config.train_only)
    return {
        "parameters": learned,
        "trained_parameters": sum(value.numel() for value in trained(system).values()),
    }


def _core_seconds() -> float:
    """Computed so far by this process and those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _seconds_in_steps(run: Path, batch_size: int) -> float:
    """From the rates of metrics.jsonl, so that neither kills nor validation count."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rated = [row for row in rows if "samples_per_second" in row]
    steps = [0, *(row["step"] for row in rated)]
    return sum(
        (after - before) * batch_size / row["samples_per_second"]
        for before, after, row in zip(steps[:-1], steps[1:], rated, strict=True)
    )
