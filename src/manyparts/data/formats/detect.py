"""Which format a dataset has."""

from __future__ import annotations

from pathlib import Path

from manyparts.data.formats.errors import Complain, refuse
from manyparts.data.formats.hdf5 import open_hdf5
from manyparts.data.formats.hdf5_kinds import hdf5_advice, hdf5_kind
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.reader import LeRobotReader
from manyparts.data.formats.minari import MAIN, MinariReader, is_minari
from manyparts.data.formats.npz import NpzReader
from manyparts.data.formats.reader import Reader
from manyparts.data.formats.rlds import FEATURES, RLDSReader
from manyparts.data.formats.robomimic import RobomimicReader
from manyparts.types import UserError

KNOWN = (
    "a LeRobotDataset folder (2.0, 2.1, 3.0), a robomimic HDF5 file, a Minari dataset (HDF5, Arrow, Parquet), "
    "an RLDS folder with features.json, or a folder of .npz episodes"
)


def open_reader(path: Path, complain: Complain = refuse) -> Reader:
    """The reader of the dataset at a path. complain: is told of counts that disagree, by default an error.

    Raises UserError if there is none that can be read.
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
        return RLDSReader(path)
    if any(path.glob("*.npz")):
        return NpzReader(path)
    raise UserError(f"{path} holds no dataset that can be read: {layout.INFO} is missing; known are {KNOWN}")


def _open_file(path: Path, complain: Complain) -> Reader:
    if path.name == MAIN:
        return MinariReader(path.parent, complain)
    file = open_hdf5(path)
    if kind := hdf5_kind(file):
        raise UserError(f"{path} is {hdf5_advice(kind)}")
    if "data" not in file.names(file.group("")):
        raise UserError(f"{path} is not robomimic's: it has no group data; known are {KNOWN}")
    return RobomimicReader(path, file, complain)
