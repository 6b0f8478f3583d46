"""A run's replay as a dataset, from which others can learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyparts.core.arguments import path_of
from manyparts.core.progress import progress_bar
from manyparts.core.serialisation import from_jsonable
from manyparts.core.spec import TaskEntry
from manyparts.data.dataset import DatasetWriter
from manyparts.data.formats.lerobot.writer import Images
from manyparts.data.sampling.replay import ReplayedEpisode, open_replay


def export(replay: str | Path, target: str | Path, *, images: Images = "png") -> None:
    """Write the episodes of a replay as a LeRobotDataset v3.0.

    Where the environment held actions for several steps, a frame is one action, and the frame rate
    is lower accordingly. What an agent noted in addition is left out.

    Args:
        replay: the folder, such as RUN/replay.
        target: the folder to write, which must not exist.
        images: "png", or "video", which is lossy.

    Raises:
        UserError: there is no replay, the target exists, or the disk is full.
    """
    source, about = open_replay(path_of(replay, "replay"))
    tasks = _tasks(source.episodes, about)
    with (
        progress_bar("writing the dataset", len(source.episodes)) as bar,
        DatasetWriter(
            path_of(target, "target"),
            source.spec,
            fps=source.spec.action.control_rate_hz,
            tasks=tuple(dict.fromkeys(tasks.values())),
            environment=about.get("environment", {}),
            images=images,
            expert=False,
            terminates=bool(about.get("terminates", False)),
            # Replays of before did not say it.
            knows_success=bool(about.get("knows_success", True)),
        ) as writer,
    ):
        for number, (_, episode) in enumerate(source.read(), start=1):
            task = tasks[episode.task, episode.instruction]
            writer.add(replace(episode, task=task.name))
            bar.show(number, "")


def _tasks(
    episodes: Sequence[ReplayedEpisode], about: Mapping[str, Any]
) -> dict[tuple[str, str], TaskEntry]:
    """The task of the dataset by an episode's task and instruction. Where each episode brings its
    own instruction, each of these is a task, named as `collect` names it."""
    entries = (from_jsonable(TaskEntry, entry) for entry in about.get("tasks", ()))
    known = {entry.name: entry for entry in entries}
    tasks: dict[tuple[str, str], TaskEntry] = {}
    for each in episodes:
        entry = known.get(each.task)
        if entry is None or each.instruction not in (entry.instruction, *entry.paraphrases):
            entry = TaskEntry(f"{each.task}#{each.instruction}", each.instruction)
        tasks[each.task, each.instruction] = entry
    return tasks
