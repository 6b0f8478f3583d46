"""`manyparts study`: run a declared comparison and print the table that answers it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Positional

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError, closest
from manyparts.core.printing import say

if TYPE_CHECKING:
    from manyparts.studies.engine.results import StudyResult
    from manyparts.studies.engine.runner import Outcome
    from manyparts.studies.engine.stages import Stage
    from manyparts.studies.engine.study import Measurement, Study
    from manyparts.studies.library.offline import Row


@dataclass(frozen=True)
class Options:
    """Run a study: a declared list of collections, training runs and evaluations, with tables and a
    report of the results.

    Stages that several methods share are run once. If the command is killed, call it again: it
    continues where it stopped. If a stage fails, its log is named, the others go on, and the exit
    code is 1. `--list` shows what would be run.
    """

    name: Positional[Annotated[str, tyro.conf.arg(metavar="NAME")]] = ""
    """The study, such as dualmind, or the study and its preset in one word, such as
    dualmind-laptop; `manyparts list studies` shows all."""

    output: Path | None = None
    """Folder of the stages, results.json and report.html; if left out, studies/NAME-PRESET."""

    preset: str | None = None
    """Size of the study: debug (seconds, for tests), laptop (hours on two cores) or paper; if left
    out, laptop."""

    seeds: int | None = None
    """Number of training seeds per method; if left out, the study's own."""

    only: tuple[str, ...] = ()
    """Methods to run, such as "dual-phase" "imitation only"; if left out, all. Tables show all
    results that are there."""

    workers: int | None = None
    """Processes, each with one thread; if left out, one per core."""

    executor: str = "local"
    """Where the stages run: local, this machine; ray://HOST:PORT, a Ray cluster as `ray start
    --head` prints it; slurm or slurm:PARTITION, with --workers. Results are the same. All nodes
    must see the folder of --output under the same path. Ray needs the extra `ray`, and a network
    that you trust: it asks nobody for a password."""

    environments: tuple[str, ...] = ()
    """Study representations: where methods are compared, such as pointmass doors; if left out, the
    preset's."""

    objectives: tuple[str, ...] = ()
    """Study representations: objectives and baselines, such as inverse-dynamics states; if left
    out, all."""

    pretrain_sizes: tuple[int, ...] = ()
    """Study representations: numbers of pretraining trajectories, an equal part for each task and
    at least one; if left out, the preset's."""

    finetune_sizes: tuple[int, ...] = ()
    """Study representations: numbers of demonstrations of the evaluated task; if left out, the
    preset's."""

    pretrain_steps: int | None = None
    """Study representations: optimiser steps of every pretraining; if left out, the preset's."""

    data: str | None = None
    """Study representations: a dataset of your own instead of the environments. Actions of
    --holdout-task are predicted after a few of its demonstrations; no simulator is needed."""

    holdout_task: str | None = None
    """With --data: the task, by name or instruction, that pretraining does not see."""

    listing: Annotated[bool, tyro.conf.arg(name="list")] = False
    """Print the stages and whether they are done, and run nothing."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts study`, and return its exit code."""
    options = parse(Options, arguments, command="study")
    from manyparts import studies
    from manyparts.studies.engine.runner import run_stages
    from manyparts.studies.engine.study import stages_of

    name, preset = _name_and_preset(options)
    if options.seeds is not None and options.seeds < 1:
        raise UserError(f"seeds is {options.seeds}; expected at least 1")
    if options.data is not None or options.holdout_task is not None:
        return _offline(name, preset, options)
    study = _chosen(studies.find_study(name), options)
    if preset not in study.presets:
        raise UserError(
            f"unknown preset {preset!r} of study {name}; {closest(preset, study.presets)}"
        )
    seeds = options.seeds or study.seeds
    measurements = study.measurements(preset, seeds)
    chosen = _of_methods(measurements, options.only)
    output = options.output or Path("studies") / f"{name}-{preset}"
    if options.listing:
        _print_stages([(each.method, stages_of([each])) for each in chosen], output)
        return 0
    outcome = run_stages(
        stages_of(chosen),
        output,
        manifest={"study": name, "preset": preset},
        workers=options.workers,
        executor=options.executor,
    )
    _conclude(study, preset, measurements, output)
    return _exit_code(outcome, output)


