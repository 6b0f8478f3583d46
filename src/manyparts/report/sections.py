"""The sections of a report as HTML. Everything that comes out of a file is escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from itertools import chain
from pathlib import Path
from typing import Any

from manyparts.agents.expert import Noise
from manyparts.core.naming import own_entry
from manyparts.core.printing import counted
from manyparts.core.serialisation import flatten
from manyparts.evaluation.record import UNKNOWN, EpisodeRecord
from manyparts.evaluation.results import Result
from manyparts.report.acting_pages import imagination, learning, teachers
from manyparts.report.attention import attention
from manyparts.report.commands import planner_name, reproduction, shown_path
from manyparts.report.evidence import Dataset, Evidence, Phase, data_of, outdated
from manyparts.report.flags import fields_in
from manyparts.report.prompt_pages import prompts
from manyparts.report.success_table import percent, success_table
from manyparts.report.svg import line_chart

# Bytes of video that a report carries before base64, so that it can be mailed.
VIDEO_BUDGET = 6_000_000


def title(evidence: Evidence) -> str:
    """The page's title: the run and its mean success."""
    if evidence.result is None:
        shown = "success by prompt" if evidence.acted is None else "learning by acting"
        return escape(f"{evidence.run.name}: {shown}")
    success = evidence.result.aggregate.get("success_any")
    if success is None:
        earned = evidence.result.aggregate["return"]
        return escape(f"{evidence.run.name}: return {earned.mean:.4g}, success {UNKNOWN}")
    return escape(f"{evidence.run.name}: {percent(success.mean)} success")


def body(evidence: Evidence) -> list[str]:
    """The page's sections in their order."""
    result, success, seen, origin = evidence.result, [], [], []
    if result is None:
        head = _without_result(evidence)
    else:
        head = headline(evidence, result)
        success = ["<h2>Success by task</h2>", success_table(result)]
        seen = ["<h2>What it does</h2>", videos(evidence, result), *attention(evidence, result)]
        origin = ["<h2>Provenance</h2>", provenance(result.provenance)]
    learned, trained = [], []
    if evidence.acted is not None:
        learned = [
            *learning(evidence.acted, evidence.run),
            *teachers(evidence.acted),
            *imagination(evidence.acted, evidence.run),
        ]
    if evidence.phases:
        trained = ["<h2>What was trained on what</h2>", training(evidence)]
        trained += ["<h2>Losses</h2>" if learned else "<h2>Learning curves</h2>"]
        trained += [curves(evidence.phases)]
    # What an agent does that learned by acting is seen before how.
    shown = [*seen, *learned, *trained] if learned else [*trained, *seen]
    return [
        head,
        *success,
        *prompts(evidence.prompts),
        *shown,
        "<h2>Do it again</h2>",
        f"<pre>{escape(reproduction(evidence))}</pre>",
        *origin,
        "<footer>Written by manyparts. Intervals are 95 %: Wilson's for a task, a bootstrap "
        "stratified by task for the mean. “At any step” counts an episode if the task was solved "
        "after any of its steps, “at the last” if it was solved when the episode "
        "ended.</footer>",
    ]


def headline(evidence: Evidence, result: Result) -> str:
    """The run's mean success with its interval, in large figures.

    Args:
        evidence: the run's files.
        result: the run's evaluation.

    Returns:
        An HTML element.
    """
    success, goals = result.aggregate.get("success_any"), len(result.episodes)
    split = str(result.provenance.get("split", "evaluation"))
    unseen = "goals it never saw" if split == "evaluation" else f"{split} goals"
    if success is None:
        earned = result.aggregate["return"]
        figure, what = f"{earned.mean:.4g}", "return"
        facts = (
            f"95 % interval {earned.low:.4g} to {earned.high:.4g}; success is {UNKNOWN}, since "
            "nothing says when a task is solved"
        )
    else:
        figure, what = percent(success.mean), "success"
        last = result.aggregate["success_last"]
        facts = (
            f"95 % interval {percent(success.low)} to {percent(success.high)}; "
            f"solved at the last step: {percent(last.mean)}{_returns(evidence, result)}"
        )
    tasks = counted(len(result.tasks), "task")
    if success is not None and result.known != result.tasks:
        tasks = f"{len(result.known)} of {tasks}, of others it is {UNKNOWN}"
    return (
        f"<header><h1>{escape(str(evidence.run))}</h1>"
        f'<div class="headline"><strong>{figure}</strong>'
        f"<span>{what} on {goals} {escape(unseen)}, {tasks}<br>"
        f"{facts}{_outdated(evidence)}"
        "</span></div></header>"
    )


