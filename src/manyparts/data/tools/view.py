"""Write a page that shows a dataset: one HTML file that needs no network."""

from __future__ import annotations

import base64
import io
import json
import math
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from manyparts.core.arguments import path_of
from manyparts.core.columns import ACTION, REWARD, STATE, SUCCESS
from manyparts.core.errors import UserError, closest
from manyparts.core.progress import progress_bar
from manyparts.core.storage.atomic import make_folder, write_atomically
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.locations import short_name

_TEMPLATE = Path(__file__).with_name("view.html")
_MAX_WIDTH = 160  # pixels
_MAX_FRAMES = 240  # of an episode
_SHEET_COLUMNS = 16  # images in a row of a sheet
_BINS = 41
_JPEG_QUALITY = 80


def view(
    path: str | Path | EpisodeDataset,
    output: str | Path,
    *,
    episodes: int = 24,
    only: Sequence[int] = (),
    tasks: Sequence[str] = (),
) -> Path:
    """Write the page.

    Images are at most 160 pixels wide; of episodes with more than 240 frames, 240 are shown.

    Args:
        path: the dataset, as `EpisodeDataset.open` takes it.
        output: the HTML file to write.
        episodes: how many episodes are shown, equally many of each task, evenly spaced.
        only: show these episodes instead.
        tasks: names or instructions of the tasks to show; none: all.

    Returns:
        The page's path.

    Raises:
        UserError: for unknown episodes or tasks.
    """
    dataset, output = EpisodeDataset.open(path), path_of(output, "output")
    chosen = choose_episodes(dataset, episodes, only, tasks)
    shown = []
    with progress_bar(f"drawing episodes of {Path(dataset.location).name}", len(chosen)) as bar:
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
    data = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    page = string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        data=data, title=_escaped(short_name(dataset.location))
    )
    make_folder(output.parent)
    write_atomically(output, page.encode())
    return output


