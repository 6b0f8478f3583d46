"""Files and folders that are recognised and not read: what they are, and what to do instead."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import UnsupportedFormat
from manyparts.data.formats.hdf5_layouts import hdf5_files
from manyparts.data.formats.npz_files import (
    episode_files,
    episode_marks_in,
    many_episodes,
    read_headers,
)

_DECOMPRESS = "decompress it, and unpack it if it is an archive"
_BEGIN_BYTES = 512
_MAX_LISTED = 10_000  # names of a folder that are looked at


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

_LFS_POINTER = UnsupportedFormat(
    "a pointer of Git LFS, not the file itself", "fetch the file: git lfs pull"
)
# By the first bytes of a file.
_SIGNATURES = (
    (b"PAR1", UnsupportedFormat(f"{_PARTS} in parquet", "give the dataset's folder")),
    (b"ARROW1", UnsupportedFormat(f"{_PARTS} in Arrow", "give the dataset's folder")),
    (
        b"\x93NUMPY",
        UnsupportedFormat("a single array", "write one .npz per episode, and give their folder"),
    ),
    (b"\x1f\x8b", UnsupportedFormat("compressed with gzip", _DECOMPRESS)),
    (b"BZh", UnsupportedFormat("compressed with bzip2", _DECOMPRESS)),
    (b"\xfd7zXZ\0", UnsupportedFormat("compressed with xz", _DECOMPRESS)),
    (b"\x28\xb5\x2f\xfd", UnsupportedFormat("compressed with zstd", _DECOMPRESS)),
    (b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (b"Rar!", _ARCHIVE),
    *((b"\x80" + bytes([version]), _PICKLE) for version in range(2, 6)),
    (b"version https://git-lfs", _LFS_POINTER),
    (
        b"<!DOCTYPE html",
        UnsupportedFormat("a web page, not the file itself", "download the file itself"),
    ),
)

_VIDEOS, _TEXTS = (".mp4", ".avi", ".mov", ".mkv", ".webm"), (".json", ".jsonl", ".yaml", ".yml")
# HDF5 allows a block of the user's before its signature, of one of these sizes in bytes.
_HDF5_SIGNATURE, _USER_BLOCKS = b"\x89HDF\r\n\x1a\n", (0, 512, 1024, 2048, 4096)


def is_hdf5(path: Path) -> bool:
    """Whether a file has HDF5's signature."""
    size = len(_HDF5_SIGNATURE)
    with path.open("rb") as file:
        begin = file.read(_USER_BLOCKS[-1] + size)
    return any(begin[block : block + size] == _HDF5_SIGNATURE for block in _USER_BLOCKS)


def unsupported_file(path: Path) -> UnsupportedFormat | None:
    """The kind of a file that no reader takes, by its first bytes and its name; None if unknown.

    Raises:
        UserError: for an empty file.
    """
    with path.open("rb") as file:
        begin = file.read(_BEGIN_BYTES)
    if not begin:
        raise UserError(f"{path} is empty")
    if begin.startswith(b"PK"):
        return _unsupported_zip(path)
    if begin[257:262] == b"ustar":
        return _ARCHIVE
    for signature, kind in _SIGNATURES:
        if begin.startswith(signature):
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
    """The kind of a folder that no reader takes, by the names in it; None if unknown."""
    children = list(islice(path.iterdir(), _MAX_LISTED))
    names = {child.name for child in children if not child.name.startswith("._")}
    if matches := _ending(names, (".lance",)):
        return UnsupportedFormat(f"a folder with {matches[0]}: {_LANCE.what}", _LANCE.remedy)
    return _nearly_supported_folder(path, names) or _folder_of_files(names)


def _nearly_supported_folder(path: Path, names: set[str]) -> UnsupportedFormat | None:
    """A folder that is close to a supported format."""
    if "meta_data" in names and (path / "meta_data" / "info.json").is_file():
        return UnsupportedFormat(
            "a LeRobotDataset older than 2.0 (meta_data/info.json), which is not read",
            "convert it to 2.0 with LeRobot's convert_dataset_v1_to_v2.py",
        )
    if matches := [name for name in sorted(names) if ".tfrecord" in name]:
        return UnsupportedFormat(
            f"a folder of TFRecord files ({matches[0]}) without features.json",
            "give the folder of an RLDS dataset's version, as TensorFlow Datasets writes it, "
            "with features.json",
        )
    return None


def _folder_of_files(names: set[str]) -> UnsupportedFormat | None:
    """A folder of pickles, archives or tables."""
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


def datasets_below(path: Path, markers: Sequence[str]) -> list[Path]:
    """Folders one or two levels below that are datasets.

    Args:
        path: a folder.
        markers: paths in a dataset by which it is recognised, such as "meta/info.json". If no
            folder has any of them, folders of .npz or HDF5 files are returned.
    """
    children = _folders_in(path)
    grandchildren: list[Path] = []
    for folder in children:
        grandchildren += _folders_in(folder)
    levels = [children, grandchildren[:_MAX_LISTED]]
    for level in levels:
        matches = [
            folder for folder in level if any((folder / marker).is_file() for marker in markers)
        ]
        if matches:
            return matches
    for level in levels:
        if matches := [folder for folder in level if _has_files(folder)]:
            return matches
    return []


def _unsupported_zip(path: Path) -> UnsupportedFormat | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is a torn archive: {error}") from error
    if names and all(name.endswith(".npy") for name in names):
        if ends := episode_marks_in(path, read_headers(path)):
            raise many_episodes(path, ends)
        return _ONE_NPZ
    if any(name.endswith("/data.pkl") for name in names):
        return UnsupportedFormat(
            "a file of PyTorch's, a pickle, which is never read since it may run code",
            _PICKLE.remedy,
        )
    return _ARCHIVE


def _folders_in(path: Path) -> list[Path]:
    try:
        return sorted(child for child in islice(path.iterdir(), _MAX_LISTED) if child.is_dir())
    except OSError:
        return []


def _has_files(folder: Path) -> bool:
    return bool(episode_files(folder) or hdf5_files(folder))


def _ending(names: Iterable[str], endings: tuple[str, ...]) -> list[str]:
    return sorted(name for name in names if name.lower().endswith(endings))