def _offline(name: str, preset: str, options: Options) -> int:
    """The study of representations on a user's dataset."""
    from manyparts.studies.engine.runner import run_stages
    from manyparts.studies.library import offline, representations

    if name != representations.STUDY.name:
        raise UserError(f"--data is a flag of the study representations, not of {name}")
    if options.data is None or options.holdout_task is None:
        raise UserError(
            "--data and --holdout-task belong together: the dataset, and its task that pretraining "
            "does not see"
        )
    if (
        options.environments
        or options.pretrain_sizes
        or options.pretrain_steps is not None
        or options.only
    ):
        raise UserError(
            "--environments, --pretrain-sizes, --pretrain-steps and --only are not for --data; "
            "--objectives chooses methods"
        )
    size = offline.size_of(preset)
    chosen = offline.trials(
        options.data,
        options.holdout_task,
        objectives=options.objectives,
        demonstrations=options.finetune_sizes,
        seeds=options.seeds or 3,
        size=size,
    )
    output = options.output or Path("studies") / f"representations-offline-{preset}"
    if options.listing:
        _print_stages([(each.method, offline.stages_of([each])) for each in chosen], output)
        return 0
    manifest = {"study": "representations-offline", "preset": preset, "data": options.data}
    outcome = run_stages(
        offline.stages_of(chosen),
        output,
        manifest=manifest,
        workers=options.workers,
        executor=options.executor,
    )
    rows = offline.gather(chosen, output)
    if rows:
        path = offline.save(rows, output)
        _print_offline(rows)
        say(f"results: {path}")
    return _exit_code(outcome, output)


def _print_offline(rows: Sequence[Row]) -> None:
    """Print a row for each method and number of demonstrations."""
    from manyparts.cli.console import print_table

    cells = []
    for row in rows:
        error = f"{row.error:.3f} [{row.low:.3f}, {row.high:.3f}]"
        probe = "" if row.probe is None else f"{row.probe:.2f}"
        cells.append(
            (row.method, str(row.demonstrations), error, probe, str(row.seeds), str(row.episodes))
        )
    heads = ("method", "demonstrations", "error", "state probe", "seeds", "episodes")
    print_table(
        heads, cells, title="error of actions: 0 is the expert's, 1 that of the mean action"
    )


def _chosen(study: Study, options: Options) -> Study:
    """The study, or the part of it that flags choose."""
    from manyparts.studies.library import representations

    names = [field.name for field in fields(representations.Choice)]
    chosen = {
        name: getattr(options, name) for name in names if getattr(options, name) not in ((), None)
    }
    if not chosen:
        return study
    if study.name != representations.STUDY.name:
        flag = next(iter(chosen)).replace("_", "-")
        raise UserError(f"--{flag} is a flag of the study representations, not of {study.name}")
    return representations.study(representations.Choice(**chosen))


def _name_and_preset(options: Options) -> tuple[str, str]:
    """The names of the study and its preset; "dualmind-laptop" has both."""
    from manyparts import studies

    if not options.name:
        raise UserError("missing NAME, the study to run; `manyparts list studies` shows all")
    matching = [
        name
        for name in studies.study_names()
        if options.name == name or options.name.startswith(f"{name}-")
    ]
    if not matching:
        near = closest(options.name, studies.study_names(), command="manyparts list studies")
        raise UserError(f"unknown study {options.name!r}; {near}")
    name = max(matching, key=len)
    suffix = options.name.removeprefix(name).removeprefix("-")
    if suffix and options.preset and suffix != options.preset:
        raise UserError(
            f"study {options.name} and --preset {options.preset} contradict each other; pass one "
            "of them"
        )
    return name, suffix or options.preset or "laptop"


def _of_methods(measurements: Sequence[Measurement], only: Sequence[str]) -> list[Measurement]:
    """The measurements of these methods, or all if none is named."""
    from manyparts.studies.engine.study import methods_of

    methods = methods_of(measurements)
    for method in only:
        if method not in methods:
            raise UserError(f"unknown method {method!r}; {closest(method, methods)}")
    return [each for each in measurements if not only or each.method in only]


