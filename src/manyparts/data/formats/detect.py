"""Detect the format of a dataset, and explain why something else cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.data.formats.bags.files import find_bags
from manyparts.data.formats.bags.survey import refusal
from manyparts.data.formats.errors import Complain, UnsupportedFormatError, refuse
from manyparts.data.formats.hdf5 import open_hdf5
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.reader import LeRobotReader
from manyparts.data.formats.minari import MAIN, MinariReader, is_minari
from manyparts.data.formats.minari_storage import METADATA
from manyparts.data.formats.npz import NpzReader
from manyparts.data.formats.npz_files import episode_files
from manyparts.data.formats.reader import Reader
from manyparts.data.formats.rlds import FEATURES, RLDSReader
from manyparts.data.formats.robomimic import RobomimicReader
from manyparts.data.formats.unsupported_formats import (
    HDF5_NAMES,
    datasets_below,
    is_hdf5,
    unsupported_file,
    unsupported_folder,
)
from manyparts.data.formats.unsupported_hdf5 import unsupported_hdf5
from manyparts.data.formats.zarr.replay_buffer import ReplayBufferReader, find_store

SUPPORTED = (
    "a LeRobotDataset folder (2.0, 2.1, 3.0), a robomimic HDF5 file, "
    "a Minari dataset (HDF5, Arrow, Parquet), an RLDS folder with features.json, "
    "a replay buffer in zarr (Diffusion Policy, UMI), "
    "or a folder of .npz episodes"
)
REPLAY = "replay.json"  # describes the replay of a run that acts
_MARKERS = (layout.INFO, FEATURES, f"data/{METADATA}", f"data/{MAIN}")


def open_reader(path: Path, complain: Complain = refuse) -> Reader:
    """Open the reader of the dataset at a path.

    Args:
        path: a file or folder.
        complain: called for counts that disagree and for episodes that cannot be read; by default
            it raises.

    Raises:
        UserError: if there is no dataset that can be read.
        UnsupportedFormatError: for data that are recognised and not read.
    """
    if not path.exists():
        raise UserError(f"no dataset at {path}")
    if path.is_file():
        return _open_file(path, complain)
    if (path / layout.INFO).exists():
        return LeRobotReader(path, complain)
    if is_minari(path):
        return MinariReader(path, complain)
    if (path / FEATURES).exists():
        return RLDSReader(path, complain)
    if episode_files(path):
        return NpzReader(path, complain)
    if store := find_store(path):
        return ReplayBufferReader(path, store, complain)
    raise _refusal(path)


def _open_file(path: Path, complain: Complain) -> Reader:
    if path.name == MAIN:
        return MinariReader(path.parent, complain)
    if not is_hdf5(path) and (store := find_store(path)):
        return ReplayBufferReader(path, store, complain)
    if bags := find_bags(path):
        raise refusal(path, bags)
    if not is_hdf5(path) and (kind := unsupported_file(path)):
        raise kind.error(path)
    if not is_hdf5(path) and path.suffix.lower() not in HDF5_NAMES:
        raise UnsupportedFormatError(f"{path} is no known dataset", f"can be read: {SUPPORTED}")
    file = open_hdf5(path)
    if kind := unsupported_hdf5(file):
        raise kind.error(path)
    if "data" not in (names := file.names(file.group(""))):
        raise UnsupportedFormatError(
            f"{path} is no robomimic file: it has no group data, but "
            f"{', '.join(names[:5]) or 'nothing'}",
            _how_to_move_demos(names) or f"can be read: {SUPPORTED}",
        )
    return RobomimicReader(path, file, complain)


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
