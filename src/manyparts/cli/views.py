"""Flags of a view: a file for each dataset, or a flag for each field."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.embodiment.views.view import View, read_wordings


def views_of(files: Sequence[Path], flags: View) -> list[View]:
    """The views that a command was given.

    Args:
        files: JSON files of `--view`.
        flags: those of `--view.size` and so on; they change fields of the only file.

    Returns:
        One for all datasets or one for each; empty if there is none.

    Raises:
        UserError: a file cannot be read, or there are flags and several files.
    """
    views = [View.of(file) for file in files]
    flags = _with_file_of_instructions(flags)
    if flags == View():
        return views
    if len(views) > 1:
        raise UserError(
            f"there are {len(views)} files of --view, and flags such as --view.size do not say "
            "which they change; put them into the files"
        )
    chosen = {
        item.name: getattr(flags, item.name)
        for item in dataclasses.fields(View)
        if getattr(flags, item.name) != getattr(View(), item.name)
    }
    return [dataclasses.replace(views[0] if views else View(), **chosen)]


def _with_file_of_instructions(flags: View) -> View:
    """The same view, with the texts of the file that its instruction names."""
    if flags.instruction is None or not flags.instruction.endswith(".json"):
        return flags
    wordings = read_wordings(Path(flags.instruction).expanduser())
    return dataclasses.replace(flags, instruction=None, instructions=wordings)