def _print_stages(measured: Sequence[tuple[str, Sequence[Stage]]], output: Path) -> None:
    """Print a line for each stage: done or not, its folder, and the methods it is for.

    Args:
        measured: each measurement's method, and its stages with those they need.
        output: the study's folder.
    """
    from manyparts.studies.engine.stages import folder, left_to_do

    stages: dict[str, Stage] = {}
    users: dict[str, dict[str, None]] = {}  # methods by stage; a dict keeps their order
    for method, needed in measured:
        for stage in needed:
            stages[stage.key] = stage
            users.setdefault(stage.key, {})[method] = None
    to_do = {stage.key for stage in left_to_do(list(stages.values()), output)}
    for key, stage in stages.items():
        state = "to do" if key in to_do else "done"
        say(f"{state:5}  {folder(stage, output)}  for {_some(list(users[key]))}")
    print(f"{len(stages)} stages, {len(stages) - len(to_do)} done; {len(measured)} measurements")


def _some(methods: Sequence[str]) -> str:
    return ", ".join(methods) if len(methods) <= 4 else f"{len(methods)} methods"


def _conclude(study: Study, preset: str, measurements: Sequence[Measurement], output: Path) -> None:
    """Save and print the results that are there, and write the report."""
    from manyparts.studies.engine.report import write_report
    from manyparts.studies.engine.results import gather

    result = gather(study, preset, measurements, output)
    if not result.rows:
        return
    path = result.save(output)
    _print_result(study, result)
    say(f"results: {path}")
    if study.curves is not None:
        _print_curves(study, measurements, output)
    say(f"report: {write_report(study, measurements, result, output)}")


def _print_curves(study: Study, measurements: Sequence[Measurement], output: Path) -> None:
    """Save the learning curves, and print a table of them for each setting."""
    from manyparts.cli.console import print_table
    from manyparts.studies.engine import curves

    rows = curves.gather_curves(study, measurements, output)
    for setting in dict.fromkeys(row.setting for row in rows):
        here = [row for row in rows if row.setting == setting]
        title = f"{setting}: while learning"
        print_table(curves.heads(study, here[0]), list(map(curves.cells, here)), title=title)
    say(f"learning curves: {curves.save_curves(rows, output)}")


def _print_result(study: Study, result: StudyResult) -> None:
    """Print a table for each setting, then the verdicts on the study's claims."""
    from manyparts.cli.console import print_table
    from manyparts.evaluation.statistics import bounded

    for setting in result.settings:
        compares = result.compares(setting)
        more_heads = (f"{study.reference} minus this", "P") if compares else ()
        rows = []
        for row in result.in_setting(setting):
            comparison = result.comparison(study.reference, row.method, setting)
            compared = ["" for _ in more_heads]
            if comparison is not None:
                difference = bounded(comparison.difference, signed=True)
                compared = [difference, f"{comparison.probability.mean:.2f}"]
            solved = f"{row.solved} of {len(row.tasks)}"
            cost = [len(row.seeds), row.training_steps, f"{row.core_hours:.2f}"]
            rows.append((row.method, bounded(row), *compared, solved, *map(str, cost)))
        heads = ("method", study.score, *more_heads, "solved", "seeds", "steps", "core hours")
        print_table(heads, rows, title=setting)
    for verdict in result.verdicts:
        if verdict.verdict != "not tested":
            say(f"{verdict.setting}: {verdict.words}: {verdict.verdict}")


def _exit_code(outcome: Outcome, output: Path) -> int:
    """1 if a stage failed; their logs are named again, after the tables."""
    from manyparts.studies.engine.stages import LOG, folder

    for stage in outcome.failed:
        say(f"failed: {folder(stage, output) / LOG}", error=True)
    if outcome.blocked:
        print(
            f"{len(outcome.blocked)} stages wait for these; call the same command to try again",
            file=sys.stderr,
        )
    return 1 if outcome.failed else 0
