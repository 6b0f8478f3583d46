"""Detect the format of a dataset, and explain why something else cannot be read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.core.printing import first_of
from manyparts.data.formats.bags.files import find_bags
from manyparts.data.formats.bags.survey import refusal
from manyparts.data.formats.errors import Complain, UnsupportedFormatError, refuse
from manyparts.data.formats.hdf5 import open_hdf5
from manyparts.data.formats.hdf5_layouts import (
    HDF5_NAMES,
    hdf5_files,
    open_hdf5_folder,
    open_hdf5_layout,
)
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.reader import LeRobotReader
from manyparts.data.formats.minari import MAIN, MinariReader, is_minari
from manyparts.data.formats.minari_storage import METADATA
from manyparts.data.formats.npz import NpzReader
from manyparts.data.formats.npz_files import episode_files
from manyparts.data.formats.options import ReadOptions
from manyparts.data.formats.reader import Reader
from manyparts.data.formats.rlds import FEATURES, RLDSReader
from manyparts.data.formats.transition_files import open_npz_file, open_npz_folder
from manyparts.data.formats.unsupported_formats import (
    datasets_below,
    is_hdf5,
    unsupported_file,
    unsupported_folder,
)
from manyparts.data.formats.zarr.replay_buffer import ReplayBufferReader, find_store

SUPPORTED = (
    "a LeRobotDataset folder (2.0, 2.1, 3.0), HDF5 of robomimic, LIBERO, ALOHA or D4RL, "
    "a Minari dataset (HDF5, Arrow, Parquet), an RLDS folder with features.json, "
    "a replay buffer in zarr (Diffusion Policy, UMI), "
    "a folder of .npz episodes, or OGBench's .npz"
)
REPLAY = "replay.json"  # describes the replay of a run that acts
_MAX_LISTED, _MAX_SHOWN = 10_000, 5  # names of a folder that are looked at, and shown
_MARKERS = (layout.INFO, FEATURES, f"data/{METADATA}", f"data/{MAIN}")


def open_reader(
    path: Path, complain: Complain = refuse, options: ReadOptions | None = None
) -> Reader:
    """Open the reader of the dataset at a path.

    Args:
        path: a file or folder.
        complain: called for counts that disagree and for episodes that cannot be read; by default
            it raises.
        options: what the user says that the files do not; None: nothing.

    Raises:
        UserError: if there is no dataset that can be read, or it does not take the options.
        UnsupportedFormatError: for data that are recognised and not read.
    """
    if not path.exists():
        raise UserError(f"no dataset at {path}")
    options = options or ReadOptions()
    reader = _open(path, complain, options)
    if str(options) != reader.contents.options:
        raise UserError(
            f"{path} is {reader.contents.format}, and only encoded images of ALOHA take an option; "
            f"leave {options} out"
        )
    return reader


def _open(path: Path, complain: Complain, options: ReadOptions) -> Reader:
    if path.is_file():
        return _open_file(path, complain, options)
    if not path.is_dir():
        raise UserError(f"{path} is neither a file nor a folder")
    if (path / layout.INFO).exists():
        return LeRobotReader(path, complain)
    if is_minari(path):
        return MinariReader(path, complain)
    if (path / FEATURES).exists():
        return RLDSReader(path, complain)
    with_npz, with_hdf5 = episode_files(path), hdf5_files(path)
    if with_npz and with_hdf5:
        raise UnsupportedFormatError(
            f"{path} holds files of several formats, such as {with_npz[0].name} and "
            f"{with_hdf5[0].name}",
            "put those of each format into a folder of their own",
        )
    if with_npz:
        reader = open_npz_folder(path, complain) or NpzReader(path, complain)
        return _naming_subfolders(reader, path, episode_files)
    if with_hdf5:
        reader = open_hdf5_folder(path, with_hdf5, complain, options)
        return _naming_subfolders(reader, path, hdf5_files)
    if store := find_store(path):
        return ReplayBufferReader(path, store, complain)
    raise _refusal(path)


def _naming_subfolders(
    reader: Reader, path: Path, files_of: Callable[[Path], list[Path]]
) -> Reader:
    """A reader with a note on subfolders that hold files of the same kind, which it does not
    read."""
    below = []
    for child in sorted(islice(path.iterdir(), _MAX_LISTED)):
        with contextlib.suppress(PermissionError):  # of a folder that is not the user's
            if child.is_dir() and child.name[0] != "." and files_of(child):
                below.append(child.name)
    if below:
        note = f"{first_of(below, _MAX_SHOWN)}: subfolders with further files, not read"
        reader.contents = replace(reader.contents, notes=(*reader.contents.notes, note))
    return reader


def _open_file(path: Path, complain: Complain, options: ReadOptions) -> Reader:
    if path.name == MAIN:
        return MinariReader(path.parent, complain)
    if path.suffix.lower() == ".npz" and (reader := open_npz_file(path, complain)):
        return reader
    if not is_hdf5(path) and (store := find_store(path)):
        return ReplayBufferReader(path, store, complain)
    if bags := find_bags(path):
        raise refusal(path, bags)
    if not is_hdf5(path) and (kind := unsupported_file(path)):
        raise kind.error(path)
    if not is_hdf5(path) and path.suffix.lower() not in HDF5_NAMES:
        raise UnsupportedFormatError(f"{path} is no known dataset", f"can be read: {SUPPORTED}")
    file = open_hdf5(path)
    if reader := open_hdf5_layout(path, file, complain, options):
        return reader
    names = file.names(file.group(""))
    raise UnsupportedFormatError(
        f"{path} is in no layout that can be read: it has no group data, but "
        f"{', '.join(names[:5]) or 'nothing'}",
        _how_to_move_demos(names) or f"can be read: {SUPPORTED}",
    )


def _how_to_move_demos(names: Sequence[str]) -> str:
    """How to mend a file with demonstrations outside robomimic's group data."""
    demo = next((name for name in names if name.startswith("demo_")), "")
    if not demo:
        return ""
    move = f"file.move('{demo}', 'data/{demo}')"
    return f"put all of them into a group data with h5py, such as {move}"


def _refusal(path: Path) -> UnsupportedFormatError:
    """The error for a folder that is no dataset."""
    if (path / REPLAY).is_file():
        return UnsupportedFormatError(
            f"{path} is a run's replay, not a dataset",
            f"make one of it: manyparts data export {path} DATASET",
        )
    if below := datasets_below(path, _MARKERS):
        others = f", or another of the {len(below)} there" if len(below) > 1 else ""
        is_version = below[0].parent == path and (below[0] / FEATURES).is_file()
        kind = "the folder of an RLDS dataset's versions" if is_version else "a folder of datasets"
        return UnsupportedFormatError(
            f"{path} is {kind}, not a dataset itself", f"give {below[0]}{others}"
        )
    if bags := find_bags(path):
        return refusal(path, bags)
    if kind := unsupported_folder(path):
        return kind.error(path)
    return UnsupportedFormatError(
        f"{path} holds no dataset that can be read: {layout.INFO} is missing",
        f"can be read: {SUPPORTED}",
    )
