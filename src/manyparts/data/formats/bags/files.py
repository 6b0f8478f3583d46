"""Find the bags of a ROS recording, and open them with rosbags, which needs no ROS."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.extras import PackageError, in_a_line, install_command, load_package
from manyparts.core.printing import printable
from manyparts.data.formats.files import files_below

_METADATA = "metadata.yaml"
_ENDINGS = (".mcap", ".db3", ".bag")
_SIGNATURES = (b"\x89MCAP0\r\n", b"#ROSBAG")
_DATABASE = b"SQLite format 3\0"  # of ROS only where the name says so
_ADVICE = {
    "Profile is not ros2": "; of MCAP files, only those of ROS 2 are read",
    "KeyError: 'protobuf'": "; messages in protobuf are not read, only ROS's own",
    "KeyError: 'json": "; messages in JSON are not read, only ROS's own",
    "end magic is invalid": "; its end is missing, as after a crash: `mcap recover` repairs it",
    "Unindexed MCAP messages": "; `mcap recover` writes an index",
}
_MAX_LISTED = 10_000  # names of a folder that are looked at


def find_bags(path: Path) -> list[Path]:
    """The bags at a path, one per episode: the file or folder itself, or those in a folder, in the
    order of the numbers in their names. Empty if there are none."""
    if path.is_file():
        with path.open("rb") as file:
            begin = file.read(16)
        is_database = path.suffix == ".db3" and begin.startswith(_DATABASE)
        return [path] if is_database or begin.startswith(_SIGNATURES) else []
    if _is_bag_folder(path):
        return [path]
    children = [child for child in islice(path.iterdir(), _MAX_LISTED) if child.name[0] != "."]
    _require_whole_bags([child for child in children if child.is_dir()])
    bags = [
        child
        for child in children
        if (child.is_file() and child.suffix in _ENDINGS)
        or (child.is_dir() and _is_bag_folder(child))
    ]
    if not bags:  # folders of files that nothing describes
        folders = sorted(child for child in children if child.is_dir())
        for folder in folders:
            bags += [
                file for file in islice(folder.iterdir(), _MAX_LISTED) if file.suffix in _ENDINGS
            ]
    return sorted(bags, key=_natural)


def _require_whole_bags(folders: Sequence[Path]) -> None:
    """Raise UserError if some folders are bags with a description, and others lack a half."""
    described = {folder for folder in folders if (folder / _METADATA).is_file()}
    recorded = {folder for folder in folders if _has_recording(folder)}
    if not described & recorded:
        return
    for folder in sorted(recorded - described):
        raise UserError(
            f"{folder} has a recording and no {_METADATA}, as after a crash of the recorder: "
            f"`ros2 bag reindex {folder}` writes it, or move the folder away"
        )
    for folder in sorted(described - recorded):
        raise UserError(f"{folder} has {_METADATA} and no recording; move the folder away")


def bag_files(bag: Path) -> list[Path]:
    """All files of a bag."""
    return list(files_below(bag)) if bag.is_dir() else [bag]


def require_rosbags() -> None:
    """Raise PackageError without rosbags."""
    load_package("rosbags.highlevel", "a ROS recording", install_command("bags"))


@contextmanager
def opened_bag(bag: Path) -> Iterator[Any]:
    """Open a bag as rosbags' `AnyReader`; whatever goes wrong inside becomes a UserError.

    Raises:
        UserError: naming the bag that is torn, or of a kind that rosbags does not read.
    """
    require_rosbags()
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    try:
        with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
            yield reader
    except PackageError:
        raise
    except UserError as error:
        raise UserError(printable(error)) from error  # topics and joints may be called anything
    except Exception as error:  # of torn files, rosbags raises anything
        why = in_a_line(error)[:300]
        advice = next((text for words, text in _ADVICE.items() if words in why), "")
        raise UserError(f"{bag} cannot be read as a ROS recording: {why}{advice}") from error


def _is_bag_folder(path: Path) -> bool:
    return (path / _METADATA).is_file() and _has_recording(path)


def _has_recording(path: Path) -> bool:
    return any(
        child.name.endswith(_ENDINGS) or ".db3" in child.suffixes or ".mcap" in child.suffixes
        for child in islice(path.iterdir(), _MAX_LISTED)
    )


def _natural(path: Path) -> list[tuple[int, str]]:
    """A key that sorts bag_10 after bag_9."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]
