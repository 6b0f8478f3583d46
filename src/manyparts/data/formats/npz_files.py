"""One `.npz` file: its arrays' shapes without reading them, some arrays, and whether it holds one
episode at all."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from manyparts.core.errors import UserError
from manyparts.data.formats.episode_marks import marked_episodes, may_mark_episodes
from manyparts.data.formats.errors import UnsupportedFormatError, one_line
from manyparts.data.formats.kinds import ArrayInfo, snake_case
from manyparts.embodiment.statistics import sample_rows

ACTIONS = ("action", "actions")
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
_SPLITS |= {"test": "test", "testing": "test", "eval": "eval", "evaluation": "eval"}
_CALVIN = {"rel_actions", "robot_obs", "scene_obs"}
_LOOKED_AT = 32  # files that decide what most are like
_ARRAY_BYTES = 4 * 2**30
_TORN = (OSError, ValueError, EOFError, RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error)

Headers = Mapping[str, ArrayInfo]


def sample(files: Sequence[Path]) -> list[Path]:
    """Some of the files, evenly spaced, that stand for all."""
    return [files[number] for number in sample_rows(len(files), _LOOKED_AT)] if files else []


def read_headers(file: Path) -> dict[str, ArrayInfo]:
    """The whole shape and the dtype of each array. Raises UserError if the file is torn, or claims
    to hold more than it does."""
    entries = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as content:
                    version = np.lib.format.read_magic(content)
                    first = version == (1, 0)
                    read = (
                        np.lib.format.read_array_header_1_0
                        if first
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = read(content)
                size = int(np.prod(shape, dtype=object)) * dtype.itemsize
                if not dtype.hasobject and (size > _ARRAY_BYTES or size > member.file_size):
                    raise UserError(
                        f"{file}: {name} claims {size} bytes; the file holds {member.file_size}"
                    )
                entries[name] = ArrayInfo(tuple(shape), dtype)
    except UserError:
        raise
    except _TORN as error:
        raise UserError(f"{file} cannot be read as .npz: {one_line(error)}") from error
    return entries


def read_arrays(file: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Some of its arrays. Raises UserError if the file is torn."""
    try:
        with np.load(file, allow_pickle=False) as opened:
            return {name: opened[name] for name in names}
    except (*_TORN, KeyError) as error:
        raise UserError(f"{file} cannot be read as .npz: {one_line(error)}") from error


def read_of_some(files: Mapping[Path, Headers], name: str) -> Iterator[tuple[Path, np.ndarray]]:
    """One array of those sampled files that have it and are sound."""
    for file in sample([file for file, head in files.items() if name in head]):
        if not files[file][name].dtype.hasobject:
            with suppress(UserError):
                yield file, read_arrays(file, [name])[name]


def action_of(heads: Iterable[Headers]) -> str | None:
    """The name that most files give to the actions."""
    counts = {name: sum(name in head for head in heads) for name in ACTIONS}
    best = max(ACTIONS, key=lambda name: counts[name])
    return best if counts[best] else None


def require_episodes(heads: Mapping[Path, Headers], action: str) -> None:
    """Raises UnsupportedFormatError where most files hold one time step, or many episodes."""
    looked_at = sample(list(heads))
    if _are_single_steps([heads[file] for file in looked_at], action):
        raise UnsupportedFormatError(
            f"{looked_at[0]} and its like hold one time step each, as CALVIN's do: {action} has shape "
            f"{heads[looked_at[0]][action].shape}, and no array has a row per step",
            "write one .npz per episode, in which each array has a row per step: actions (T, a)",
        )
    several: dict[Path, tuple[str, int]] = {}
    for file in looked_at:
        with suppress(UserError):  # each torn file is reported later
            several |= {file: ends} if (ends := ends_inside(file, heads[file])) else {}
    if 2 * len(several) > len(looked_at):
        raise many_episodes(*max(several.items(), key=lambda item: item[1][1]))


def many_episodes(file: Path, marks: tuple[str, int]) -> UnsupportedFormatError:
    """What to say of a file that holds several episodes. marks: as `ends_inside` gives them."""
    name, count = marks
    held_out = [
        other.name for other in episode_files(file.parent) if _split_of(other) not in ("", "train")
    ]
    apart = (
        f", and {held_out[0]} into a folder of its own, since it is held out" if held_out else ""
    )
    return UnsupportedFormatError(
        f"{file} holds many episodes in one file, as OGBench's do: {name} marks {count}",
        f"split it there into one .npz per episode{apart}",
    )


def ends_inside(file: Path, head: Headers) -> tuple[str, int] | None:
    """The array that ends episodes before the last row, and how many episodes it marks; None in one
    episode's file."""
    return marked_episodes(read_arrays(file, mark_names(head)), rows_of(head))


def mark_names(head: Headers) -> list[str]:
    """The arrays that may say where episodes end."""
    return [
        name for name, entry in head.items() if may_mark_episodes(name, entry.shape, entry.dtype)
    ]


def rows_of(head: Headers) -> int:
    """The rows of a file's actions; without actions those of its longest array."""
    lengths = {name: entry.shape[0] for name, entry in head.items() if entry.shape}
    return max(
        (lengths[name] for name in ACTIONS if name in lengths),
        default=max(lengths.values(), default=0),
    )


def episode_files(folder: Path) -> list[Path]:
    """The .npz files of a folder, in whatever case their ending is, in the order of their names."""
    files = (file for file in folder.iterdir() if file.suffix.lower() == ".npz" and file.is_file())
    return sorted(
        file for file in files if not file.name.startswith(".")
    )  # macOS leaves such companions


def splits_note(files: Sequence[Path]) -> list[str]:
    """What users have to know of files whose names begin or end with a split, unless it is the same
    for all."""
    counts = Counter(map(_split_of, files))
    if not counts.keys() - {"", "train"} or len(counts) < 2:
        return []
    named = ", ".join(
        f"{name or 'without a name'} ({count})"
        for name, count in sorted(counts.items(), reverse=True)
    )
    return [
        f"by their names the files are of several splits: {named}; they are read as one dataset; to hold one apart, "
        "make two folders"
    ]


def _split_of(file: Path) -> str:
    words = [word for word in snake_case(file.stem).split("_") if not word.isdigit()]
    return next((_SPLITS[word] for word in (*words[-1:], *words[:1]) if word in _SPLITS), "")


def _are_single_steps(heads: Sequence[Headers], action: str) -> bool:
    """Whether no array but, by its length, the action's may have a time axis, in any of the
    files."""
    rows = {head[action].shape[:1] for head in heads if action in head}
    if rows == {(1,)} and len(heads) > 1:
        return True
    if len(rows) > 1 or any(len(head[action].shape) > 1 for head in heads):
        return False
    if _CALVIN & set.union(*(set(head) for head in heads)) or rows == {()}:
        return True
    (length,) = next(iter(rows))
    shapes = [entry.shape for head in heads for entry in head.values() if len(entry.shape) > 1]
    return not any(shape[0] - length in (0, 1) for shape in shapes)
