"""What a report shows of a run, read from its folder: result, phases and their metrics, data,
videos."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.evaluation.prompt_results import PromptStudy
from manyparts.evaluation.results import EVALUATION, RESULTS, Result
from manyparts.models.run_files import last_checkpoint, results_folder, run_of, shipped
from manyparts.report.acted import Acted


@dataclass(frozen=True)
class Phase:
    """One run on the way to the agent."""

    folder: Path
    """The run's folder."""

    config: Mapping[str, Any]
    """Its config.json."""

    metrics: list[dict[str, Any]]
    """The rows of its metrics.jsonl."""


@dataclass(frozen=True)
class Dataset:
    """What a run was trained on."""

    path: Path
    """The dataset's folder."""

    info: Mapping[str, Any]
    """Its info.json; empty if that is gone."""

    collection: Mapping[str, Any]
    """How it was recorded; empty if nothing says so."""


@dataclass(frozen=True)
class Evidence:
    """All that a report shows."""

    run: Path
    """The run, or one of its checkpoints."""

    evaluation: Path
    """The folder of `result`, or where it would be."""

    result: Result | None
    """Success of the run; None if only its prompts were evaluated, or if it is still acting."""

    phases: list[Phase]
    """The runs that led to it, the evaluated run last."""

    videos: Mapping[tuple[str, int], Path]
    """Videos of some episodes, by task and seed."""

    attention: Mapping[tuple[str, int], Path]
    """For some of these videos the .npz with maps of the visual tokens."""

    prompts: PromptStudy | None
    """The result of `manyparts prompts`, or None."""

    datasets: tuple[Dataset, ...]
    """What the evaluated run was trained on."""

    acted: Acted | None
    """How the run learned by acting; None if it learned from datasets."""


def gather(run: Path, evaluation: Path | None = None) -> Evidence:
    """Read all that the report of a run shows.

    Args:
        run: a run, one of its checkpoints, or the name of an agent that comes with the package.
        evaluation: the folder of its results; None: see `results_folder`.

    Raises:
        UserError: there are no results, or they are of another agent.
    """
    agent = shipped(run) or run
    if not run_of(agent).is_dir():
        raise UserError(f"no run folder {run}")
    folder = _usual_results(run) if evaluation is None else evaluation
    study = PromptStudy.load(run)
    phases = list(_phases(run_of(agent)))[::-1]
    has_acted = bool(phases and phases[-1].config.get("online"))
    if (folder / RESULTS).is_file():
        result = _own_result(folder, run, agent, named=evaluation is not None)
    elif evaluation is None and (study is not None or has_acted):
        result = None
    else:
        into = "" if evaluation is None else f" --output {evaluation}"
        advice = ", or name with --evaluation the folder that it was evaluated into"
        advice = advice if evaluation is None else ""
        raise UserError(f"{folder} has no {RESULTS}; first: manyparts evaluate {run}{into}{advice}")
    videos = {} if result is None else _videos(folder / "videos", result)
    attention = {episode: path.with_suffix(".npz") for episode, path in videos.items()}
    return Evidence(
        run=run,
        evaluation=folder,
        result=result,
        phases=phases,
        videos=videos,
        attention={episode: path for episode, path in attention.items() if path.exists()},
        prompts=study,
        datasets=tuple(_datasets(phases[-1])) if phases else (),
        acted=Acted.read(run, phases[-1].config, phases[-1].metrics) if has_acted else None,
    )


def outdated(evidence: Evidence) -> str | None:
    """A remark, if the results are not those of the run as it is now; else None."""
    if evidence.result is None:
        return None
    step = Path(str(evidence.result.provenance.get("checkpoint"))).name
    last = last_checkpoint(evidence.run)
    if last is None or not step.isdecimal() or step == last.name:
        return None
    where = ["--output", str(evidence.evaluation)] if elsewhere(evidence) else []
    command = shlex.join(["manyparts", "evaluate", str(evidence.run), "--overwrite", *where])
    return (
        f"these are results of step {int(step)}, and the run is now at step {int(last.name)}: "
        f"{command}"
    )


def elsewhere(evidence: Evidence) -> bool:
    """Whether a command finds the results only where a flag says where they are."""
    return evidence.evaluation != results_folder(evidence.run, EVALUATION)


def _own_result(folder: Path, run: Path, agent: Path, *, named: bool) -> Result:
    """The result in a folder.

    Args:
        folder: where it is.
        run: how the user calls the agent.
        agent: the agent's folder.
        named: whether the user named the folder, which may then have results of another agent.

    Raises:
        UserError: the result is of another agent.
    """
    result = Result.load(folder)
    evaluated = str(result.provenance.get("agent") or result.provenance.get("checkpoint"))
    if named and not Path(evaluated).resolve().is_relative_to(agent.resolve()):
        raise UserError(f"{folder} has results of {evaluated}, not of {run}")
    return result


def _usual_results(run: Path) -> Path:
    """The folder of a run's results.

    Formerly those of a checkpoint were in its own folder. A run may have only results of single
    checkpoints; then these are the newest ones.
    """
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
    """The run's dataset, or all datasets of its mixture."""
    for path in data_of(phase.config):
        info, collection = (
            read_json(path / "meta" / name, optional=True)
            for name in ("info.json", "collection.json")
        )
        yield Dataset(path, info, collection)


def _videos(folder: Path, result: Result) -> dict[tuple[str, int], Path]:
    """Files <task with / as _>/<success|failure>-<seed>.mp4 by the episode they show."""
    files = {
        (path.parent.name, path.stem.rpartition("-")[2]): path
        for path in sorted(folder.glob("*/*-*.mp4"))
    }
    keys = {
        (episode.task, episode.seed): (episode.task.replace("/", "_"), str(episode.seed))
        for episode in result.episodes
    }
    return {episode: files[key] for episode, key in keys.items() if key in files}


def _phases(run: Path) -> Iterator[Phase]:
    """The run, then the run it started from, and so on; a folder that is gone or was seen ends the
    chain. A checkpoint alone, without its run, says nothing of its training."""
    folder: Path | None = run
    seen: set[Path] = set()
    while folder is not None and folder.resolve() not in seen and (folder / "config.json").exists():
        seen.add(folder.resolve())
        config = read_json(folder / "config.json")
        if "data" not in config:
            return
        yield Phase(folder, config, read_lines(folder / "metrics.jsonl"))
        folder = Path(config["start_from"]) if config.get("start_from") else None


def data_of(config: Mapping[str, Any]) -> list[Path]:
    """The datasets of a run, which config.json names by one path or by a list of paths.

    Args:
        config: the content of config.json.
    """
    named = config.get("data") or []
    return [Path(path) for path in ([named] if isinstance(named, str) else named)]


def read_json(path: Path, *, optional: bool = False) -> dict[str, Any]:
    """The content of a JSON file.

    Args:
        path: the file.
        optional: whether a missing file counts as empty.

    Raises:
        UserError: the file cannot be read.
    """
    if optional and not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file, or none; a last line torn by a kill is left out.

    Args:
        path: the file, which need not exist.

    Raises:
        UserError: another line is torn.
    """
    rows = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines):
        try:
            rows.append(json.loads(line))
        except ValueError:
            if number < len(lines) - 1:
                raise UserError(f"{path}: line {number + 1} is not JSON") from None
    return rows
