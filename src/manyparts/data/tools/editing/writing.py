"""Write edited datasets: whole, in one step, and only if the source stayed as it was."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.core.printing import counted, first_of
from manyparts.core.progress import progress_bar
from manyparts.core.storage.atomic import (
    disk_error,
    make_folder,
    rename_into_place,
    replace_folder,
    temporary_folder,
)
from manyparts.core.storage.locks import hold_beside
from manyparts.data.formats.errors import format_errors
from manyparts.data.tools.editing.agreement import agreed_features
from manyparts.data.tools.editing.describing import (
    splits_of,
    write_card,
    write_episodes,
    write_info,
    write_statistics,
    write_tasks,
)
from manyparts.data.tools.editing.further_files import copy_further_files, without_episode
from manyparts.data.tools.editing.plan import Plan, Step
from manyparts.data.tools.editing.rows import keep_rows, write_rows
from manyparts.data.tools.editing.source import Source
from manyparts.data.tools.editing.subtasks import Subtasks
from manyparts.data.tools.editing.videos import VideoFile, video_files, write_videos

_MAX_SHOWN = 5


@dataclass(frozen=True)
class Edited:
    """An edited dataset."""

    path: Path
    """Its folder."""
    episodes: int
    """Number of episodes."""
    frames: int
    """Number of frames."""
    tasks: int
    """Number of tasks."""
    notes: tuple[str, ...] = ()
    """What else a user has to know, one line each."""

    def __str__(self) -> str:
        episodes, frames = counted(self.episodes, "episode"), counted(self.frames, "frame")
        return f"{self.path}: {episodes}, {frames}, {counted(self.tasks, 'task')}"


def write_new(plans: Mapping[str, Plan], output: Path, *, what: str) -> list[Edited]:
    """Write datasets into a folder that does not exist yet, and appears when all are whole.

    Args:
        plans: each dataset by the name of its folder in `output`; "" for `output` itself.
        output: the folder.
        what: what the work is, for the progress bar.

    Raises:
        UserError: `output` exists, a file is torn, the disk is full, or a source has changed.
    """
    require_free(output, list(plans.values()))
    with _removed_on_failure(temporary_folder(output), output) as folder:
        edited = _write_all(plans, folder, output, what=what)
        if not rename_into_place(folder, output):
            raise UserError(
                f"{output} was created by another process meanwhile; choose another output"
            )
    return edited


def write_in_place(plan: Plan, *, what: str) -> Edited:
    """Write a dataset and let it take the folder of its source, in one step.

    Args:
        plan: a plan with one source.
        what: what the work is, for the progress bar.

    Raises:
        UserError: the folder holds what would be lost, a file is torn, the disk is full, the
            source has changed, or another program adds to it.
    """
    source = plan.first
    require_replaceable(source)
    with (
        hold_beside(source.path, what=str(source.name)),
        _removed_on_failure(temporary_folder(source.path), source.path) as folder,
    ):
        (edited,) = _write_all({"": plan}, folder, source.path, what=what, in_place=True)
        shutil.copymode(source.path, folder)
        os.sync()  # a power cut after the exchange must not cost both
        try:
            replace_folder(folder, source.path)
        except OSError as error:
            raise UserError(
                f"{source.path} cannot be replaced in one step ({error.strerror}); write a copy "
                "with --output"
            ) from error
    return edited


def planned(plans: Mapping[str, Plan], output: Path) -> list[Edited]:
    """What would be written, with the notes that are known before."""
    return [_edited(plan, output / name, _notes_before(plan)) for name, plan in plans.items()]


def require_free(output: Path, plans: Sequence[Plan]) -> None:
    """Raise UserError if a folder cannot become the output: it exists or is within a source."""
    if output.exists() or output.is_symlink():
        raise UserError(f"{output} exists; choose another output")
    for plan in plans:
        for source in plan.sources:
            if source.path in output.absolute().resolve().parents:
                raise UserError(f"{output} is within {source.name}; choose an output outside of it")


def require_replaceable(source: Source) -> None:
    """Raise UserError if replacing a dataset would lose files, or change the Hub's cache."""
    if source.is_hub or any(part.startswith("datasets--") for part in source.path.parts):
        raise UserError(
            f"{source.name} is in the cache of the Hugging Face Hub, which is not changed; write a "
            "copy with --output"
        )
    if stray := without_episode(source):
        raise UserError(
            f"{source.name} has files that belong to no episode and would be lost: "
            f"{_first(stray)}; write a copy with --output"
        )