def choose_episodes(
    dataset: EpisodeDataset, count: int, only: Sequence[int], tasks: Sequence[str]
) -> list[int]:
    """Choose the episodes to look at, equally many of each task, evenly spaced.

    Args:
        dataset: the dataset.
        count: how many at most, 1 or more.
        only: indices of episodes; if there are any, these are chosen, however many they are.
        tasks: names or instructions of the tasks to choose from; none: all.

    Returns:
        Indices of episodes, task by task; those of `only` in its order.

    Raises:
        UserError: for a count below 1, or unknown episodes or tasks.
    """
    if count < 1:
        raise UserError(f"episodes is {count}; expected at least 1")
    for index in only:
        if not 0 <= index < dataset.num_episodes:
            raise UserError(f"no episode {index}; expected 0 to {dataset.num_episodes - 1}")
    if only:
        return list(dict.fromkeys(only))
    numbers = list(range(len(dataset.tasks)))
    if tasks:
        number_of: dict[str, int] = {}
        for number, task in enumerate(dataset.tasks):
            number_of |= {task.name: number, task.instruction: number}
        for task in tasks:
            if task not in number_of:
                names = [task.name for task in dataset.tasks]
                raise UserError(f"no task {task!r}; {closest(task, names)}")
        numbers = [number_of[task] for task in tasks]
    per_task, chosen = max(1, count // len(numbers)), []
    for number in numbers:
        of_task = np.flatnonzero(dataset.episode_task == number)
        chosen += of_task[_evenly_spaced(len(of_task), per_task)].tolist()
    return chosen[:count]


def _evenly_spaced(length: int, count: int) -> np.ndarray:
    """At most `count` of the indices 0 to length - 1, with the first and the last."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(int))


def _episode(dataset: EpisodeDataset, index: int) -> dict[str, Any]:
    """An episode as the page's script reads it."""
    length, columns = dataset.length(index), dataset.columns(index)
    rows = _evenly_spaced(length, _MAX_FRAMES)
    success = columns.get(SUCCESS)
    solved = np.flatnonzero(success.reshape(-1)) if success is not None else np.zeros(0, int)
    return {
        "index": index,
        "task": int(dataset.episode_task[index]),
        "length": length,
        "seed": dataset.seed(index),
        "success": None if success is None else bool(len(solved)),
        "solvedAt": int(solved[0]) if len(solved) else None,
        "return": _number(float(columns[REWARD].sum())) if REWARD in columns else None,
        "rows": rows.tolist(),
        "cameras": {
            name: _sheet(dataset.frames(index, name, rows)) for name in dataset.spec.cameras
        },
        "action": _rounded(columns[ACTION].reshape(length, -1)),
        "state": _rounded(columns[STATE].reshape(length, -1)) if dataset.spec.state_names else [],
    }


def _sheet(frames: np.ndarray) -> dict[str, Any]:
    """All frames, uint8 (n, h, w, 3), on one JPEG sheet, row after row."""
    scale = min(1.0, _MAX_WIDTH / frames.shape[2])
    width, height = max(1, round(frames.shape[2] * scale)), max(1, round(frames.shape[1] * scale))
    rows = -(-len(frames) // _SHEET_COLUMNS)
    sheet = Image.new("RGB", (width * min(_SHEET_COLUMNS, len(frames)), height * rows))
    for number, frame in enumerate(frames):
        image = Image.fromarray(frame)
        if scale < 1:
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        row, column = divmod(number, _SHEET_COLUMNS)
        sheet.paste(image, (column * width, row * height))
    content = io.BytesIO()
    sheet.save(content, "JPEG", quality=_JPEG_QUALITY)
    encoded = base64.b64encode(content.getvalue()).decode()
    return {
        "width": width,
        "height": height,
        "columns": _SHEET_COLUMNS,
        "sheet": f"data:image/jpeg;base64,{encoded}",
    }


def _histograms(dataset: EpisodeDataset) -> list[list[int]]:
    """Counts of each dimension of the action over the whole dataset, in equal bins between its
    bounds; numbers outside are counted in the outer bins."""
    low, high = np.asarray(dataset.spec.action.low), np.asarray(dataset.spec.action.high)
    counts = np.zeros((len(low), _BINS), np.int64)
    for index in range(dataset.num_episodes):
        actions = dataset.columns(index)[ACTION].reshape(dataset.length(index), -1)
        scaled = (actions - low) / np.maximum(high - low, 1e-12)
        for dimension, values in enumerate(scaled.T):
            finite = values[np.isfinite(values)] * _BINS
            bins = finite.clip(0, _BINS - 1).astype(int)
            counts[dimension] += np.bincount(bins, minlength=_BINS)
    return counts.tolist()


def _facts(dataset: EpisodeDataset) -> dict[str, str]:
    """The facts at the top of the page."""
    action = dataset.spec.action
    cameras = ", ".join(
        f"{name} {width}×{height}" for name, (height, width) in dataset.spec.cameras.items()
    )
    facts = {
        "path": str(dataset.path),
        "format": dataset.reader.contents.format,
        "episodes": f"{dataset.num_episodes}",
        "frames": f"{dataset.num_frames} at {dataset.fps:g} Hz",
        "robot": dataset.spec.embodiment,
        "cameras": cameras or "none",
        "actions": f"{action.representation}, {action.dimension} numbers",
    }
    if dataset.view is not None:
        facts["seen through"] = json.dumps(dataset.view.to_dict())
    return facts


def _rounded(values: np.ndarray) -> list[list[float | None]]:
    """One list per dimension of values (T, d), rounded to four digits; see `_number`."""
    return [[_number(value) for value in column] for column in values.T.tolist()]


def _number(value: float) -> float | None:
    """A number of four digits; None for what is none, which JSON does not know."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _escaped(text: object) -> str:
    return str(text).replace("&", "&amp;").replace("<", "&lt;")
