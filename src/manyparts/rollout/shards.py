"""Shards: finished tries on disk before they become a dataset, so that a kill loses only the
running ones.

A shard is one file, `FOLDER/<suite>_<task>/<number>-<success|failure|unknown>.npz`. That of a
failure that is not kept is empty: its name counts the try.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

from manyparts.core.records import Episode
from manyparts.core.spec import Spec
from manyparts.core.storage.atomic import write_atomically

_SUCCESS: dict[str, bool | None] = {"success": True, "failure": False, "unknown": None}
_ARRAYS = ("state", "action", "expert_action", "reward", "success")
_IMAGES = "images/"  # before a camera's name
_TERMINATED = "terminated"  # only in shards of tasks that can terminate


def write_shard(
    folder: Path,
    task: str,
    number: int,
    *,
    success: bool | None,
    episode: Episode | None,
    spec: Spec,
    terminates: bool = False,
) -> None:
    """Write a try's outcome, the whole file or none.

    Args:
        folder: Where the shards of all tasks lie.
        task: "suite/task".
        number: The try's number among those of its task.
        success: Whether the task was solved; None where nobody knows.
        episode: What was recorded; None for a failure that is not kept.
        spec: The embodiment that it was recorded with.
        terminates: Whether episodes of the task can end for good, so that the shard says whether
            this one did.
    """
    content = io.BytesIO()
    if episode is not None:
        images = {f"{_IMAGES}{name}": frames for name, frames in episode.images.items()}
        arrays = {name: getattr(episode, name) for name in _ARRAYS}
        # The keys "sentence" and "interface" are those of version 0.1, which wrote such files, too.
        texts = {
            "seed": episode.seed,
            "sentence": episode.instruction,
            "interface": json.dumps(spec.to_dict()),
        }
        ends = {_TERMINATED: episode.terminated} if terminates else {}
        np.savez(content, **texts, **images, **arrays, **ends)
    path = _path(folder, task, number, success)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, content.getbuffer())


def finished_tries(folder: Path, task: str) -> dict[int, bool | None]:
    """Return every finished try at a task: its number, and whether it succeeded; None where nobody
    knows.

    Args:
        folder: Where the shards of all tasks lie.
        task: "suite/task".
    """
    names = [path.stem.split("-") for path in (folder / _folder_name(task)).glob("*.npz")]
    return {int(number): _SUCCESS[outcome] for number, outcome in sorted(names)}


def read_shard(
    folder: Path, task: str, number: int, *, success: bool | None
) -> tuple[Episode, Spec]:
    """Return a try that was kept, and the embodiment that it was recorded with.

    Args:
        folder: Where the shards of all tasks lie.
        task: "suite/task".
        number: The try's number among those of its task.
        success: Whether the task was solved, which is part of the file's name.
    """
    with _opened(folder, task, number, success=success) as file:
        images = {
            name.removeprefix(_IMAGES): file[name]
            for name in file.files
            if name.startswith(_IMAGES)
        }
        episode = Episode(
            task=task,
            instruction=str(file["sentence"]),
            seed=int(file["seed"]),
            images=images,
            terminated=_TERMINATED in file.files and bool(file[_TERMINATED]),
            **{name: file[name] for name in _ARRAYS},
        )
        return episode, Spec.from_dict(json.loads(str(file["interface"])))


def says_terminated(folder: Path, task: str, number: int, *, success: bool | None) -> bool:
    """Return whether a try that was kept is of a task whose episodes can end for good.

    Args:
        folder: Where the shards of all tasks lie.
        task: "suite/task".
        number: The try's number among those of its task.
        success: Whether the task was solved, which is part of the file's name.
    """
    with _opened(folder, task, number, success=success) as file:
        return _TERMINATED in file.files


def read_instruction(folder: Path, task: str, number: int, *, success: bool | None) -> str:
    """Return the instruction of a try that was kept.

    Args:
        folder: Where the shards of all tasks lie.
        task: "suite/task".
        number: The try's number among those of its task.
        success: Whether the task was solved, which is part of the file's name.
    """
    with _opened(folder, task, number, success=success) as file:
        return str(file["sentence"])


def _opened(folder: Path, task: str, number: int, *, success: bool | None) -> NpzFile:
    return np.load(_path(folder, task, number, success), allow_pickle=False)


def _path(folder: Path, task: str, number: int, success: bool | None) -> Path:
    outcome = next(word for word, value in _SUCCESS.items() if value is success)
    return folder / _folder_name(task) / f"{number:06d}-{outcome}.npz"


def _folder_name(task: str) -> str:
    return task.replace("/", "_")