def _without_result(evidence: Evidence) -> str:
    """The run's name, and how to measure its success by task."""
    command = escape(f"manyparts evaluate {evidence.run}")
    done = "Only its prompts were evaluated."
    if evidence.acted is not None and evidence.prompts is None:
        done = "It was not evaluated at the end."
    return (
        f"<header><h1>{escape(str(evidence.run))}</h1><p>{done} "
        f"Success by task: <code>{command}</code></p></header>"
    )


def _outdated(evidence: Evidence) -> str:
    remark = outdated(evidence)
    return f"<br>{escape(remark)}" if remark else ""


def _returns(evidence: Evidence, result: Result) -> str:
    """Return and planner of an agent that seeks rewards rather than success; else nothing."""
    planner, earned = result.provenance.get("planner"), result.aggregate["return"]
    if not planner and evidence.acted is None:
        return ""
    bounds = f"return {earned.mean:.1f} [{earned.low:.1f}, {earned.high:.1f}]"
    acting = f", acting with the planner {escape(planner_name(planner))}" if planner else ""
    return f"<br>{bounds}{acting}"


def training(evidence: Evidence) -> str:
    """Facts on the datasets and on each phase of training."""
    parts = [definitions(_dataset_facts(data)) for data in evidence.datasets if data.info]
    for number, phase in enumerate(evidence.phases, start=1):
        name = f"{phase.config.get('method', '?')}, {phase.config.get('phase', '?')}"
        before = evidence.phases[number - 2].folder if number > 1 else None
        parts.append(f"<h3>{escape(name)}</h3>" + definitions(_phase_facts(phase, before)))
    return "".join(parts)


def curves(phases: Sequence[Phase]) -> str:
    """The losses of each phase; those on held-out episodes are dashed."""
    # What a phase that acts is validated by are no losses.
    offline = [phase for phase in phases if not phase.config.get("online")]
    charts = [
        line_chart(
            _series(phase.metrics, "loss/"),
            _series(phase.metrics, "validation/") if phase in offline else {},
            title=f"{phase.config.get('phase', phase.folder.name)}: losses",
            x_label="step",
        )
        for phase in phases
    ]
    rows = chain.from_iterable(phase.metrics for phase in offline)
    held_out = any(key.startswith("validation/") for key in chain.from_iterable(rows))
    legend = '<p class="soft">Dashed: on held-out episodes.</p>' if held_out else ""
    return f'<div class="charts">{"".join(charts)}</div>{legend}'


def videos(evidence: Evidence, result: Result) -> str:
    """Videos by task, with the task's prompts; beyond `VIDEO_BUDGET` bytes they are only counted.

    Args:
        evidence: the run's files, with its videos.
        result: the run's evaluation, which names tasks and prompts.

    Returns:
        HTML elements as one text.
    """
    chosen = _within_budget(evidence.videos)
    parts = []
    for task in result.tasks:
        episodes = [episode for episode in result.episodes if episode.task == task]
        shown = [episode for episode in episodes if (task, episode.seed) in chosen]
        texts = dict.fromkeys(episode.prompt for episode in episodes if episode.prompt)
        asked = " ".join(f"<q>{escape(instruction)}</q>" for instruction in texts) or "none"
        figures = "".join(_video(episode, chosen[task, episode.seed]) for episode in shown)
        grid = (
            f'<div class="videos">{figures}</div>'
            if figures
            else '<p class="soft">No video was kept.</p>'
        )
        parts.append(f'<h3>{escape(task)}</h3><p class="soft">Prompt: {asked}</p>{grid}')
    if left := len(evidence.videos) - len(chosen):
        folder = escape(str(evidence.evaluation / "videos"))
        parts.append(f'<p class="soft">{counted(left, "more video")} in {folder}.</p>')
    return "".join(parts)


def provenance(recorded: Mapping[str, Any]) -> str:
    """Provenance of the evaluation, and folded away that of each phase."""
    own = {key: value for key, value in recorded.items() if key != "training"}
    parts, phase, number = [definitions(flatten(own))], recorded.get("training"), 0
    while isinstance(phase, Mapping):
        name = "training" if number == 0 else "the run before"
        before = phase.get("start_from")
        facts = {key: value for key, value in phase.items() if key != "start_from"}
        parts.append(f"<details><summary>{name}</summary>{definitions(flatten(facts))}</details>")
        phase, number = before, number + 1
    return "".join(parts)


