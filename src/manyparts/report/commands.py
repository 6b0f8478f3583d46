"""The commands that lead to a run again, from what the run and its data recorded."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manyparts.core.naming import FORMER_NAME, NAME, NAMES
from manyparts.core.serialisation import to_jsonable
from manyparts.evaluation.results import EVALUATION
from manyparts.models.run_files import results_folder
from manyparts.planners import PLANNERS
from manyparts.report.evidence import Evidence, Phase


def reproduction(evidence: Evidence) -> str:
    """Shell commands, one a line: collect, train each phase, evaluate, report."""
    result = evidence.result
    program, lines = NAME, []
    if commit := result.provenance.get("commit"):
        lines.append(f"git checkout {shlex.quote(str(commit).removesuffix('+changes'))}")
        if FORMER_NAME in result.provenance.get("versions", {}):
            program = FORMER_NAME
            lines.append(f"# at this commit {NAME} is still called {FORMER_NAME}")
        if str(commit).endswith("+changes"):
            lines.append("# the working tree had changes beyond this commit")
    lines += [
        _collect(program, data.collection, shown_path(data.path))
        for data in evidence.datasets
        if data.collection
    ]
    lines += [_train(program, phase) for phase in evidence.phases]
    lines.append(_evaluate(program, evidence))
    elsewhere = ["--evaluation", evidence.evaluation] if _elsewhere(evidence) else []
    lines.append(_join(program, "report", evidence.run, *elsewhere))
    return "\n".join(lines)


def shown_path(path: str | Path) -> str:
    """Relative to the current folder where it lies in it."""
    path, here = Path(path), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _collect(program: str, collection: Mapping[str, Any], output: str) -> str:
    environment, noise = collection["environment"], collection["noise"]
    words: list[Any] = [
        program,
        "collect",
        *collection["tasks"],
        "--episodes",
        collection["episodes"],
    ]
    words += [
        "--image-size",
        environment["image_size"],
        "--goal",
        environment["goal"],
        "--state",
        environment["state"],
    ]
    words += ["--cameras", *environment["cameras"]] if environment["cameras"] else []
    words += ["--faithful-rendering"] if environment["faithful_rendering"] else []
    for name in ("fraction", "std", "correlation"):
        words += [f"--noise-{name}", noise[name]]
    words += ["--max-steps", environment["max_steps"]] if environment.get("max_steps") else []
    words += ["--images", collection["images"], "--seed", collection["seed"]]
    words += ["--steps-after-success", collection["steps_after_success"]]
    words += ["--keep-failures"] if collection["keep_failures"] else []
    return _join(*words, "--output", output)


def _train(program: str, phase: Phase) -> str:
    """The command line that began the run, or where its configuration stands if none did."""
    arguments = phase.config.get("provenance", {}).get("arguments") or [""]
    if Path(arguments[0]).name not in NAMES:
        return f"# {shown_path(phase.folder)} was trained from Python; its configuration is in config.json there"
    return _join(program, *(word for word in arguments[1:] if word != "--resume"))


def _evaluate(program: str, evidence: Evidence) -> str:
    result, provenance = evidence.result, evidence.result.provenance
    words: list[Any] = [program, "evaluate", evidence.run, "--tasks", *result.tasks]
    words += ["--episodes", provenance["episodes"], "--seed", provenance["seeds"]["evaluation"]]
    words += ["--prompt-task", provenance["prompt_task"]] if provenance.get("prompt_task") else []
    words += ["--prompts", provenance["prompts"], "--split", provenance["split"]]
    words += (
        ["--max-steps", provenance["max_steps"]] if isinstance(provenance["max_steps"], int) else []
    )
    words += ["--until-success"] if provenance.get("until_success") else []
    words += ["--device", provenance["device"]] if provenance.get("device", "cpu") != "cpu" else []
    words += (
        ["--precision", provenance["precision"]]
        if provenance.get("precision", "fp32") != "fp32"
        else []
    )
    words += _planner(provenance["planner"]) if provenance.get("planner") else []
    words += ["--output", evidence.evaluation] if _elsewhere(evidence) else []
    return _join(*words, "--videos", _videos_a_verdict(evidence))


def _elsewhere(evidence: Evidence) -> bool:
    """Whether the results lie where they do only if a command is told so."""
    return evidence.evaluation != results_folder(evidence.run, EVALUATION)


def planner_name(told: Mapping[str, Any]) -> str:
    """The planner of an evaluation's provenance, as the command line calls it."""
    (name,) = (name for name, kind in PLANNERS.items() if kind.__name__ == told["type"])
    return name


def _planner(told: Mapping[str, Any]) -> list[Any]:
    """Its name, and the settings that are not its usual ones."""
    name = planner_name(told)
    usual = to_jsonable(PLANNERS[name]())
    words: list[Any] = ["--planner", name]
    for key, value in told.items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            words += [f"--planner.{flag if value else f'no-{flag}'}"] if value != usual[key] else []
        elif value != usual[key]:
            words += [f"--planner.{flag}", value]
    return words


def _videos_a_verdict(evidence: Evidence) -> int:
    counts: dict[tuple[str, str], int] = {}
    for (task, _), path in evidence.videos.items():
        key = (task, path.stem.partition("-")[0])
        counts[key] = counts.get(key, 0) + 1
    return max(counts.values(), default=0)


def _join(*words: Any) -> str:
    return shlex.join(map(str, words))
