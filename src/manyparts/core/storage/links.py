"""Links, and what replaces them on file systems that have none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_MAX_NAME_BYTES = 255


def point_at(pointer: Path, name: str) -> None:
    """Let a path be a link to its sibling; a file or link of that path is replaced.

    exFAT, some network shares and some FUSE file systems refuse links. There the path is a text
    file that holds the sibling's name.

    Args:
        pointer: The path of the link.
        name: The sibling's name.
    """
    fresh = pointer.with_name(f".{pointer.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    try:
        fresh.symlink_to(name, target_is_directory=True)
    except OSError:
        fresh.write_text(f"{name}\n", encoding="utf-8")
    os.replace(fresh, pointer)


def pointed_at(pointer: Path) -> str | None:
    """Return the name that `point_at` wrote; None if `pointer` is nothing of that kind."""
    try:
        if pointer.is_symlink():
            target = pointer.parent / os.readlink(pointer)
            return target.name if target.parent.resolve() == pointer.parent.resolve() else None
        if not pointer.is_file() or pointer.stat().st_size > 4 * _MAX_NAME_BYTES:
            return None
        name = pointer.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return name if name.isprintable() and name and Path(name).name == name else None


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file that never changes a second name (a hard link), or copy it.

    It is copied if the file system has no hard links, or the target is on another disk.

    Args:
        source: The file.
        target: Its second name.
    """
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def copy_content(source: str | Path, target: str | Path) -> None:
    """Copy a file's content, and not its permissions, which may be read-only.

    Args:
        source: The file.
        target: The file to write.
    """
    shutil.copyfile(source, target)


def symlink_or_copy(source: str | Path, target: Path) -> None:
    """Link to a file, or copy it if the file system has no links.

    Args:
        source: The file.
        target: The path of the link or the copy.

    Raises:
        FileExistsError: Something is at `target` already.
    """
    try:
        target.symlink_to(source)
    except FileExistsError:
        raise
    except OSError:
        shutil.copy2(source, target)


def knows_links(folder: Path) -> bool:
    """Return whether links can be made in a folder, by making one."""
    trial = folder / f".link-trial-{os.getpid()}"
    try:
        trial.symlink_to("nothing")
    except OSError:
        return False
    trial.unlink()
    return True
