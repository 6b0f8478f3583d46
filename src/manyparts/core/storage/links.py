"""A name that stands for a file or folder next to it: a link, or where the file system knows none a
text file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_LONGEST_NAME = 255


def point_at(pointer: Path, name: str) -> None:
    """Let `pointer` stand for its sibling `name`, in one step; whatever file or link it was is
    replaced.

    exFAT, some network shares and some FUSE file systems refuse links: there `pointer` is a file
    that holds the name.
    """
    fresh = pointer.with_name(f".{pointer.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    try:
        fresh.symlink_to(name, target_is_directory=True)
    except OSError:
        fresh.write_text(f"{name}\n", encoding="utf-8")
    os.replace(fresh, pointer)


def pointed_at(pointer: Path) -> str | None:
    """The name of the sibling that `pointer` stands for; None where it stands for none, or is no
    pointer."""
    try:
        if pointer.is_symlink():
            target = pointer.parent / os.readlink(pointer)
            return target.name if target.parent.resolve() == pointer.parent.resolve() else None
        if not pointer.is_file() or pointer.stat().st_size > 4 * _LONGEST_NAME:
            return None
        name = pointer.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return name if name.isprintable() and name and Path(name).name == name else None


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file that never changes a second name; a copy where the disk knows no such names, or
    it is another."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def symlink_or_copy(source: str | Path, target: Path) -> None:
    """Let `target` stand for the file `source` anywhere; a copy where the file system knows no
    links."""
    try:
        target.symlink_to(source)
    except FileExistsError:
        raise
    except OSError:
        shutil.copy2(source, target)


def knows_links(folder: Path) -> bool:
    """Whether links can be made in a folder. Tries one."""
    trial = folder / f".link-trial-{os.getpid()}"
    try:
        trial.symlink_to("nothing")
    except OSError:
        return False
    trial.unlink()
    return True
