"""Kinds of files and folders that are recognised and not read: what they are, and what to do
instead."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import UnsupportedFormat
from manyparts.data.formats.hdf5 import open_hdf5
from manyparts.data.formats.npz_files import ends_inside, episode_files, many_episodes, read_headers
from manyparts.data.formats.unsupported_hdf5 import unsupported_hdf5

HDF5_NAMES = (".hdf5", ".h5", ".hdf")
_CONVERT = "convert it to a LeRobotDataset first"
_BEGIN_BYTES = 512
_LISTED, _BAGS = 10_000, 100  # no more names are looked at


_ZARR = UnsupportedFormat(
    "a zarr store, such as a replay buffer of Diffusion Policy or UMI, which is not read yet",
    _CONVERT,
)
_BAG = UnsupportedFormat(
    "a ROS recording, which is not read yet",
    "convert it to a LeRobotDataset, with one row per time step made of its topics",
)
_LANCE = UnsupportedFormat(
    "a dataset in Lance storage, which is not read yet",
    "write it again with LeRobot's parquet storage",
)
_ARCHIVE = UnsupportedFormat("an archive", "unpack it and give the folder")
_PICKLE = UnsupportedFormat(
    "a pickle, which is never read since it may run code",
    "write its arrays as .npz, one file per episode",
)
_ONE_NPZ = UnsupportedFormat("a single .npz", "give the folder, in which each .npz is one episode")
_PARTS = "a file of a dataset"

_BEGINNINGS = (
    (b"\x89MCAP0\r\n", _BAG),
    (b"#ROSBAG", _BAG),
    (b"SQLite format 3\0", UnsupportedFormat("a database, such as a ROS 2 bag's .db3, which is not read yet", _BAG.remedy)),
    (b"PAR1", UnsupportedFormat(f"{_PARTS} in parquet", "give the dataset's folder")),
    (b"ARROW1", UnsupportedFormat(f"{_PARTS} in Arrow", "give the dataset's folder")),
    (b"\x93NUMPY", UnsupportedFormat("a single array", "write one .npz per episode, and give their folder")),
    (b"\x1f\x8b", UnsupportedFormat("compressed with gzip", "decompress it, and unpack it if it is an archive")),
    (b"BZh", UnsupportedFormat("compressed with bzip2", "decompress it, and unpack it if it is an archive")),
    (b"\xfd7zXZ\0", UnsupportedFormat("compressed with xz", "decompress it, and unpack it if it is an archive")),
    (b"\x28\xb5\x2f\xfd", UnsupportedFormat("compressed with zstd", "decompress it, and unpack it if it is an archive")),
    (b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (b"Rar!", _ARCHIVE),
    *((b"\x80" + bytes([version]), _PICKLE) for version in range(2, 6)),
    (b"version https://git-lfs", UnsupportedFormat("a pointer of Git LFS, not the file itself", "fetch the file: git lfs pull")),
    (b"<!DOCTYPE html", UnsupportedFormat("a web page, not the file itself", "download the file itself")),
)  # fmt: skip

_VIDEOS, _TEXTS = (".mp4", ".avi", ".mov", ".mkv", ".webm"), (".json", ".jsonl", ".yaml", ".yml")
_SIGNATURE, _BLOCKS = b"\x89HDF\r\n\x1a\n", (0, 512, 1024, 2048, 4096)


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 does, after a block of the user's or none."""
    with path.open("rb") as file:
        begin = file.read(_BLOCKS[-1] + len(_SIGNATURE))
    return any(begin[block : block + len(_SIGNATURE)] == _SIGNATURE for block in _BLOCKS)


def unsupported_file(path: Path) -> UnsupportedFormat | None:
    """What a file is that no reader takes, by its first bytes. Raises UserError for an empty
    one."""
    with path.open("rb") as file:
        begin = file.read(_BEGIN_BYTES)
    if not begin:
        raise UserError(f"{path} is empty")
    if begin.startswith(b"PK"):
        return _foreign_zip(path)
    if begin[257:262] == b"ustar":
        return _ARCHIVE
    for magic, kind in _BEGINNINGS:
        if begin.startswith(magic):
            return kind
    if ".tfrecord" in path.name:
        return UnsupportedFormat(
            "one file of an RLDS dataset", "give its folder, in which features.json lies"
        )
    if path.suffix.lower() in _VIDEOS:
        return UnsupportedFormat("a video", "give the folder of the dataset that it belongs to")
    if path.suffix.lower() in _TEXTS:
        return UnsupportedFormat(
            "a file of text", "give the folder of the dataset that it describes"
        )
    return None


