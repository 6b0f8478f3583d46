"""`manyparts push`: an agent or a dataset to the Hugging Face Hub."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError
from manyparts.core.printing import counted, first_of, say

_SHOWN = 6  # files


@dataclass(frozen=True)
class Options:
    """Upload an agent or a LeRobotDataset to the Hugging Face Hub.

    Of an agent its weights and its description are uploaded, with a card that has the results of
    `manyparts evaluate`, the action contract, how to run it and what it cannot do. Others then type
    hf://OWNER/NAME where they would type a run's folder. You are asked before anything is sent.
    """

    source: Positional[Annotated[Path | None, arg(metavar="RUN|DATASET")]] = None
    """A run, a checkpoint, an exported policy or a dataset."""

    repository: Positional[Annotated[str | None, arg(metavar="OWNER/NAME")]] = None
    """The repository, which is made if it is not there."""

    private: bool = False
    """Make a new repository private."""

    revision: str | None = None
    """The branch; if left out, main."""

    message: str | None = None
    """The commit's message."""

    license: str | None = None
    """The license of an agent's weights, by its name on the Hub; if left out, apache-2.0."""

    yes: bool = False
    """Do not ask."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts push`, and return its exit code."""
    options = parse(Options, arguments, command="push")
    if options.source is None or options.repository is None:
        raise UserError("missing RUN or OWNER/NAME; see manyparts push --help")
    from manyparts.sharing.push import push

    def confirm(kind: str, files: Sequence[str]) -> None:
        question = f"{_named(kind, files)}\nupload them to {options.repository}?"
        if not options.yes and not _agreed(question):
            raise UserError("nothing was uploaded")

    shared = push(
        options.source,
        options.repository,
        private=options.private,
        revision=options.revision,
        message=options.message,
        license=options.license,
        confirm=confirm,
    )
    say(f"uploaded {_named(shared.kind, shared.files)}")
    say(shared.commit)
    return 0


def _named(kind: str, files: Sequence[str]) -> str:
    return f"{counted(len(files), 'file')} of a {kind}: {first_of(files, _SHOWN)}"


def _agreed(question: str) -> bool:
    """Whether the user agrees. Raises UserError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise UserError("nobody can be asked here; --yes uploads without asking")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