def definitions(facts: Mapping[str, Any]) -> str:
    """A list of names and values."""
    items = "".join(
        f"<dt>{escape(str(key))}</dt><dd>{escape(_plain(value))}</dd>"
        for key, value in facts.items()
    )
    return f"<dl>{items}</dl>"


def _dataset_facts(data: Dataset) -> dict[str, Any]:
    info, own = data.info, own_entry(data.info) or {}
    spec = own.get("spec", {})
    cameras = spec.get("cameras", {})
    episodes, frames = info.get("total_episodes", 0), info.get("total_frames", 0)
    facts = {
        "demonstrations": f"{counted(episodes, 'episode')}, {counted(frames, 'frame')}",
        "tasks": ", ".join(str(task.get("name")) for task in own.get("tasks", [])),
        "images": ", ".join(f"{name}, {size[1]}×{size[0]} px" for name, size in cameras.items()),
        "state": ", ".join(spec.get("state_names", [])),
    }
    noise = fields_in(Noise, data.collection.get("noise", {"fraction": 0}))
    if noise["fraction"]:
        tries = percent(noise["fraction"])
        facts["noise"] = f"in {tries} of the recorded tries, std {noise['std']:g} half-ranges"
    return {key: value for key, value in facts.items() if value}


def _phase_facts(phase: Phase, before: Path | None) -> dict[str, Any]:
    config = phase.config
    objectives = config.get("objectives", {})
    trains = config.get("train_only") or ["everything"]
    return {
        "objectives": ", ".join(
            f"{name} (weight {item.get('weight', 1):g})" for name, item in objectives.items()
        ),
        "what trains": ", ".join(map(str, trains)),
        "updates": f"{config.get('steps')} steps of {config.get('batch_size')} windows",
        "starts from": "random weights" if before is None else shown_path(before),
        "seed": config.get("seed"),
        **_acting_facts(config),
    }


def _acting_facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """How a phase acted; nothing for one that learned from datasets."""
    online = config.get("online")
    if not online:
        return {}
    facts = {
        "acted in": config.get("environment"),
        "environment steps": online.get("environment_steps"),
        "before learning": f"{config.get('prefill')}, {online.get('prefill_steps')} steps",
        "replayed per environment step": online.get("train_ratio"),
        "sources": [path.name for path in data_of(config)],
        "teachers": config.get("teachers"),
    }
    return {name: value for name, value in facts.items() if value not in (None, [])}


def _series(
    rows: Sequence[Mapping[str, Any]], prefix: str
) -> dict[str, tuple[list[float], list[float]]]:
    """Steps and values of the metrics with this prefix, by the rest of their names."""
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        for key, value in row.items():
            if key.startswith(prefix) and isinstance(value, int | float):
                steps, values = lines.setdefault(key.removeprefix(prefix), ([], []))
                steps.append(float(row["step"]))
                values.append(float(value))
    return lines


def _within_budget(files: Mapping[tuple[str, int], Path]) -> dict[tuple[str, int], Path]:
    """The videos that fit, taken in turns, so that every task has some."""
    chosen, spent = {}, 0
    for key, path in _in_turns(files):
        if spent + path.stat().st_size <= VIDEO_BUDGET:
            spent += path.stat().st_size
            chosen[key] = path
    return chosen


def _in_turns(files: Mapping[tuple[str, int], Path]) -> list[tuple[tuple[str, int], Path]]:
    """Every task's first success, every task's first failure, the second successes, and so on."""
    turns: dict[tuple[str, str], int] = {}
    ranked = []
    for (task, seed), path in files.items():
        outcome = path.stem.partition("-")[0]
        turns[task, outcome] = turns.get((task, outcome), 0) + 1
        ranked.append((turns[task, outcome], outcome == "failure", ((task, seed), path)))
    return [item for _, _, item in sorted(ranked, key=lambda entry: entry[:2])]


def _video(episode: EpisodeRecord, path: Path) -> str:
    outcome = episode.outcome
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        '<div><video muted loop controls playsinline preload="auto" '
        f'src="data:video/mp4;base64,{data}"></video>'
        f'<div class="verdict {outcome}">{outcome}, {episode.length} steps '
        f'<span class="soft">goal {episode.seed}</span></div></div>'
    )


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    return "none" if value in (None, "") else str(value)
