"""A run's folder: new or resumed, locked by one process, described by config.json."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from manyparts.core import plugins
from manyparts.core.arguments import path_of
from manyparts.core.errors import UserError
from manyparts.core.naming import NAME
from manyparts.core.printing import say
from manyparts.core.provenance import command_line
from manyparts.core.serialisation import flatten, from_jsonable, to_jsonable
from manyparts.core.storage.atomic import is_temporary_file, write_atomically
from manyparts.core.storage.locked_folder import held_folder
from manyparts.core.storage.locks import LOCK_FILES
from manyparts.embodiment.views.view import View
from manyparts.models.checkpoint import CheckpointInfo, load_info, resolve
from manyparts.training.config import TrainConfig
from manyparts.training.inputs import Sources

CONFIG = "config.json"
_MAY_CHANGE = {
    "log_every_steps",
    "log_gradients",
    "online.evaluate_every_steps",
    "online.evaluation_episodes",
    "online.final_episodes",
    "checkpoint_every_steps",
    "validate_every_steps",
    "processes",
    "sharding",
}
_SHOWN_DIFFERENCES = 5


def require_free(run: Path, *, resume: bool) -> None:
    """Raise unless a run may write to the folder. Writes nothing.

    Args:
        run: the run's folder; it need not exist.
        resume: whether the run continues one that is there. If none is, this says so.

    Raises:
        UserError: the path is a file; the folder is not empty and the run is not resumed; or what
            is to be resumed is no run.
    """
    if run.exists() and not run.is_dir():
        raise UserError(f"output {run} is a file; choose a folder")
    content = _content(run)
    if content and not resume:
        raise UserError(
            f"output {run} is in use; choose another, or continue the run there with --resume"
        )
    if content and CONFIG not in content:
        raise UserError(
            f"output {run} holds no run to resume: {CONFIG} is missing; choose another folder"
        )
    if resume and not content:
        say(f"nothing to resume in {run}: training from the start", error=True)


@contextlib.contextmanager
def hold(run: Path) -> Iterator[None]:
    """Make the folder and lock it against other processes while the block runs.

    If the block ends before it wrote metrics or a checkpoint, the folder is as it was before: gone,
    or without files.
    """
    is_new, was_empty = not run.exists(), not _content(run)

    def has_nothing() -> bool:
        return was_empty and _content(run) <= {CONFIG}

    with held_folder(run, what=f"output {run}", is_empty=lambda: is_new and has_nothing()):
        try:
            yield
        finally:
            if not is_new and has_nothing():  # a folder of the user's stays
                for name in (CONFIG, *LOCK_FILES):
                    (run / name).unlink(missing_ok=True)


def write_config(run: Path, config: TrainConfig, facts: Mapping[str, Any]) -> None:
    """Write config.json.

    Args:
        run: the run's folder.
        config: its fields come first.
        facts: what stands next to them, see `facts_of`.
    """
    values = to_jsonable(config) | dict(facts)
    write_atomically(run / CONFIG, json.dumps(values, indent=1).encode())


def facts_of(
    sources: Sources,
    start_from: str | Path | None,
    info: CheckpointInfo,
    track: str | None = None,
) -> dict[str, Any]:
    """What config.json holds next to the config.

    Args:
        sources: the datasets, with their weights and the names that the user gave to robots.
        start_from: the run or checkpoint that the weights come from; None for none.
        info: the description of the run's checkpoints, with its provenance.
        track: the tracker that the user chose.

    Returns:
        JSON values: data, weights (of a mixture), embodiment (if the user named any), views (if
        data are seen through any), start_from and provenance.
    """
    facts: dict[str, Any] = {"data": _shown(sources.locations)}
    if len(sources.locations) > 1:
        facts["weights"] = list(sources.weights)
    if sources.embodiment:
        facts["embodiment"] = list(sources.embodiment)
    if sources.views:
        facts["views"] = [view and view.to_dict() for view in sources.views]
    facts["start_from"] = None if start_from is None else _origin_names(start_from)[0]
    provenance = dict(info.provenance)
    # Weights do not depend on a tracker, so that checkpoints do not name it.
    if tracker := plugins.used({"trackers": [track] if track else []}):
        provenance["plugins"] = provenance.get("plugins", {}) | tracker
    return facts | {"provenance": provenance}


def read_config(run: Path) -> tuple[TrainConfig, dict[str, Any]]:
    """The config of a run, and the facts that `facts_of` wrote next to it.

    Raises:
        UserError: config.json is missing, is not JSON, or has unknown fields.
    """
    path = run / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    plugins.require(plugins.recorded(values), run, "objectives")
    names = {item.name for item in fields(TrainConfig)} | {"type"}
    own = {name: value for name, value in values.items() if name in names}
    facts = {name: value for name, value in values.items() if name not in names}
    return from_jsonable(TrainConfig, own), facts


def named_embodiment(run: Path) -> list[str]:
    """The names that the user gave to the robots of the run in this folder; empty if there are
    none, or no run."""
    if not (run / CONFIG).exists():
        return []
    return list(read_config(run)[1].get("embodiment", []))


def views_of(run: Path) -> list[View | None]:
    """The views through which the run in this folder sees its datasets; empty if there are none, or
    no run."""
    if not (run / CONFIG).exists():
        return []
    return [values and View.of(values) for values in read_config(run)[1].get("views", [])]


def require_same(run: Path, config: TrainConfig, sources: Sources) -> dict[str, Any]:
    """The facts of the run to resume, see `facts_of`.

    Args:
        run: its folder.
        config: the config to resume with.
        sources: the datasets to resume with.

    Raises:
        UserError: config or data differ from those that the run was begun with; it names up to
            five differences.
    """
    earlier, facts = read_config(run)
    before, now = flatten(to_jsonable(earlier)), flatten(to_jsonable(config))
    keys = sorted(
        key
        for key in before.keys() | now.keys()
        if key not in _MAY_CHANGE and before.get(key) != now.get(key)
    )
    different = [f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in keys]
    weights = facts.get("weights", [1.0])
    if len(sources.datasets) > 1 and weights != list(sources.weights):
        different.append(f"weights was {weights!r}, is {list(sources.weights)!r}")
    named = facts.get("embodiment", [])
    if sources.embodiment and named != list(sources.embodiment):
        different.append(f"embodiment was {named!r}, is {list(sources.embodiment)!r}")
    views = facts.get("views", [])
    if views != (now_seen := [view and view.to_dict() for view in sources.views]):
        different.append(f"views was {views}, is {now_seen}")
    elif facts["provenance"]["dataset_fingerprint"] != sources.fingerprint:
        if facts["data"] == _shown(sources.locations):
            different.append(f"the dataset's content is no longer that of {facts['data']}")
        else:
            different.append(f"data was {facts['data']!r}, is {_shown(sources.locations)!r}")
    if keys == ["steps"] and len(different) == 1 and config.steps > earlier.steps:
        raise UserError(_how_to_train_on(run, earlier.steps, config.steps, sources.locations))
    if different:
        shown = "; ".join(different[:_SHOWN_DIFFERENCES])
        raise UserError(
            f"{run} was begun with other settings: {shown}; resume it with its own settings"
        )
    return facts


def require_same_origin(run: Path, start_from: str | Path | None) -> None:
    """Require that a run to resume was begun from `start_from`, if that is given again.

    Args:
        run: its folder.
        start_from: a run, or one of its checkpoints.

    Raises:
        UserError: it began from another one, or from nothing.
    """
    if start_from is None:
        return
    facts = read_config(run)[1]
    before = facts["start_from"]
    names = _origin_names(start_from)
    if before is not None and any(Path(before).is_relative_to(name) for name in names):
        return
    # It may have been moved, with the runs beside it.
    if before is None or not _is_origin(start_from, facts["provenance"]["start_from"]):
        raise UserError(
            f"{run} was begun from {before or 'nothing'}, not from {start_from}; resume it without "
            "--from, or choose another output"
        )


def _is_origin(start_from: str | Path, provenance: Mapping[str, Any]) -> bool:
    """Whether a run, or one of its checkpoints, is what a provenance says."""
    own = json.loads(json.dumps(dict(load_info(resolve(start_from)).provenance)))
    return own == provenance


def _origin_names(start_from: str | Path) -> tuple[str, ...]:
    """A run to start from as config.json names it, by its absolute path, and as it was given. An
    agent of the package or of the Hub has no path."""
    path = path_of(start_from, "start_from")
    names = (str(path.resolve()), str(path))
    return names if path.exists() else names[::-1]


def _shown(locations: list[str]) -> str | list[str]:
    """Locations as config.json has them: a single one is no list."""
    return locations[0] if len(locations) == 1 else locations


def _how_to_train_on(run: Path, steps: int, wanted: int, data: list[str]) -> str:
    """Why a run of `steps` steps cannot be resumed for `wanted`, and the command or call that
    trains it for longer."""
    more = wanted - steps
    command = command_line() or []
    if command[1:2] == ["train"]:
        words = _without(
            command[1:],
            {"--output": 1, "--from": 1, "--steps": 1, "--resume": 0, "--no-resume": 0},
        )
        command = shlex.join(
            [NAME, *words, "--from", str(run), "--output", "NEW", "--steps", str(more)]
        )
    else:
        location = data[0] if len(data) == 1 else data
        arguments = f"data={location!r}, start_from={str(run)!r}, output='NEW'"
        command = f"train(dataclasses.replace(config, steps={more}), {arguments})"
    return (
        f"{run} was begun with {steps} steps, over which its learning rate falls, and cannot be "
        f"resumed with {wanted}; continue in a new run that starts from it: {command}"
    )


def _without(words: Sequence[str], flags: Mapping[str, int]) -> list[str]:
    """The words of a command line without some flags, each mapped to how many values follow it."""
    kept: list[str] = []
    skipped = 0
    for word in words:
        if skipped:
            skipped -= 1
        elif word in flags:
            skipped = flags[word]
        elif word.partition("=")[0] not in flags:
            kept.append(word)
    return kept


def _content(run: Path) -> set[str]:
    """Names of the files in a run's folder, except for its lock and a config that a kill left
    half-written."""
    names = {path.name for path in run.iterdir()} if run.exists() else set()
    return {name for name in names - LOCK_FILES if not is_temporary_file(name, of=CONFIG)}
