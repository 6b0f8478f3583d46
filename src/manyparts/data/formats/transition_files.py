"""Open files with episodes end to end, and tell training files of a folder from those held out."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.core.printing import first_of
from manyparts.data.formats.episode_marks import marked_episodes
from manyparts.data.formats.errors import Complain, UnsupportedFormatError
from manyparts.data.formats.npz_files import SPLITS, episode_files, sample, split_of
from manyparts.data.formats.numbering import natural_key
from manyparts.data.formats.row_arrays import NpzRows, RowArrays
from manyparts.data.formats.transitions import ENDS, TransitionsReader, is_end_to_end

_MAX_SHOWN = 5
_WORDS = "|".join(SPLITS)
_SPLIT = re.compile(rf"^({_WORDS})[-_]|[-_]({_WORDS})(?=([-_][0-9]+)*$)", re.IGNORECASE)
_NUMBER = re.compile(r"([-_][0-9]+)+$")


@dataclass(frozen=True)
class _Choice:
    """The files of a folder that are read as one dataset."""

    files: Sequence[Path]
    """In order."""
    name: str
    """The dataset's name."""
    notes: Sequence[str]
    """What a user has to know, one line each."""


def open_npz_file(path: Path, complain: Complain) -> TransitionsReader | None:
    """Open a single `.npz` file; None if it holds no episodes end to end, or no arrays at all, or
    is one episode of a folder.

    Raises:
        UserError: it does, and cannot be read.
    """
    if not zipfile.is_zipfile(path):
        return None
    file, all_files = NpzRows(path), episode_files(path.parent)
    if not is_end_to_end(file.infos):
        return None
    if len(all_files) > 1 and not _has_several(file) and not _hold_many(all_files):
        return None
    return open_single(path, file, complain)


def open_single(path: Path, file: RowArrays, complain: Complain) -> TransitionsReader:
    """Open one file with episodes end to end. Raises UserError if it cannot be read."""
    choice = _choose(path, [path])
    return TransitionsReader(path, [file], choice.name, complain, choice.notes)


def open_npz_folder(path: Path, complain: Complain) -> TransitionsReader | None:
    """Open a folder with `.npz` files of many episodes each; None if it holds other ones.

    Raises:
        UserError: it does, and holds several datasets, or cannot be read.
    """
    files = episode_files(path)
    if not _hold_many(files):
        return None
    opened: dict[Path, RowArrays | str] = {}
    others: list[str] = []
    for file in files:
        try:
            rows = NpzRows(file)
        except UserError as error:
            opened[file] = str(error)
            continue
        if is_end_to_end(rows.infos):
            opened[file] = rows
        else:
            others.append(file.name)
    notes = [f"{first_of(others, _MAX_SHOWN)}: no episodes, not read"] if others else []
    return open_folder(path, opened, complain, notes)


def open_folder(
    path: Path,
    opened: Mapping[Path, RowArrays | str],
    complain: Complain,
    notes: Sequence[str] = (),
) -> TransitionsReader:
    """Open those files of a folder that are one dataset.

    Args:
        path: the folder.
        opened: its files with episodes end to end, and why those cannot be read that are torn.
        complain: see `TransitionsReader`.
        notes: see `TransitionsReader`.

    Raises:
        UserError: they are several datasets, or cannot be read.
    """
    choice = _choose(path, list(opened))
    readable: list[RowArrays] = []
    for file in choice.files:
        rows = opened[file]
        if not isinstance(rows, str):
            readable.append(rows)
        elif len(choice.files) == 1:
            raise UserError(rows)
        else:
            complain(rows, file.stem)
    return TransitionsReader(path, readable, choice.name, complain, [*notes, *choice.notes])


def _hold_many(files: Sequence[Path]) -> bool:
    """Whether files hold episodes end to end: some hold several, or the others are held out from
    one. Files of one episode each may have marks of ends, too."""
    training = [file for file in files if not _is_held_out(file)]
    are_parts = len(training) == 1 < len(files) and len(set(map(_group_of, files))) == 1
    for file in sample(files):
        with suppress(UserError):  # each torn file is reported later
            rows = NpzRows(file)
            if is_end_to_end(rows.infos) and (are_parts or _has_several(rows)):
                return True
    return False


def _has_several(file: NpzRows) -> bool:
    infos = file.infos
    rows = infos["actions"].shape[0] if infos["actions"].shape else 0
    marks = {
        name: file.read(name, 0, rows)
        for name in ENDS
        if name in infos and infos[name].shape[:1] == (rows,)
    }
    return marked_episodes(marks, rows) is not None


def _choose(path: Path, files: Sequence[Path]) -> _Choice:
    """The files for training, or those held out where there are no others.

    Raises:
        UnsupportedFormatError: the files are of several datasets, by their names.
    """
    ordered = sorted(files, key=lambda file: natural_key(file.name))
    training = [file for file in ordered if not _is_held_out(file)]
    held_out = [file for file in ordered if _is_held_out(file)]
    chosen, splits = training or held_out, set(map(split_of, held_out))
    if len(set(map(_group_of, ordered))) > 1 or (not training and len(splits) > 1):
        first_files: dict[tuple[str, str], str] = {}
        for file in ordered:
            first_files.setdefault((_group_of(file), split_of(file)), file.name)
        parts = list(first_files.values())
        raise UnsupportedFormatError(
            f"{path} holds {len(parts)} datasets, by the names of their files: "
            f"{first_of(parts, _MAX_SHOWN)}",
            f"give one of them, such as {path / parts[0]}",
        )
    name = _name_of(chosen[0]) if len(chosen) == 1 else _group_of(chosen[0])
    if not held_out:
        return _Choice(chosen, name, ())
    listed = first_of([file.name for file in held_out], _MAX_SHOWN)
    note = f"{listed} {'is' if len(held_out) == 1 else 'are'} held out, by the name"
    if training:
        note += ", and not read with the rest: open it by its own path"
    return _Choice(chosen, name, (note,))


def _is_held_out(file: Path) -> bool:
    return split_of(file) not in ("", "train")


def _name_of(file: Path) -> str:
    """The name of a file's dataset, of which "val" in the file's name makes no other one."""
    return _SPLIT.sub("", file.stem) if split_of(file) else file.stem


def _group_of(file: Path) -> str:
    """Equal for the parts of one dataset: "cube-v0-001", "cube-v0-002" and "cube-v0-001-val"."""
    return _NUMBER.sub("", _name_of(file))