def unsupported_folder(path: Path) -> UnsupportedFormat | None:
    """What a folder is that no reader takes, by the names in it."""
    children = list(islice(path.iterdir(), _LISTED))
    names = {child.name for child in children if not child.name.startswith("._")}
    if names & {".zgroup", ".zarray", "zarr.json"}:
        return _ZARR
    for ending, kind in ((".zarr", _ZARR), (".zarr.zip", _ZARR), (".lance", _LANCE)):
        if matches := _ending(names, (ending,)):
            return UnsupportedFormat(f"a folder with {matches[0]}: {kind.what}", kind.remedy)
    if _is_bag(names):
        return _BAG
    if bags := [
        folder
        for folder in _folders_in(path)
        if _is_bag(child.name for child in islice(folder.iterdir(), _LISTED))
    ]:
        return UnsupportedFormat(f"a folder of {len(bags)} bags, {_BAG.what}", _BAG.remedy)
    if "meta_data" in names and (path / "meta_data" / "info.json").is_file():
        return UnsupportedFormat(
            "a LeRobotDataset older than 2.0 (meta_data/info.json), which is not read",
            "convert it to 2.0 with LeRobot's convert_dataset_v1_to_v2.py",
        )
    if matches := _ending(names, HDF5_NAMES):
        return _folder_of_hdf5(path, matches)
    if matches := [name for name in sorted(names) if ".tfrecord" in name]:
        return UnsupportedFormat(
            f"a folder of TFRecord files ({matches[0]}) without features.json",
            "give the folder of an RLDS dataset's version, as TensorFlow Datasets writes it, with features.json",
        )
    if matches := _ending(names, (".pkl", ".pickle", ".pt", ".pth")):
        return UnsupportedFormat(
            f"a folder of pickles ({matches[0]}), which are never read since they may run code",
            _PICKLE.remedy,
        )
    if matches := _ending(names, (".tar", ".tgz", ".tar.gz", ".zip", ".7z", ".rar")):
        return UnsupportedFormat(
            f"a folder of archives ({matches[0]})", "unpack them and give the folder"
        )
    if {"state.json", "dataset_info.json"} <= names or _ending(names, (".parquet", ".arrow")):
        return UnsupportedFormat(
            "a folder of tables without meta/info.json",
            "give the folder of a LeRobotDataset, in which meta lies",
        )
    return None


def datasets_below(path: Path, marks: Sequence[str]) -> list[Path]:
    """Folders one or two levels below in which one of the marks lies, a path such as
    "meta/info.json", or else .npz episodes."""
    above = _folders_in(path)
    levels = [above, [child for folder in above for child in _folders_in(folder)][:_LISTED]]
    for level in levels:
        if matches := [
            folder for folder in level if any((folder / mark).is_file() for mark in marks)
        ]:
            return matches
    return next(
        filter(None, ([folder for folder in level if episode_files(folder)] for level in levels)),
        [],
    )


def _foreign_zip(path: Path) -> UnsupportedFormat | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is a torn archive: {error}") from error
    if any(name.rsplit("/", 1)[-1] in (".zgroup", ".zarray", "zarr.json") for name in names):
        return UnsupportedFormat(
            f"{_ZARR.what.replace('a zarr store', 'a zarr store in a zip', 1)}", _ZARR.remedy
        )
    if names and all(name.endswith(".npy") for name in names):
        if ends := ends_inside(path, read_headers(path)):
            raise many_episodes(path, ends)
        return _ONE_NPZ
    if any(name.endswith("/data.pkl") for name in names):
        return UnsupportedFormat(
            "a file of PyTorch's, a pickle, which is never read since it may run code",
            _PICKLE.remedy,
        )
    return _ARCHIVE


def _folder_of_hdf5(path: Path, names: Sequence[str]) -> UnsupportedFormat:
    file, count = (
        path / names[0],
        "one HDF5 file" if len(names) == 1 else f"{len(names)} HDF5 files",
    )
    if is_hdf5(file) and (kind := unsupported_hdf5(open_hdf5(file))):
        return UnsupportedFormat(f"a folder with {count}; {file.name} is {kind.what}", kind.remedy)
    several = "" if len(names) == 1 else ", or several to training's --data"
    return UnsupportedFormat(
        f"a folder with {count}, and HDF5 is read a file at a time",
        f"give a file such as {file}{several}",
    )


def _is_bag(names: Iterable[str]) -> bool:
    return bool(_ending(names, (".mcap", ".bag", ".db3")))


def _folders_in(path: Path) -> list[Path]:
    try:
        return sorted(child for child in islice(path.iterdir(), _LISTED) if child.is_dir())
    except OSError:
        return []


def _ending(names: Iterable[str], endings: tuple[str, ...]) -> list[str]:
    return sorted(name for name in names if name.lower().endswith(endings))
