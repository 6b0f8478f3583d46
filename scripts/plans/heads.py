"""The machine-readable heads of plans: what a plan says, and what its study says.

python scripts/plans/heads.py [NAME ...]         # the heads that studies have
python scripts/plans/heads.py --write NAME ...   # write them into plans, before the first run
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manyparts.studies import find_study
from manyparts.studies.engine.stages import (
    Collect,
    Evaluate,
    EvaluateReference,
    Run,
    optimiser_steps,
    runs_before,
)
from manyparts.studies.engine.study import Measurement, methods_of, stages_of
from manyparts.studies.library import (
    dualmind_second_phase,
    new_embodiment,
    planning_from_pixels,
    planning_walkers,
    vid2act,
)

PLANS = Path(__file__).resolve().parents[2] / "docs" / "results" / "plans"
PRIMARY_SETTING = {
    "dualmind-second-phase": dualmind_second_phase.DECIDED,
    "planning-walkers": planning_walkers.ZERO_SHOT_EMBODIMENTS,
    "vid2act": vid2act.BOTH,
    "planning-from-pixels": planning_from_pixels.BOTH,
    "new-embodiment": new_embodiment.all_robots(10),
}
PRIMARY_CLAIMS = {"vid2act": 4}  # of the others, the first claim is the primary one
_HEAD = re.compile(r"```json\n(.*?)```", re.DOTALL)


def heads() -> dict[str, dict[str, Any]]:
    """Return the head of every plan, by the name of its study."""
    all_heads = [head_of(path.read_text()) for path in sorted(PLANS.glob("*.md"))]
    return {head["study"]: head for head in all_heads}


def head_of(page: str) -> dict[str, Any]:
    """Return the first block of JSON of a page."""
    match = _HEAD.search(page)
    assert match is not None, "a plan begins with a block of JSON"
    return json.loads(match[1])


def head_of_study(name: str) -> dict[str, Any]:
    """Return the head of a study's laptop size: what a plan must say."""
    study = find_study(name)
    measured = study.measurements("laptop", study.seeds)
    stages = stages_of(measured)
    claims = study.claims[: PRIMARY_CLAIMS.get(name, 1)]
    primary = [[each.better, each.worse, PRIMARY_SETTING[name]] for each in claims]
    evaluations = [stage for stage in stages if isinstance(stage, Evaluate | EvaluateReference)]
    tasks = [task for each in stages if isinstance(each, Collect) for task in each.tasks]
    used = {task.partition("/")[2] for task in tasks}
    used |= {task.partition("/")[2] for task in _before(name)}
    asked = {task for each in evaluations for task in each.tasks if task.startswith("walkers/")}
    seeds = {
        "training": {stage.config.seed for stage in stages if isinstance(stage, Run)},
        "data": {stage.seed for stage in stages if isinstance(stage, Collect)},
        "evaluation": {stage.seed for stage in evaluations},
    }
    return {
        "study": name,
        "preset": "laptop",
        "primary": primary if len(primary) > 1 else primary[0],
        "seeds": {purpose: sorted(numbers) for purpose, numbers in seeds.items()},
        "walkers": sorted({task.partition("/")[2] for task in asked} - used),
        "methods": _methods(measured),
        "settings": _settings(measured),
        "stages": len(stages),
        "keys": hashlib.sha256("".join(sorted(s.key for s in stages)).encode()).hexdigest()[:16],
    }


def _before(name: str) -> tuple[str, ...]:
    """Return the walkers that a plan evaluates although they were used, apart from the others."""
    return planning_walkers.scale_of("laptop").before if name == "planning-walkers" else ()


def _methods(measured: list[Measurement]) -> dict[str, Mapping[str, int]]:
    """Return method to its number of seeds, and to the optimiser steps of its agent."""
    methods: dict[str, Mapping[str, int]] = {}
    for method in methods_of(measured):
        mine = [each for each in measured if each.method == method]
        agent = mine[0].evaluations[0]
        runs = runs_before(agent.run) if isinstance(agent, Evaluate) else ()
        methods[method] = {
            "seeds": len({each.seed for each in mine}),
            "steps": sum(map(optimiser_steps, runs)),
        }
    return methods


def _settings(measured: list[Measurement]) -> dict[str, Mapping[str, int]]:
    """Return setting to its numbers of tasks, and of episodes per task."""
    settings: dict[str, Mapping[str, int]] = {}
    for each in measured:
        tasks = [task for stage in each.evaluations for task in stage.tasks]
        numbers = {"tasks": len(tasks), "episodes": each.evaluations[0].episodes}
        assert settings.setdefault(each.setting, numbers) == numbers
    return settings


def text_of(head: Mapping[str, Any]) -> str:
    """Return a head as JSON, with lists and small mappings on one line."""
    text = json.dumps(head, indent=1, ensure_ascii=False)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda match: " ".join(match[0].split()), text)
    return re.sub(r"\{[^\[\]{}]*\}", lambda match: " ".join(match[0].split()), text)


def main(arguments: list[str]) -> None:
    names = [each for each in arguments if each != "--write"] or list(PRIMARY_SETTING)
    for name in names:
        text = text_of(head_of_study(name))
        print(text)
        if "--write" in arguments:
            path = PLANS / f"{name}.md"
            page = _HEAD.sub(
                lambda _, text=text: f"```json\n{text}\n```", path.read_text(), count=1
            )
            path.write_text(page)


if __name__ == "__main__":
    main(sys.argv[1:])
