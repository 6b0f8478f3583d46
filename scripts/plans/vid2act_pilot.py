"""Pilot of the study vid2act: how far learners get on possible targets, on validation starts.

python scripts/plans/vid2act_pilot.py FOLDER [--targets TASK ...] [--methods NAME ...] [--steps N]

It runs one stage at a time on one core, first the references of all targets, then every method on
every target. A target's numbers stand in FOLDER/pilot.json once they are there. Stopped by Ctrl-C
or killed, the same command goes on. Seeds and starts are others than those of the study.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyparts.core.storage.atomic import write_atomically
from manyparts.evaluation.curves import curve_of
from manyparts.evaluation.results import Result
from manyparts.report.acted import WEIGHT
from manyparts.studies.engine.runner import run_stages
from manyparts.studies.engine.scores import RETURN, SUCCESS, metrics_of
from manyparts.studies.engine.stages import (
    EvaluateReference,
    Stage,
    TrainOnline,
    facts,
    is_done,
    product,
    with_needs,
)
from manyparts.studies.library.vid2act import scale_of
from manyparts.studies.library.vid2act_methods import SCRATCH, Scale, Target, runs

SEED, DATA_SEED = 31_390, 31_391
EPISODES = 10  # of references
# Tasks with a door, a handle or a tap. Sources may share their motion; none is a source.
TARGETS = (
    "metaworld/door-open",
    "metaworld/door-lock",
    "metaworld/faucet-open",
    "metaworld/door-unlock",
    "metaworld/lever-pull",
    "metaworld/plate-slide",
    "metaworld/handle-pull",
    "metaworld/dial-turn",
)


def pilot_scale(size: str, steps: int | None, teacher_steps: int | None) -> Scale:
    """Return what the study's preset fixes, with seeds and sources of the pilot's own."""
    scale = scale_of(size)
    online = dict(scale.online) | ({} if steps is None else {"environment_steps": steps})
    return replace(
        scale,
        seeds=(SEED,),
        data_seed=DATA_SEED,
        online=online,
        teacher_steps=teacher_steps or scale.teacher_steps,
    )


def references(scale: Scale, task: str) -> dict[str, EvaluateReference]:
    """Return the stages of the expert and of random actions, on validation starts."""
    return {
        agent: EvaluateReference(
            agent,
            (task,),
            EPISODES,
            seed=SEED,
            environment=scale.environment,
            split="validation",
        )
        for agent in ("expert", "random")
    }


def learned(scale: Scale, task: str, methods: Sequence[str]) -> dict[str, TrainOnline]:
    """Return the runs of methods on a task. The teacher that is alone is the first one."""
    made = runs(scale, Target(task, full=1.0, related=0), SEED)
    return {method: made[method] for method in methods}


def measured(
    scale: Scale, targets: Sequence[str], methods: Sequence[str], output: Path
) -> dict[str, Any]:
    """Return what is done, by target: the references' returns, and each method's checks."""
    content: dict[str, Any] = {}
    for task in targets:
        entry: dict[str, Any] = {}
        for agent, stage in references(scale, task).items():
            if is_done(stage, output):
                result = Result.load(product(stage, output))
                returned, solved = (result.values(name, task) for name in ("return", "success_any"))
                entry[agent] = {"return": float(returned.mean()), "success": float(solved.mean())}
        for method, run in learned(scale, task, methods).items():
            if is_done(run, output):
                entry[method] = _checks(run, output)
        if entry:
            content[task] = entry
    return content


def _merged(file: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Write numbers to those that a file has already, and return all of them."""
    both = json.loads(file.read_text()) if file.exists() else {}
    for task, entry in content.items():
        both[task] = both.get(task, {}) | entry
    write_atomically(file, json.dumps(both, indent=1).encode())
    return both


def _checks(run: TrainOnline, output: Path) -> dict[str, Any]:
    """Return the checks of a run, and its own core seconds."""
    rows = metrics_of(run, output)
    returned, solved = curve_of(rows, RETURN), curve_of(rows, SUCCESS)
    assert returned is not None and solved is not None
    return {
        "steps": returned.steps.tolist(),
        "return": returned.values.tolist(),
        "success": solved.values.tolist(),
        "core_seconds": facts(run, output)["core_seconds"],
        "weights": {
            name.rpartition("/")[2]: value
            for name, value in rows[-1].items()
            if name.startswith(WEIGHT)
        },
    }


def summary(content: dict[str, Any]) -> str:
    """Return a table: each run's area, last return and last success beside the references."""
    lines = ["target: agent, mean return over the run, last return, last success, core minutes"]
    for task, entry in content.items():
        for agent, numbers in entry.items():
            if "steps" not in numbers:
                shown = f"{numbers['return']:7.0f}  {'':7}  {numbers['success']:.2f}"
            else:
                mean = sum(numbers["return"]) / len(numbers["return"])
                shown = (
                    f"{mean:7.0f}  {numbers['return'][-1]:7.0f}  {numbers['success'][-1]:.2f}"
                    f"  {numbers['core_seconds'] / 60:5.1f}"
                )
            lines.append(f"{task:28} {agent:26} {shown}")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where stages and pilot.json lie")
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    parser.add_argument("--methods", nargs="+", default=[SCRATCH])
    parser.add_argument("--steps", type=int, help="environment steps of a run")
    parser.add_argument("--teacher-steps", type=int, help="optimiser steps of teachers")
    parser.add_argument("--size", choices=("debug", "laptop"), default="laptop")
    options = parser.parse_args(arguments)
    scale = pilot_scale(options.size, options.steps, options.teacher_steps)
    todo: list[Stage] = []
    for task in options.targets:
        todo += references(scale, task).values()
    for method in options.methods:
        for task in options.targets:
            todo += learned(scale, task, [method]).values()
    content: dict[str, Any] = {}
    failed = 0
    for stage in todo:
        outcome = run_stages(
            with_needs([stage]), options.folder, manifest={"study": "vid2act-pilot"}, workers=1
        )
        failed += len(outcome.failed)
        content = _merged(
            options.folder / "pilot.json",
            measured(scale, options.targets, options.methods, options.folder),
        )
    print(summary(content))
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
