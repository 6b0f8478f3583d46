"""The files of a dataset that editing does not know, which stay as they are."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from pathlib import Path

from manyparts.core.storage.links import copy_content, link_or_copy
from manyparts.data.formats.lerobot import layout
from manyparts.data.tools.editing.source import Source
from manyparts.data.tools.editing.subtasks import SUBTASKS

_WRITTEN = {layout.INFO, layout.STATS, layout.TASKS, SUBTASKS}
_CONTENT = ("data", "videos")


def without_episode(source: Source) -> list[str]:
    """The files in data/ and videos/ that belong to no episode, from the dataset's folder."""
    known = source.files_of_episodes
    names = []
    for file in source.all_files():
        name = file.relative_to(source.path)
        if name.parts[0] in _CONTENT and file not in known and not _is_hidden(name):
            names.append(name.as_posix())
    return sorted(names)


def copy_further_files(
    sources: Sequence[Source], folder: Path, *, in_place: bool
) -> tuple[list[str], list[str]]:
    """Copy the files that editing does not write.

    Of several datasets, these are the files that all have with equal content. Hidden files stay
    where a dataset is replaced, and are not copied elsewhere.

    Args:
        sources: the datasets.
        folder: the folder of the new one; what it has already stays.
        in_place: whether it replaces its only source, so that files may be hard links.

    Returns:
        The names of files that were copied, and of those that were left out.

    Raises:
        OSError: the disk is full.
    """
    names = [_further(source, hidden=in_place) for source in sources]
    copied, left_out = [], []
    for name in dict.fromkeys(name for each in names for name in each):
        target = folder / name
        if target.exists():
            continue
        first = sources[0].path / name
        if not all(name in each for each in names) or not all(
            filecmp.cmp(first, source.path / name, shallow=False) for source in sources[1:]
        ):
            left_out.append(name)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        (link_or_copy if in_place else copy_content)(first, target)
        copied.append(name)
    return copied, left_out


def _further(source: Source, *, hidden: bool) -> list[str]:
    """The names of all files that are neither written nor part of an episode."""
    known, stray = source.files_of_episodes, set(without_episode(source))
    names = []
    for file in sorted(source.all_files()):
        name = file.relative_to(source.path)
        text = name.as_posix()
        is_written = text in _WRITTEN or text.startswith(f"{layout.EPISODES_FOLDER}/")
        if is_written or file in known or text in stray or (_is_hidden(name) and not hidden):
            continue
        names.append(text)
    return names


def _is_hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)
