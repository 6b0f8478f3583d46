"""The commands that lead to a run again, from what the run and its data recorded."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from manyparts.agents.expert import Noise
from manyparts.core.naming import FORMER_FLAGS, FORMER_NAME, NAME, NAMES, former_value
from manyparts.core.serialisation import to_jsonable
from manyparts.envs.base import EnvConfig
from manyparts.evaluation.prompt_results import PromptStudy
from manyparts.evaluation.results import Result
from manyparts.planners import name_of, planner_config
from manyparts.report.evidence import Evidence, Phase, elsewhere
from manyparts.report.flags import fields_in, flags_of
from manyparts.rollout.recorded_tries import EXPERT


def reproduction(evidence: Evidence) -> str:
    """Shell commands, one per line: collect, train each phase, evaluate, report."""
    provenance = {} if evidence.result is None else evidence.result.provenance
    program, lines = NAME, []
    if commit := provenance.get("commit"):
        lines.append(f"git checkout {shlex.quote(str(commit).removesuffix('+changes'))}")
        if FORMER_NAME in provenance.get("versions", {}):
            program = FORMER_NAME
            lines.append(f"# at this commit {NAME} is still called {FORMER_NAME}")
        if str(commit).endswith("+changes"):
            lines.append("# the working tree had changes beyond this commit")
    lines += [f"# with plug-in {key} of {origin}" for key, origin in _plugins(evidence).items()]
    for data in evidence.datasets:
        if data.collection:
            lines.append(_collect(program, data.collection, shown_path(data.path)))
    lines += [_train(program, phase) for phase in evidence.phases]
    if evidence.result is not None:
        lines.append(_evaluate(program, evidence, evidence.result))
    if evidence.prompts is not None:
        lines.append(_prompts(program, evidence.run, evidence.prompts))
    where = ["--evaluation", str(evidence.evaluation)] if elsewhere(evidence) else []
    lines.append(shlex.join([program, "report", str(evidence.run), *where]))
    return "\n".join(lines)


def shown_path(path: str | Path) -> str:
    """The path, relative to the current folder if it lies in it."""
    path, here = Path(path), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def planner_name(recorded: Mapping[str, Any]) -> str:
    """The planner of an evaluation's provenance, as the command line calls it; the class of its
    settings where the plug-in that has it is not here."""
    return name_of(recorded["type"]) or recorded["type"]


def _plugins(evidence: Evidence) -> dict[str, str]:
    """The plug-ins that the data, the phases and the evaluation were made with."""
    records = [each.collection for each in evidence.datasets]
    records += [phase.config.get("provenance", {}) for phase in evidence.phases]
    if evidence.result is not None:
        records.append(evidence.result.provenance)
    plugins: dict[str, str] = {}
    for record in records:
        plugins |= record.get("plugins", {})
    return plugins


def _collect(program: str, collection: Mapping[str, Any], output: str) -> str:
    environment = fields_in(EnvConfig, collection["environment"])
    del environment["context"]  # which no collection has
    flags = [
        *flags_of({"episodes": collection["episodes"]}),
        # Collections of earlier commits know no such flag.
        *flags_of(environment, usual={"action_repeat": 1}),
    ]
    policy = collection.get("policy", EXPERT)
    if policy == EXPERT:
        flags += flags_of(fields_in(Noise, collection["noise"]), prefix="noise-")
    else:
        flags += flags_of({"policy": policy if isinstance(policy, str) else policy["checkpoint"]})
    names = ("images", "seed", "steps_after_success", "keep_failures")
    flags += flags_of({name: collection[name] for name in names})
    flags += flags_of({"output": output})
    return _command(program, "collect", collection["tasks"], flags)


def _train(program: str, phase: Phase) -> str:
    """The command line that the run was started with, or where its configuration is if it was
    started otherwise."""
    arguments = phase.config.get("provenance", {}).get("arguments") or [""]
    if Path(arguments[0]).name not in NAMES:
        folder = shown_path(phase.folder)
        return f"# {folder} was trained from Python; its configuration is in its config.json"
    return shlex.join([program, *(word for word in arguments[1:] if word != "--resume")])


def _prompts(program: str, run: Path, study: PromptStudy) -> str:
    settings = {
        "tasks": list(study.matrix),
        "episodes": study.episodes,
        "matrix_with": study.matrix_with,
        "seed": study.seed or None,
        "max_steps": study.max_steps,
    }
    return _command(program, "prompts", [str(run)], flags_of(settings))


def _evaluate(program: str, evidence: Evidence, result: Result) -> str:
    provenance = result.provenance
    prompts = provenance["prompts"]
    if program == FORMER_NAME:
        prompts = former_value("Evaluate", "prompts", prompts)
    max_steps = provenance["max_steps"]
    settings = {
        "tasks": result.tasks,
        "episodes": provenance["episodes"],
        "seed": provenance["seeds"]["evaluation"],
        "prompt_task": provenance.get("prompt_task"),
        "prompts": prompts,
        "split": provenance["split"],
        "max_steps": max_steps if isinstance(max_steps, int) else None,
        "until_success": provenance.get("until_success"),
        "control_delay": provenance.get("control_delay"),
        "device": provenance.get("device"),
        "precision": provenance.get("precision"),
    }
    flags = flags_of(settings, usual={"device": "cpu", "precision": "fp32"})
    if planner := provenance.get("planner"):
        flags += _planner_flags(planner)
    flags += flags_of(
        {
            "output": str(evidence.evaluation) if elsewhere(evidence) else None,
            "videos": _videos_per_outcome(evidence),
        }
    )
    return _command(program, "evaluate", [str(evidence.run)], flags)


def _planner_flags(recorded: Mapping[str, Any]) -> list[str]:
    """The planner's name, and those of its settings that are not the usual ones."""
    name = name_of(recorded["type"])
    if name is None:
        return ["--planner", recorded["type"]]
    kind = planner_config(name)
    settings = flags_of(fields_in(kind, recorded), prefix="planner.", usual=to_jsonable(kind()))
    return ["--planner", name, *settings]


def _videos_per_outcome(evidence: Evidence) -> int:
    """The most videos that a task has of successes, or of failures."""
    counts: dict[tuple[str, str], int] = {}
    for (task, _), path in evidence.videos.items():
        outcome = path.stem.partition("-")[0]
        counts[task, outcome] = counts.get((task, outcome), 0) + 1
    return max(counts.values(), default=0)


def _command(program: str, name: str, targets: Sequence[str], flags: Sequence[str]) -> str:
    """A command line; before the library had its name of today, flags had their former names."""
    if program == FORMER_NAME:
        flags = [FORMER_FLAGS.get(word, word) for word in flags]
    return shlex.join([program, name, *targets, *flags])
