"""A run's folder: free or to be continued, held by one process, described by config.json."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.naming import NAME
from manyparts.core.printing import say
from manyparts.core.provenance import command_line
from manyparts.core.serialisation import flatten, from_jsonable, to_jsonable
from manyparts.core.storage.atomic import is_temporary_file, write_atomically
from manyparts.core.storage.locked_folder import held_folder
from manyparts.core.storage.locks import LOCK_FILES
from manyparts.training.config import TrainConfig
from manyparts.training.inputs import Sources

CONFIG = "config.json"
_MAY_CHANGE = {
    "log_every_steps",
    "checkpoint_every_steps",
    "validate_every_steps",
    "processes",
    "sharding",
}


def require_free(run: Path, *, resume: bool) -> None:
    """Raises UserError if the folder holds something and the run is not resumed. Writes nothing."""
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
    """Make the folder and keep other processes out. If the block fails before it wrote anything,
    the folder goes."""
    made = not run.exists()
    with held_folder(run, what=f"output {run}", is_empty=lambda: made and not _content(run)):
        yield


def write_config(run: Path, config: TrainConfig, facts: Mapping[str, Any]) -> None:
    """config.json: the fields of `config`, then `facts` (data, weights, start_from, provenance)."""
    values = to_jsonable(config) | dict(facts)
    write_atomically(run / CONFIG, json.dumps(values, indent=1).encode())


def read_config(run: Path) -> tuple[TrainConfig, dict[str, Any]]:
    """A run's config and the facts beside it. Raises UserError if config.json is missing or does
    not fit."""
    path = run / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    names = {item.name for item in fields(TrainConfig)} | {"type"}
    own = {name: value for name, value in values.items() if name in names}
    return from_jsonable(TrainConfig, own), {
        name: value for name, value in values.items() if name not in names
    }


def named_embodiment(run: Path) -> list[str]:
    """What the run there was told to call its robots; nothing if it was told nothing, or there is
    no run."""
    return list(read_config(run)[1].get("embodiment", [])) if (run / CONFIG).exists() else []


def require_same(run: Path, config: TrainConfig, sources: Sources) -> dict[str, Any]:
    """The facts of the run to resume. Raises UserError naming what differs from how it was
    begun."""
    begun, facts = read_config(run)
    there, now = flatten(to_jsonable(begun)), flatten(to_jsonable(config))
    keys = sorted(
        key
        for key in there.keys() | now.keys()
        if key not in _MAY_CHANGE and there.get(key) != now.get(key)
    )
    different = [f"{key} was {there.get(key)!r}, is {now.get(key)!r}" for key in keys]
    weights = facts.get("weights", [1.0])
    if len(sources.datasets) > 1 and weights != list(sources.weights):
        different.append(f"weights was {weights!r}, is {list(sources.weights)!r}")
    named = facts.get("embodiment", [])
    if sources.embodiment and named != list(sources.embodiment):
        different.append(f"embodiment was {named!r}, is {list(sources.embodiment)!r}")
    if facts["provenance"]["dataset_fingerprint"] != sources.fingerprint:
        different.append(f"the dataset's content is no longer that of {facts['data']}")
    if keys == ["steps"] and len(different) == 1 and config.steps > begun.steps:
        raise UserError(_how_to_train_on(run, begun.steps, config.steps, sources.locations))
    if different:
        raise UserError(
            f"{run} was begun with other settings: {'; '.join(different[:5])}; resume it with its own"
        )
    return facts


def _how_to_train_on(run: Path, begun: int, wanted: int, data: list[str]) -> str:
    """Why a run cannot be resumed for more steps, and the command or call that does what is
    wanted."""
    more = wanted - begun
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
        arguments = (
            f"data={(data[0] if len(data) == 1 else data)!r}, start_from={str(run)!r}, output='NEW'"
        )
        command = f"train(dataclasses.replace(config, steps={more}), {arguments})"
    return (
        f"{run} was begun with {begun} steps, over which its learning rate falls, and cannot be resumed with {wanted}; "
        f"train on in a run of its own: {command}"
    )


def _without(words: Sequence[str], flags: Mapping[str, int]) -> list[str]:
    """Words of a command line but for some flags, each with so many values."""
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
    """Names of what lies in a run's folder, but for its lock and a config that a kill left
    half-written."""
    names = {path.name for path in run.iterdir()} if run.exists() else set()
    return {name for name in names - LOCK_FILES if not is_temporary_file(name, of=CONFIG)}
