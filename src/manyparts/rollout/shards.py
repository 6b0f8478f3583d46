"""Finished attempts on disk before they become a dataset, so that a kill loses only what was under
way."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np

from manyparts.core.records import Episode
from manyparts.core.spec import Spec
from manyparts.core.storage.atomic import remove_temporary_files, write_atomically

_RECORDED = ("state", "action", "expert_action", "reward", "success")


def stage(
    folder: Path, task: str, number: int, *, success: bool, episode: Episode | None, spec: Spec
) -> None:
    """Record an attempt's outcome, all of it or nothing. episode: None for a failure that is not
    kept."""
    content = io.BytesIO()
    if episode is not None:
        images = {f"images/{name}": frames for name, frames in episode.images.items()}
        arrays = {name: getattr(episode, name) for name in _RECORDED}
        described = {
            "seed": episode.seed,
            "sentence": episode.instruction,
            "interface": json.dumps(spec.to_dict()),
        }
        np.savez(content, **described, **images, **arrays)
    path = _path(folder, task, number, success)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, content.getbuffer())


def staged(folder: Path, task: str) -> dict[int, bool]:
    """Every attempt at a task that was finished: its number, and whether it succeeded."""
    names = [path.stem.split("-") for path in (folder / _folder_name(task)).glob("*.npz")]
    return {int(number): outcome == "success" for number, outcome in sorted(names)}


def load(folder: Path, task: str, number: int, *, success: bool) -> tuple[Episode, Spec]:
    """A staged attempt and the embodiment it was made with."""
    with np.load(_path(folder, task, number, success), allow_pickle=False) as file:
        images = {
            name.removeprefix("images/"): file[name]
            for name in file.files
            if name.startswith("images/")
        }
        arrays = {name: file[name] for name in _RECORDED}
        described = {"task": task, "instruction": str(file["sentence"]), "seed": int(file["seed"])}
        spec = Spec.from_dict(json.loads(str(file["interface"])))
        return Episode(images=images, **described, **arrays), spec


def clear_torn(folder: Path) -> None:
    """Remove what a kill left half written."""
    remove_temporary_files(folder)


def _path(folder: Path, task: str, number: int, success: bool) -> Path:
    return folder / _folder_name(task) / f"{number:06d}-{'success' if success else 'failure'}.npz"


def _folder_name(task: str) -> str:
    return task.replace("/", "_")
