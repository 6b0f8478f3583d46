"""A page on which a dataset can be looked at: one HTML file that needs no network."""

from __future__ import annotations

import base64
import io
import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from manyparts.core.arguments import path_of
from manyparts.core.columns import ACTION, REWARD, STATE, SUCCESS
from manyparts.core.errors import UserError
from manyparts.core.progress import progress_bar
from manyparts.core.storage.atomic import write_atomically
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.locations import short_name

_TEMPLATE = Path(__file__).with_name("view.html")
_SIDE, _FRAMES, _COLUMNS, _BINS = 160, 240, 16, 41
_QUALITY = 80


def view(
    path: str | Path | EpisodeDataset,
    output: str | Path,
    *,
    episodes: int = 24,
    only: Sequence[int] = (),
    tasks: Sequence[str] = (),
) -> Path:
    """Write the page to `output` and return its path.

    episodes: how many are shown, alike of all tasks, and of those of one task evenly spaced. only:
    these episodes instead. tasks: names or instructions of those that are shown; none: all.
    Pictures are at most 160 pixels wide, episodes of more than 240 frames are thinned. Raises
    UserError for unknown episodes or tasks.
    """
    dataset, output = EpisodeDataset.open(path), path_of(output, "output")
    chosen = choose_episodes(dataset, episodes, only, tasks)
    shown = []
    with progress_bar("drawing", len(chosen)) as bar:
        for number, index in enumerate(chosen):
            shown.append(_episode(dataset, index))
            bar.show(number + 1, "")
    content = {
        "facts": _facts(dataset),
        "tasks": [task.instruction for task in dataset.tasks],
        "fps": dataset.fps,
        "actionNames": list(dataset.spec.action.names),
        "stateNames": list(dataset.spec.state_names),
        "low": list(dataset.spec.action.low),
        "high": list(dataset.spec.action.high),
        "histograms": _histograms(dataset),
        "episodes": shown,
    }
    told = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    page = string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        data=told, title=_escaped(short_name(dataset.location))
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, page.encode())
    return output


def choose_episodes(
    dataset: EpisodeDataset, count: int, only: Sequence[int], tasks: Sequence[str]
) -> list[int]:
    """At most `count` episodes to look at, alike of all tasks; see `view`."""
    if count < 1:
        raise UserError(f"episodes is {count}; expected at least 1")
    for index in only:
        if not 0 <= index < dataset.num_episodes:
            raise UserError(f"no episode {index}; expected 0 to {dataset.num_episodes - 1}")
    if only:
        return list(dict.fromkeys(only))
    wanted = list(range(len(dataset.tasks)))
    if tasks:
        known = {
            name: number
            for number, task in enumerate(dataset.tasks)
            for name in (task.name, task.instruction)
        }
        unknown = [task for task in tasks if task not in known]
        if unknown:
            raise UserError(
                f"no task {unknown[0]!r}; choices: {', '.join(task.name for task in dataset.tasks)}"
            )
        wanted = [known[task] for task in tasks]
    each, chosen = max(1, count // len(wanted)), []
    for number in wanted:
        own = np.flatnonzero(dataset.episode_task == number)
        chosen += own[
            np.unique(np.linspace(0, len(own) - 1, min(each, len(own))).round().astype(int))
        ].tolist()
    return chosen[:count]


def _episode(dataset: EpisodeDataset, index: int) -> dict[str, Any]:
    length, columns = dataset.length(index), dataset.columns(index)
    rows = np.unique(np.linspace(0, length - 1, min(length, _FRAMES)).round().astype(int))
    success = columns.get(SUCCESS)
    solved = np.flatnonzero(success.reshape(-1)) if success is not None else np.zeros(0, int)
    return {
        "index": index,
        "task": int(dataset.episode_task[index]),
        "length": length,
        "seed": dataset.seed(index),
        "success": None if success is None else bool(len(solved)),
        "solvedAt": int(solved[0]) if len(solved) else None,
        "return": float(columns[REWARD].sum()) if REWARD in columns else None,
        "rows": rows.tolist(),
        "cameras": {
            name: _sprite(dataset.frames(index, name, rows)) for name in dataset.spec.cameras
        },
        "action": _rounded(columns[ACTION].reshape(length, -1)),
        "state": _rounded(columns[STATE].reshape(length, -1)) if dataset.spec.state_names else [],
    }


def _sprite(frames: np.ndarray) -> dict[str, Any]:
    """All frames on one JPEG sheet, row after row."""
    scale = min(1.0, _SIDE / frames.shape[2])
    width, height = max(1, round(frames.shape[2] * scale)), max(1, round(frames.shape[1] * scale))
    rows = -(-len(frames) // _COLUMNS)
    sheet = Image.new("RGB", (width * min(_COLUMNS, len(frames)), height * rows))
    for number, frame in enumerate(frames):
        picture = Image.fromarray(frame)
        if scale < 1:
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        sheet.paste(picture, (number % _COLUMNS * width, number // _COLUMNS * height))
    content = io.BytesIO()
    sheet.save(content, "JPEG", quality=_QUALITY)
    told = base64.b64encode(content.getvalue()).decode()
    return {
        "width": width,
        "height": height,
        "columns": _COLUMNS,
        "sheet": f"data:image/jpeg;base64,{told}",
    }


def _histograms(dataset: EpisodeDataset) -> list[list[int]]:
    """Of every dimension of the action over the whole dataset, between its bounds; what lies beyond
    is at the ends."""
    low, high = np.asarray(dataset.spec.action.low), np.asarray(dataset.spec.action.high)
    counts = np.zeros((len(low), _BINS), np.int64)
    for index in range(dataset.num_episodes):
        actions = dataset.columns(index)[ACTION].reshape(dataset.length(index), -1)
        places = (
            ((actions - low) / np.maximum(high - low, 1e-12) * _BINS).astype(int).clip(0, _BINS - 1)
        )
        for dimension in range(len(low)):
            counts[dimension] += np.bincount(places[:, dimension], minlength=_BINS)
    return counts.tolist()


def _facts(dataset: EpisodeDataset) -> dict[str, str]:
    known, action = dataset.reader.contents, dataset.spec.action
    cameras = ", ".join(
        f"{name} {width}×{height}" for name, (height, width) in dataset.spec.cameras.items()
    )
    return {
        "path": str(dataset.path),
        "format": known.format,
        "episodes": f"{dataset.num_episodes}",
        "frames": f"{dataset.num_frames} at {dataset.fps:g} Hz",
        "robot": dataset.spec.embodiment,
        "cameras": cameras or "none",
        "actions": f"{action.representation}, {action.dimension} numbers",
    }


def _rounded(values: np.ndarray) -> list[list[float]]:
    """Four digits, a list a dimension."""
    return [[float(f"{value:.4g}") for value in column] for column in values.T.tolist()]


def _escaped(text: object) -> str:
    return str(text).replace("&", "&amp;").replace("<", "&lt;")
