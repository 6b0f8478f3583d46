"""Read `.npz` files: the shapes of their arrays, some arrays, and whether they hold one episode."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from manyparts.core.errors import UserError
from manyparts.data.formats.episode_marks import marked_episodes, may_mark_episodes
from manyparts.data.formats.errors import UnsupportedFormatError
from manyparts.data.formats.kinds import ArrayInfo, snake_case
from manyparts.data.formats.npz_members import npz_errors, read_header
from manyparts.embodiment.statistics import sample_rows

ACTIONS = ("action", "actions")
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SPLITS |= {"test": "test", "testing": "test", "eval": "eval", "evaluation": "eval"}
_CALVIN = {"rel_actions", "robot_obs", "scene_obs"}
_SAMPLE_FILES = 32  # files that decide what most files are like
_ARRAY_BYTES = 4 * 2**30

Headers = Mapping[str, ArrayInfo]


def sample(files: Sequence[Path]) -> list[Path]:
    """Some evenly spaced files that stand for all."""
    return [files[number] for number in sample_rows(len(files), _SAMPLE_FILES)] if files else []


def read_headers(file: Path) -> dict[str, ArrayInfo]:
    """The whole shape, time axis included, and the dtype of each array, by name.

    Raises:
        UserError: if the file is torn, or claims to hold more than it does.
    """
    infos = {}
    with npz_errors(file), zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            header = read_header(archive, member)
            if header.size > min(_ARRAY_BYTES, member.file_size):
                raise UserError(
                    f"{file}: {name} claims {header.size} bytes; the file holds {member.file_size}"
                )
            infos[name] = ArrayInfo(header.shape, header.dtype)
    return infos


def read_arrays(file: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Read some arrays of a file.

    Args:
        file: the `.npz` file.
        names: the names of the arrays.

    Raises:
        UserError: the file is torn, or lacks one of the arrays.
    """
    with npz_errors(file), np.load(file, allow_pickle=False) as opened:
        return {name: opened[name] for name in names}


def read_sampled(files: Mapping[Path, Headers], name: str) -> Iterator[tuple[Path, np.ndarray]]:
    """One array of some of the files that have it, with their paths; torn files are skipped.

    Args:
        files: the headers of each file.
        name: the array's name. Arrays of Python objects are skipped.
    """
    for file in sample([file for file, headers in files.items() if name in headers]):
        if not files[file][name].dtype.hasobject:
            with suppress(UserError):
                yield file, read_arrays(file, [name])[name]


def action_name(files: Iterable[Headers]) -> str | None:
    """The name of the actions in most files; None if no file has actions."""
    counts = {name: sum(name in headers for headers in files) for name in ACTIONS}
    best = max(ACTIONS, key=lambda name: counts[name])
    return best if counts[best] else None


def require_episodes(files: Mapping[Path, Headers], action: str) -> None:
    """Refuse files that do not hold one episode each.

    Args:
        files: the headers of each file.
        action: the name of the actions.

    Raises:
        UnsupportedFormatError: most files hold one time step, or many episodes.
    """
    sampled = sample(list(files))
    if _are_single_steps([files[file] for file in sampled], action):
        raise UnsupportedFormatError(
            f"{sampled[0]} and its like hold one time step each, as CALVIN's do: {action} has "
            f"shape {files[sampled[0]][action].shape}, and no array has a row per step",
            "write one .npz per episode, in which each array has a row per step: actions (T, a)",
        )
    with_many: dict[Path, tuple[str, int]] = {}
    for file in sampled:
        with suppress(UserError):  # each torn file is reported later
            if marks := episode_marks_in(file, files[file]):
                with_many[file] = marks
    if 2 * len(with_many) > len(sampled):
        raise many_episodes(*max(with_many.items(), key=lambda item: item[1][1]))


def many_episodes(file: Path, marks: tuple[str, int]) -> UnsupportedFormatError:
    """The error for a file that holds several episodes.

    Args:
        file: the file.
        marks: what `episode_marks_in` returns for it.
    """
    name, count = marks
    held_out = [
        other.name for other in episode_files(file.parent) if split_of(other) not in ("", "train")
    ]
    apart = ""
    if held_out:
        apart = f", and {held_out[0]} into a folder of its own, since it is held out"
    return UnsupportedFormatError(
        f"{file} holds many episodes in one file, as OGBench's do: {name} marks {count}",
        f"split it there into one .npz per episode{apart}",
    )


def episode_marks_in(file: Path, headers: Headers) -> tuple[str, int] | None:
    """The array that divides a file into episodes.

    Args:
        file: the file.
        headers: its headers.

    Returns:
        The array's name and the number of episodes; None if the file is one episode.

    Raises:
        UserError: the file is torn.
    """
    return marked_episodes(read_arrays(file, mark_names(headers)), rows_of(headers))


def mark_names(headers: Headers) -> list[str]:
    """The arrays that may say where episodes end."""
    return [
        name for name, info in headers.items() if may_mark_episodes(name, info.shape, info.dtype)
    ]


def rows_of(headers: Headers) -> int:
    """The number of a file's actions; without actions the length of its longest array."""
    lengths = {name: info.shape[0] for name, info in headers.items() if info.shape}
    return max(
        (lengths[name] for name in ACTIONS if name in lengths),
        default=max(lengths.values(), default=0),
    )


def episode_files(folder: Path) -> list[Path]:
    """The files of a folder that end with .npz in upper or lower case, in order of their names."""
    files = (file for file in folder.iterdir() if file.suffix.lower() == ".npz" and file.is_file())
    return sorted(file for file in files if not file.name.startswith("."))  # macOS leaves such ones


def splits_note(files: Sequence[Path]) -> list[str]:
    """A note for users if the names of the files begin or end with different splits."""
    counts = Counter(map(split_of, files))
    if not counts.keys() - {"", "train"} or len(counts) < 2:
        return []
    splits = ", ".join(
        f"{name or 'without a name'} ({count})"
        for name, count in sorted(counts.items(), reverse=True)
    )
    return [
        f"by their names the files are of several splits: {splits}; they are read as one dataset; "
        "to keep one apart, make two folders"
    ]


def split_of(file: Path) -> str:
    """The split that a file is of by the last or first word of its name: "train", "val", "test" or
    "eval"; "" if none."""
    words = [word for word in snake_case(file.stem).split("_") if not word.isdigit()]
    return next((SPLITS[word] for word in (*words[-1:], *words[:1]) if word in SPLITS), "")


def _are_single_steps(files: Sequence[Headers], action: str) -> bool:
    """Whether no array of any file, except perhaps the action, has a time axis."""
    rows = {headers[action].shape[:1] for headers in files if action in headers}
    if rows == {(1,)} and len(files) > 1:
        return True
    if len(rows) > 1 or any(len(headers[action].shape) > 1 for headers in files):
        return False
    if _CALVIN & set.union(*(set(headers) for headers in files)) or rows == {()}:
        return True
    (length,) = next(iter(rows))
    for headers in files:
        for info in headers.values():
            if len(info.shape) > 1 and info.shape[0] - length in (0, 1):
                return False
    return True