def _write_all(
    plans: Mapping[str, Plan], folder: Path, output: Path, *, what: str, in_place: bool = False
) -> list[Edited]:
    """Write all datasets of a temporary folder, which becomes `output`."""
    sources = dict.fromkeys(source for plan in plans.values() for source in plan.sources)
    for source in sources:
        source.state  # noqa: B018, remembers the files as they are now
    files = {name: video_files(plan) for name, plan in plans.items()}
    total = sum(len(plan.episodes) + len(files[name]) for name, plan in plans.items())
    edited = []
    with progress_bar(what, total) as bar:
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            bar.show(done, "")

        for name, plan in plans.items():
            make_folder(folder / name / "meta")
            with format_errors(plan.first.path, "LeRobotDataset"):
                notes = _write(plan, files[name], folder / name, in_place=in_place, step=step)
            edited.append(_edited(plan, output / name, notes))
    for source in sources:
        source.require_unchanged()
    return edited


def _write(
    plan: Plan, files: Sequence[VideoFile], folder: Path, *, in_place: bool, step: Step
) -> list[str]:
    """Write one dataset, and return the notes for its user."""
    subtasks = Subtasks(plan.sources)
    if plan.keeps_rows:
        rows = keep_rows(plan, folder, link=in_place, step=step)
    else:
        rows = write_rows(plan, subtasks, folder, step)
    videos = write_videos(plan, files, folder, link=in_place, step=step)
    columns = {
        name: [values.get(number) for number in range(len(plan.episodes))]
        for name, values in {**rows.columns, **videos.columns}.items()
    }
    episodes = write_episodes(plan, columns, rows, folder)
    write_tasks(plan, folder)
    subtasks.write(folder)
    without_statistics = write_statistics(plan, rows, episodes, folder)
    info = write_info(plan, rows, folder)
    write_card(plan, info, folder)
    copied, left_out = copy_further_files(plan.sources, folder, in_place=in_place)
    notes = list(_notes_before(plan))
    if videos.copied_whole:
        notes.append(
            "videos that cannot be cut without encoding them again were copied whole, with the "
            f"frames of other episodes: {_first(videos.copied_whole)}"
        )
    if videos.with_others:
        files_with = [f"{name} ({count})" for name, count in videos.with_others.items()]
        notes.append(
            "videos are cut at key frames, so that some frames of other episodes stay, which no "
            f"episode shows: {_first(files_with)}"
        )
    if rows.without_task:
        notes.append(
            "episodes with rows of a task that meta/tasks lacks: "
            f"{_first(rows.without_task)}; they have the episode's own task now"
        )
    if without_statistics:
        notes.append(f"no statistics any more: {', '.join(without_statistics)}")
    in_meta = [name for name in copied if name.startswith("meta/")]
    if in_meta and not plan.keeps_rows:
        notes.append(f"describes the dataset before, as it was copied: {_first(in_meta)}")
    if left_out:
        notes.append(f"files in which the datasets differ are left out: {_first(left_out)}")
    return notes


def _notes_before(plan: Plan) -> Iterator[str]:
    """What can be said before anything is written."""
    for source in plan.sources:
        yield from (f"{source.name}: {note}" for note in source.notes)
        if stray := without_episode(source):
            yield f"{source.name}: files that belong to no episode are left out: {_first(stray)}"
    details = agreed_features(plan.sources)[1]
    if details:
        yield f"details in which the datasets differ are left out of info.json: {_first(details)}"
    splits = [source.info.get("splits") for source in plan.sources]
    if any(isinstance(each, Mapping) and len(each) > 1 for each in splits) and not splits_of(plan):
        yield "the splits of info.json were joined to one: train"


def _first(names: Sequence[str]) -> str:
    return first_of(names, _MAX_SHOWN)


def _edited(plan: Plan, path: Path, notes: Iterator[str] | Sequence[str]) -> Edited:
    frames = int(plan.starts[-1])
    return Edited(path, len(plan.episodes), frames, len(plan.tasks), tuple(notes))


@contextlib.contextmanager
def _removed_on_failure(folder: Path, output: Path) -> Iterator[Path]:
    """A temporary folder that is gone when the block fails; a full disk becomes a UserError."""
    try:
        yield folder
    except OSError as error:
        raise disk_error(error, output) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
