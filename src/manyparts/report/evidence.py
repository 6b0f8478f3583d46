"""What a report tells of a run, read from its folder: result, phases and their metrics, data,
videos."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.evaluation.results import EVALUATION, RESULTS, PromptStudy, Result
from manyparts.models.run_files import last_checkpoint, results_folder, run_of


@dataclass(frozen=True)
class Phase:
    """One run on the way to the agent: its folder, its config.json, the rows of its
    metrics.jsonl."""

    folder: Path
    config: Mapping[str, Any]
    metrics: list[dict[str, Any]]


@dataclass(frozen=True)
class Dataset:
    """What a run was trained on. info: its info.json; collection: how it was recorded; empty where
    they are gone."""

    path: Path
    info: Mapping[str, Any]
    collection: Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """All that a report tells. evaluation: the folder of `result`. phases: the evaluated run last.
    datasets: of the evaluated run.

    videos: of some episodes, by (task, seed); attention: the .npz beside some of these. prompts:
    what `manyparts prompts` found, or None.
    """

    run: Path
    evaluation: Path
    result: Result
    phases: list[Phase]
    videos: Mapping[tuple[str, int], Path]
    attention: Mapping[tuple[str, int], Path]
    prompts: PromptStudy | None
    datasets: tuple[Dataset, ...]


def gather(run: Path, evaluation: Path | None = None) -> Evidence:
    """Read all that the report of `run`, a run or one of its checkpoints, tells. evaluation: the
    folder of its results; None: see `results_folder`. Raises UserError where it has none, or those
    of another agent."""
    if not run_of(run).is_dir():
        raise UserError(f"no run folder {run}")
    folder = _usual_results(run) if evaluation is None else evaluation
    if not (folder / RESULTS).is_file():
        into = "" if evaluation is None else f" --output {evaluation}"
        known = (
            ", or name with --evaluation the folder that it was evaluated into"
            if evaluation is None
            else ""
        )
        raise UserError(f"{folder} has no {RESULTS}; first: manyparts evaluate {run}{into}{known}")
    result = Result.load(folder)
    agent = str(result.provenance.get("agent") or result.provenance.get("checkpoint"))
    if evaluation is not None and not Path(agent).resolve().is_relative_to(run.resolve()):
        raise UserError(f"{evaluation} has results of {agent}, not of {run}")
    phases = list(_phases(run_of(run)))[::-1]
    videos = _videos(folder / "videos", result)
    attention = {episode: path.with_suffix(".npz") for episode, path in videos.items()}
    return Evidence(
        run=run,
        evaluation=folder,
        result=result,
        phases=phases,
        videos=videos,
        attention={episode: path for episode, path in attention.items() if path.exists()},
        prompts=PromptStudy.load(run),
        datasets=tuple(_datasets(phases[-1])) if phases else (),
    )


def outdated(evidence: Evidence) -> str | None:
    """An instruction that says so, where the results are not those of the run as it is now."""
    step = Path(str(evidence.result.provenance.get("checkpoint"))).name
    last = last_checkpoint(evidence.run)
    if last is None or not step.isdecimal() or step == last.name:
        return None
    return (
        f"these are results of step {int(step)}, and the run is now at step {int(last.name)}: "
        f"manyparts evaluate {evidence.run} --overwrite"
    )


def _usual_results(run: Path) -> Path:
    """Where results lie: of a checkpoint once in its own folder; of a run perhaps those of single
    checkpoints alone."""
    usual = results_folder(run, EVALUATION)
    steps = [
        path for path in run.glob(f"{EVALUATION}-*") if path.name.rpartition("-")[2].isdecimal()
    ]
    newest_first = sorted(steps, key=lambda path: -int(path.name.rpartition("-")[2]))
    return next(
        (path for path in (usual, run / EVALUATION, *newest_first) if (path / RESULTS).is_file()),
        usual,
    )


def _datasets(phase: Phase) -> Iterator[Dataset]:
    """That of the run, or those of a mixture."""
    named = phase.config["data"]
    for path in map(Path, [named] if isinstance(named, str) else named):
        info, collection = (
            _read_json(path / "meta" / name, optional=True)
            for name in ("info.json", "collection.json")
        )
        yield Dataset(path, info, collection)


def _videos(folder: Path, result: Result) -> dict[tuple[str, int], Path]:
    """Files <task with / as _>/<success|failure>-<seed>.mp4 by the episode they show."""
    found = {
        (path.parent.name, path.stem.rpartition("-")[2]): path
        for path in sorted(folder.glob("*/*-*.mp4"))
    }
    keys = {
        (episode.task, episode.seed): (episode.task.replace("/", "_"), str(episode.seed))
        for episode in result.episodes
    }
    return {episode: found[key] for episode, key in keys.items() if key in found}


def _phases(run: Path) -> Iterator[Phase]:
    """The run, then the run it started from, and so on; a folder that is gone or was seen ends the
    chain."""
    folder: Path | None = run
    seen: set[Path] = set()
    while folder is not None and folder.resolve() not in seen and (folder / "config.json").exists():
        seen.add(folder.resolve())
        config = _read_json(folder / "config.json")
        yield Phase(folder, config, _read_lines(folder / "metrics.jsonl"))
        folder = Path(config["start_from"]) if config.get("start_from") else None


def _read_json(path: Path, *, optional: bool = False) -> dict[str, Any]:
    if optional and not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file, or none; a last line torn by a kill is left out."""
    rows = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines):
        try:
            rows.append(json.loads(line))
        except ValueError:
            if number < len(lines) - 1:
                raise UserError(f"{path}: line {number + 1} is not JSON") from None
    return rows
