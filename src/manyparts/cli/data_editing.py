"""`manyparts data delete`, `relabel`, `split` and `merge`: edit LeRobotDatasets v3.0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError
from manyparts.core.printing import say

if TYPE_CHECKING:
    from manyparts.data.tools.editing.writing import Edited

SetPath = Positional[Annotated[str, arg(metavar="SET")]]


@dataclass(frozen=True)
class DeleteOptions:
    """Write a LeRobotDataset v3.0 without some episodes, or take them out of it.

    The episodes that stay are numbered from 0 again. All their columns stay, videos are cut without
    encoding them again, and counts, splits, tasks and statistics are those of what is left.

    If the command is killed, the dataset is as it was, or edited and whole.
    """

    dataset: SetPath
    """The dataset's folder, or hf://owner/name@revision."""

    episodes: tuple[str, ...] = ()
    """Episodes to delete, as numbers and ranges: 3 7-9. Those that cannot be read are named too."""

    tasks: tuple[str, ...] = ()
    """Tasks of which all episodes are deleted, by instruction, or by name in datasets of
    manyparts."""

    output: Path | None = None
    """The folder to write, which must not exist. The dataset itself stays as it is."""

    in_place: bool = False
    """Replace the dataset in one step. Its former content is gone then."""

    dry_run: bool = False
    """Say what would be written, and write nothing."""


@dataclass(frozen=True)
class RelabelOptions:
    """Give episodes or tasks of a LeRobotDataset v3.0 other instructions.

    Two tasks that get the same instruction become one, except in datasets of manyparts, where tasks
    have names, too. Images, videos and numbers stay as they are.

    If the command is killed, the dataset is as it was, or edited and whole.
    """

    dataset: SetPath
    """The dataset's folder, or hf://owner/name@revision."""

    instruction: str | None = None
    """One instruction, for all episodes or those of the next two flags."""

    episodes: tuple[str, ...] = ()
    """Episodes that get the instruction, as numbers and ranges: 3 7-9."""

    tasks: tuple[str, ...] = ()
    """Tasks of which all episodes get the instruction, by their instruction so far, or by name in
    datasets of manyparts."""

    file: Path | None = None
    """A JSON object of instructions, by task or episodes: {"pick cube": "pick up the cube",
    "7-9": "push the cube"}. In datasets of manyparts a list adds paraphrases."""

    output: Path | None = None
    """The folder to write, which must not exist. The dataset itself stays as it is."""

    in_place: bool = False
    """Replace the dataset in one step. Its former content is gone then."""

    dry_run: bool = False
    """Say what would be written, and write nothing."""


@dataclass(frozen=True)
class SplitOptions:
    """Write parts of a LeRobotDataset v3.0, each as a dataset of its own.

    Say how with one of --fractions, --counts, --episodes or --tasks. Each takes NAME=VALUE for each
    part, and `rest` is what the other parts leave: --counts test=10 train=rest. All parts appear at
    once, when they are whole.
    """

    dataset: SetPath
    """The dataset's folder, or hf://owner/name@revision."""

    output: Path
    """The folder to write, which must not exist. It gets a folder for each part."""

    fractions: tuple[str, ...] = ()
    """Fractions of the episodes: train=0.8 test=0.2. Episodes that are left over are in no part."""

    counts: tuple[str, ...] = ()
    """Numbers of episodes: train=40 test=10."""

    episodes: tuple[str, ...] = ()
    """Episodes of each part, as numbers and ranges: train=0-39 test=40,42."""

    tasks: tuple[str, ...] = ()
    """Tasks of each part, by instruction: train="pick up the cube" train=push test=rest."""

    seed: int | None = None
    """Draw the episodes of --fractions and --counts at random with this seed. Without it they are
    taken in their order: the first part has the first episodes."""

    per_task: bool = False
    """Apply --fractions or --counts to the episodes of each task, so that each part has all
    tasks."""

    dry_run: bool = False
    """Say what would be written, and write nothing."""


@dataclass(frozen=True)
class MergeOptions:
    """Write the episodes of several LeRobotDatasets v3.0 as one dataset, in their order.

    They must agree in rate, robot, and features with dtype, shape and names. Tasks with the same
    instruction become one.
    """

    datasets: Positional[Annotated[tuple[str, ...], arg(metavar="SET")]]
    """The datasets' folders, or hf://owner/name@revision; two or more."""

    output: Path
    """The folder to write, which must not exist."""

    embodiment: str | None = None
    """The robot's name to write, where the datasets name the same robot differently."""

    dry_run: bool = False
    """Say what would be written, and write nothing."""


def delete(arguments: Sequence[str]) -> int:
    """Run `manyparts data delete`, and return its exit code."""
    options = parse(DeleteOptions, arguments, command="data delete")
    from manyparts.data.tools.editing import commands

    edited = commands.delete(
        options.dataset,
        commands.Destination(options.output, options.in_place, options.dry_run),
        episodes=options.episodes,
        tasks=options.tasks,
    )
    _report([edited], dry_run=options.dry_run, in_place=options.in_place)
    return 0


def relabel(arguments: Sequence[str]) -> int:
    """Run `manyparts data relabel`, and return its exit code."""
    options = parse(RelabelOptions, arguments, command="data relabel")
    from manyparts.data.formats.errors import read_json
    from manyparts.data.tools.editing import commands

    if (options.instruction is None) == (options.file is None):
        raise UserError("give one of --instruction TEXT and --file FILE.json")
    if options.file is not None and (options.episodes or options.tasks):
        raise UserError("--episodes and --tasks are for --instruction; --file names its own")
    texts = options.instruction if options.file is None else read_json(options.file, by_hand=True)
    assert texts is not None
    edited = commands.relabel(
        options.dataset,
        commands.Destination(options.output, options.in_place, options.dry_run),
        texts=texts,
        episodes=options.episodes,
        tasks=options.tasks,
    )
    _report([edited], dry_run=options.dry_run, in_place=options.in_place)
    return 0


def split(arguments: Sequence[str]) -> int:
    """Run `manyparts data split`, and return its exit code."""
    options = parse(SplitOptions, arguments, command="data split")
    from manyparts.data.tools.editing import commands

    parts = commands.Parts(
        fractions=options.fractions,
        counts=options.counts,
        episodes=options.episodes,
        tasks=options.tasks,
        seed=options.seed,
        per_task=options.per_task,
    )
    edited = commands.split(options.dataset, options.output, parts, dry_run=options.dry_run)
    _report(edited, dry_run=options.dry_run)
    return 0


def merge(arguments: Sequence[str]) -> int:
    """Run `manyparts data merge`, and return its exit code."""
    options = parse(MergeOptions, arguments, command="data merge")
    from manyparts.data.tools.editing import commands

    edited = commands.merge(
        options.datasets, options.output, embodiment=options.embodiment, dry_run=options.dry_run
    )
    _report([edited], dry_run=options.dry_run)
    return 0


def _report(edited: Sequence[Edited], *, dry_run: bool, in_place: bool = False) -> None:
    """Print what was written, then the notes, each once."""
    verb = "would write" if dry_run else "wrote"
    if in_place:
        verb = "would replace" if dry_run else "replaced"
    for each in edited:
        say(f"{verb} {each}", error=True)
    for note in dict.fromkeys(note for each in edited for note in each.notes):
        say(f"note: {note}", error=True)
