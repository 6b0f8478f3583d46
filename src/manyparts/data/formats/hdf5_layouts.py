"""Open HDF5 files by their layout: one, or all of a folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.core.printing import first_of
from manyparts.data.formats.aloha import AlohaReader
from manyparts.data.formats.errors import Complain, UnsupportedFormatError
from manyparts.data.formats.hdf5 import Hdf5File, open_several
from manyparts.data.formats.hdf5_nodes import Group
from manyparts.data.formats.libero import is_libero
from manyparts.data.formats.libero_folder import LiberoFolderReader
from manyparts.data.formats.options import ReadOptions
from manyparts.data.formats.reader import Reader
from manyparts.data.formats.robomimic import RobomimicReader
from manyparts.data.formats.row_arrays import Hdf5Rows
from manyparts.data.formats.transition_files import open_folder, open_single
from manyparts.data.formats.transitions import is_end_to_end
from manyparts.data.formats.unsupported_hdf5 import unsupported_hdf5

HDF5_NAMES = (".hdf5", ".h5", ".hdf")
_ALOHA, _D4RL, _LIBERO, _ROBOMIMIC = "ALOHA", "D4RL", "LIBERO", "robomimic"
_MAX_SHOWN = 3


def open_hdf5_layout(
    path: Path, file: Hdf5File, complain: Complain, options: ReadOptions
) -> Reader | None:
    """Open the reader of a file's layout; None if it is none that can be read.

    Raises:
        UserError: naming what is missing or torn, or the layout that is not read.
    """
    layout = _layout_of(file)
    if layout == _ALOHA:
        return AlohaReader(path, [path], complain, options)
    if layout == _D4RL:
        return open_single(path, Hdf5Rows(file), complain)
    if layout in (_LIBERO, _ROBOMIMIC):
        return RobomimicReader(path, file, complain)
    if kind := unsupported_hdf5(file):
        raise kind.error(path)
    return None


def hdf5_files(folder: Path) -> list[Path]:
    """The files of a folder with a name of HDF5's, in order of their names."""
    files = (file for file in folder.iterdir() if file.suffix.lower() in HDF5_NAMES)
    return sorted(file for file in files if file.is_file() and not file.name.startswith("."))


def open_hdf5_folder(
    path: Path, files: Collection[Path], complain: Complain, options: ReadOptions
) -> Reader:
    """Open the HDF5 files of a folder as one dataset.

    Args:
        path: the folder.
        files: its HDF5 files, one at least.
        complain: called for each file and episode that is torn, or not like most.
        options: of the readers.

    Raises:
        UserError: they are of several layouts or of one that is not read, or cannot be read.
    """
    readable, torn, by_layout = _sorted_by_layout(files)
    unknown = by_layout.pop("", [])
    if len(by_layout) > 1:
        examples = [
            f"{layout} ({first_of([file.name for file in of_layout], _MAX_SHOWN)})"
            for layout, of_layout in by_layout.items()
        ]
        raise UnsupportedFormatError(
            f"{path} is a folder with HDF5 files of several formats: {', '.join(examples)}",
            "put those of each format into a folder of their own",
        )
    if not by_layout:
        raise _why_unreadable(path, files, unknown, readable, torn)
    ((layout, of_layout),) = by_layout.items()
    others = {file.stem: f"not in the layout of {layout}" for file in unknown}
    if layout == _D4RL:
        rows = {file: Hdf5Rows(readable[file]) for file in of_layout}
        notes = [f"{name}: {why}, not read" for name, why in others.items()]
        return open_folder(path, rows | torn, complain, notes)
    if layout == _ROBOMIMIC and len(files) > 1:
        raise UnsupportedFormatError(
            f"{path} is a folder with {len(files)} HDF5 files, and robomimic's are read a file at "
            "a time",
            f"give a file such as {of_layout[0]}, or several to training's --data",
        )
    for file, why in torn.items():
        complain(why, file.stem)
    if layout == _ALOHA:
        return AlohaReader(path, of_layout, complain, options, others)
    if layout == _LIBERO:
        opened = {file: readable[file] for file in of_layout}
        return LiberoFolderReader(path, opened, complain, others)
    return RobomimicReader(of_layout[0], readable[of_layout[0]], complain)


def _sorted_by_layout(
    files: Collection[Path],
) -> tuple[dict[Path, Hdf5File], dict[Path, str], dict[str, list[Path]]]:
    """The opened files, why the others are torn, and the files of each layout; "": unknown."""
    readable: dict[Path, Hdf5File] = {}
    torn: dict[Path, str] = {}
    by_layout: dict[str, list[Path]] = {}
    for file, opened in open_several(list(files)).items():
        if isinstance(opened, str):
            torn[file] = opened
            continue
        try:
            with opened:  # it is opened again when it is read
                by_layout.setdefault(_layout_of(opened), []).append(file)
            readable[file] = opened
        except UserError as error:
            torn[file] = str(error)
    return readable, torn, by_layout


def _why_unreadable(
    path: Path,
    files: Collection[Path],
    unknown: Collection[Path],
    readable: Mapping[Path, Hdf5File],
    torn: Mapping[Path, str],
) -> UserError:
    """The error for a folder without any file that can be read."""
    if not unknown:
        return UserError(next(iter(torn.values())))
    count = "one HDF5 file" if len(files) == 1 else f"{len(files)} HDF5 files"
    first = next(iter(unknown))
    if kind := unsupported_hdf5(readable[first]):
        what = f"{path} is a folder with {count}; {first.name} is {kind.what}"
        return UnsupportedFormatError(what, kind.remedy)
    return UnsupportedFormatError(
        f"{path} is a folder with {count} in no layout that can be read",
        f"try one of them for the reason: manyparts data info {first}",
    )


def _layout_of(file: Hdf5File) -> str:
    """The layout of a file that can be read; "" for others. Raises UserError for a torn file."""
    names = set(file.names(file.group("")))
    if "data" in names:
        return _LIBERO if is_libero(file) else _ROBOMIMIC
    observations = file.find("observations") if "observations" in names else None
    if "action" in names and isinstance(observations, Group):
        return _ALOHA if {"qpos", "images"} & set(file.names(observations)) else ""
    return _D4RL if is_end_to_end(names) else ""
