"""Delete episodes, split a dataset, merge several, give new instructions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from manyparts.core.arguments import path_of
from manyparts.core.errors import UserError
from manyparts.core.printing import counted
from manyparts.core.provenance import file_hash
from manyparts.core.randomness import derive_seed
from manyparts.data.tools.editing.agreement import require_agreement
from manyparts.data.tools.editing.choosing import (
    REST,
    counts_of,
    divided,
    numbers_in,
    part_values,
    positions_of,
    positions_of_tasks,
    require_parts,
    with_rest,
)
from manyparts.data.tools.editing.labels import Texts, labels_from, labels_with
from manyparts.data.tools.editing.plan import Plan, make_plan
from manyparts.data.tools.editing.source import Source, open_source, require_readable
from manyparts.data.tools.editing.writing import (
    Edited,
    planned,
    require_free,
    require_replaceable,
    write_in_place,
    write_new,
)


@dataclass(frozen=True)
class Destination:
    """Where an edited dataset goes."""

    output: Path | None = None
    """The folder to write, which must not exist; None with `in_place`."""
    in_place: bool = False
    """Whether it replaces its source."""
    dry_run: bool = False
    """Whether nothing is written."""


@dataclass(frozen=True)
class Parts:
    """How a dataset is split: one of the first four, each with "NAME=VALUE" texts."""

    fractions: Sequence[str] = ()
    """Parts of all episodes, such as "train=0.8"."""
    counts: Sequence[str] = ()
    """Numbers of episodes, such as "train=40"."""
    episodes: Sequence[str] = ()
    """Episodes, such as "train=0-39"."""
    tasks: Sequence[str] = ()
    """Tasks, such as "train=pick up the cube"."""
    seed: int | None = None
    """Draws the episodes of fractions and counts; None takes them in their order."""
    per_task: bool = False
    """Whether fractions and counts are of each task."""


def delete(
    dataset: str | Path,
    destination: Destination,
    *,
    episodes: Sequence[str] = (),
    tasks: Sequence[str] = (),
) -> Edited:
    """Write a dataset without some episodes, or take them out of it.

    Args:
        dataset: the dataset's folder, or hf://owner/name.
        destination: where it goes.
        episodes: the episodes to delete, such as "3" and "7-9".
        tasks: the tasks of which all episodes are deleted.

    Returns:
        What was written.

    Raises:
        UserError: an episode or a task does not exist, none would be left, the files disagree, or
            the disk is full. Nothing is changed then.
    """
    if not episodes and not tasks:
        raise UserError("what is to be deleted? name it with --episodes or --tasks")
    source = open_source(dataset)
    _require_destination(source, destination)
    readable = source.metadata.numbers.tolist()
    lost = [int(name) for name in source.lost]
    numbers: set[int] = set()
    for text in episodes:
        numbers |= set(numbers_in(text, sorted({*readable, *lost}), source.name))
    require_readable(source, deleted=map(str, numbers))
    gone = {position for position, number in enumerate(readable) if number in numbers}
    gone |= set(positions_of_tasks(source, tasks))
    kept = [position for position in range(len(readable)) if position not in gone]
    if not kept:
        raise UserError(
            f"all {counted(len(readable), 'episode')} of {source.name} would be deleted; "
            "delete the folder, if that is what you want"
        )
    edited = _written(make_plan([(source, kept)]), destination, f"deleting from {source.name}")
    former, now = source.names[kept[-1]], len(kept) - 1
    if former == str(now):
        return edited
    note = f"episodes are numbered from 0: the last one, {former}, is {now} now"
    return replace(edited, notes=(note, *edited.notes))


def relabel(
    dataset: str | Path,
    destination: Destination,
    *,
    texts: Texts | str,
    episodes: Sequence[str] = (),
    tasks: Sequence[str] = (),
) -> Edited:
    """Write a dataset with other instructions, or change them in it.

    Args:
        dataset: the dataset's folder, or hf://owner/name.
        destination: where it goes.
        texts: one instruction, or a mapping of tasks and episodes to instructions.
        episodes: which episodes get the one instruction.
        tasks: the tasks of which all episodes get the one instruction; all, if neither is given.

    Returns:
        What was written.

    Raises:
        UserError: an episode or a task does not exist, a text is empty, nothing would change, the
            files disagree, or the disk is full. Nothing is changed then.
    """
    source = open_source(dataset)
    _require_destination(source, destination)
    require_readable(source)
    if isinstance(texts, str):
        labels, notes = labels_with(source, texts, episodes=episodes, tasks=tasks)
    else:
        labels, notes = labels_from(source, texts)
    plan = make_plan([(source, range(len(source.names)))], labels)
    edited = _written(plan, destination, f"relabelling {source.name}")
    return replace(edited, notes=(*notes, *edited.notes))


def split(
    dataset: str | Path, output: str | Path, parts: Parts, *, dry_run: bool = False
) -> list[Edited]:
    """Write parts of a dataset, each as a dataset of its own.

    Args:
        dataset: the dataset's folder, or hf://owner/name.
        output: the folder to write, which must not exist; it gets a folder for each part.
        parts: how to split.
        dry_run: whether nothing is written.

    Returns:
        What was written, by part.

    Raises:
        UserError: a part is empty, an episode would be in two parts or does not exist, the files
            disagree, or the disk is full. Nothing is written then.
    """
    source, output = open_source(dataset), path_of(output, "output")
    require_readable(source)
    chosen = _parts_of(source, parts)
    require_parts(source, chosen)
    plans = {name: make_plan([(source, positions)]) for name, positions in chosen.items()}
    require_free(output, list(plans.values()))
    if dry_run:
        edited = planned(plans, output)
    else:
        edited = write_new(plans, output, what=f"splitting {source.name}")
    without = len(source.names) - sum(map(len, chosen.values()))
    if without:
        note = f"{counted(without, 'episode')} of {source.name} are in no part"
        edited[-1] = replace(edited[-1], notes=(*edited[-1].notes, note))
    return edited


def merge(
    datasets: Sequence[str | Path],
    output: str | Path,
    *,
    embodiment: str | None = None,
    dry_run: bool = False,
) -> Edited:
    """Write the episodes of several datasets as one dataset, in their order.

    Args:
        datasets: the folders of the datasets, or hf://owner/name.
        output: the folder to write, which must not exist.
        embodiment: the robot's name of the merged dataset, where the datasets name it differently.
        dry_run: whether nothing is written.

    Returns:
        What was written.

    Raises:
        UserError: the datasets differ in rate, robot or features, one is given twice, the files
            disagree, or the disk is full. Nothing is written then.
    """
    output = path_of(output, "output")
    if len(datasets) < 2:
        raise UserError(f"{counted(len(datasets), 'dataset')} to merge; expected two at least")
    if embodiment is not None and not embodiment.strip():
        raise UserError(f"embodiment is {embodiment!r}; expected the robot's name")
    sources: list[Source] = []
    for dataset in datasets:
        source = open_source(dataset)
        if any(source.path == other.path for other in sources):
            raise UserError(f"{source.name} is given twice; its episodes would be there twice")
        require_readable(source)
        sources.append(source)
    require_agreement(sources, embodiment=embodiment)
    chosen = [(source, range(len(source.names))) for source in sources]
    plan = make_plan(chosen, embodiment=embodiment)
    destination = Destination(output, dry_run=dry_run)
    edited = _written(plan, destination, f"merging {counted(len(sources), 'dataset')}")
    return replace(edited, notes=(*edited.notes, *_doubles(sources)))


def _doubles(sources: Sequence[Source]) -> Iterator[str]:
    """Notes on datasets that have a file of episodes in common, as copies have."""
    files = [(each, file) for each in sources for file in each.path.glob("data/**/*.parquet")]
    sizes = Counter(file.stat().st_size for _, file in files)
    owners: dict[str, Source] = {}
    for source, path in files:
        if sizes[path.stat().st_size] > 1:  # only these are read
            owner = owners.setdefault(file_hash(path), source)
            if owner is not source:
                file = path.relative_to(source.path)
                yield f"{source.name} is a copy of {owner.name} in {file}: episodes are there twice"


def _require_destination(source: Source, destination: Destination) -> None:
    """Raise UserError if nothing says where to write, or two things do."""
    if destination.in_place and destination.output is not None:
        raise UserError("--output and --in-place exclude each other; give one of them")
    if destination.in_place:
        require_replaceable(source)
    elif destination.output is None:
        raise UserError(
            f"where to? --output COPY writes a new folder, --in-place replaces {source.name}"
        )


def _written(plan: Plan, destination: Destination, what: str) -> Edited:
    """Write a plan to where it goes."""
    if destination.in_place:
        if destination.dry_run:
            return planned({"": plan}, plan.first.path)[0]
        return write_in_place(plan, what=what)
    assert destination.output is not None
    output = path_of(destination.output, "output")
    require_free(output, [plan])
    if destination.dry_run:
        return planned({"": plan}, output)[0]
    return write_new({"": plan}, output, what=what)[0]


def _parts_of(source: Source, parts: Parts) -> Mapping[str, list[int]]:
    """The positions of the episodes of each part."""
    ways = {
        "--fractions": parts.fractions,
        "--counts": parts.counts,
        "--episodes": parts.episodes,
        "--tasks": parts.tasks,
    }
    given = [flag for flag, texts in ways.items() if texts]
    if len(given) != 1:
        got = " and ".join(given) or "none"
        raise UserError(f"split by one of {', '.join(ways)}; given: {got}")
    if parts.fractions or parts.counts:
        return _drawn_parts(source, parts)
    if parts.seed is not None or parts.per_task:
        raise UserError(f"--seed and --per-task are for --fractions and --counts, not {given[0]}")
    chosen: dict[str, list[int] | None] = {}
    example = "train=0-39 test=40-49" if parts.episodes else 'train="pick up the cube"'
    for name, values in part_values(ways[given[0]], given[0], example).items():
        if values == [REST]:
            chosen[name] = None
        elif parts.episodes:
            chosen[name] = positions_of(source, values)
        else:
            chosen[name] = positions_of_tasks(source, values)
    if list(chosen.values()).count(None) > 1:
        raise UserError(f"several parts have {REST}; only one can have what is left")
    return with_rest(chosen, len(source.names))


def _drawn_parts(source: Source, parts: Parts) -> dict[str, list[int]]:
    """The parts by fractions or counts, of all episodes or of those of each task."""
    total = len(source.names)
    groups = {"": list(range(total))}
    if parts.per_task:
        entries = source.metadata.tasks.entries
        groups = {
            f" of the task {entries[task].instruction!r}": np.flatnonzero(
                source.tasks_chosen == task
            ).tolist()
            for task in np.unique(source.tasks_chosen).tolist()
        }
    chosen: dict[str, list[int]] = {}
    for where, positions in groups.items():
        if parts.seed is not None:
            draw = np.random.default_rng(derive_seed("split", parts.seed, where))
            positions = draw.permutation(positions).tolist()
        texts = parts.fractions or parts.counts
        counts = counts_of(texts, len(positions), fractions=bool(parts.fractions), where=where)
        for name, each in divided(positions, counts).items():
            chosen.setdefault(name, []).extend(each)
    return {name: sorted(positions) for name, positions in chosen.items()}
