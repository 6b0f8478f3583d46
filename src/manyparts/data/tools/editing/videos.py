"""Copy or cut the videos of a dataset that is written from others; nothing is encoded again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.storage.links import copy_content, link_or_copy
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.metadata import inside
from manyparts.data.formats.lerobot.videos import Video, frame_numbers
from manyparts.data.tools.editing.plan import Plan, Step
from manyparts.data.tools.editing.source import Source
from manyparts.data.video import read_timeline
from manyparts.data.video_cutting import Span, cut_video

_COLUMNS = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")


@dataclass(frozen=True)
class VideoFile:
    """A video of which some or all episodes are kept."""

    source: Source
    """The dataset that it is from."""
    key: str
    """The video feature."""
    file: Path
    """The file."""
    numbers: tuple[int, ...]
    """The new numbers of the episodes that are kept, in their order in the file."""
    is_whole: bool
    """Whether all its episodes are kept."""


@dataclass(frozen=True)
class WrittenVideos:
    """The videos of a dataset that has been written."""

    columns: dict[str, dict[int, Any]] = field(default_factory=dict)
    """The columns of meta/episodes that say where each episode is, by the episode's new number."""
    copied_whole: list[str] = field(default_factory=list)
    """The files that hold all frames of other episodes, since they could not be cut."""
    with_others: dict[str, int] = field(default_factory=dict)
    """How many frames of other episodes a file holds, since videos are cut at key frames."""


def video_files(plan: Plan) -> list[VideoFile]:
    """All videos of the episodes of a plan, in the order in which they are written."""
    files: list[VideoFile] = []
    for key in plan.first.of_type("video"):
        numbers: dict[tuple[Source, Path], list[int]] = {}
        for number, episode in enumerate(plan.episodes):
            file = _video(plan, key, number).file
            numbers.setdefault((episode.source, file), []).append(number)
        held: Counter[tuple[Source, Path]] = Counter()
        for source in plan.sources:
            held.update((source, video.file) for video in source.listed.videos[key] if video)
        for (source, file), kept in numbers.items():
            kept.sort(key=lambda number, key=key: _video(plan, key, number).before)
            is_whole = held[source, file] == len(kept)
            files.append(VideoFile(source, key, file, tuple(kept), is_whole))
    return files


def write_videos(
    plan: Plan, files: Sequence[VideoFile], folder: Path, *, link: bool, step: Step
) -> WrittenVideos:
    """Write all videos.

    Args:
        plan: what is written.
        files: what `video_files` returned.
        folder: the folder of the dataset.
        link: whether whole files may be hard links, since the source goes away.
        step: called after each file.

    Raises:
        OSError: the disk is full.
    """
    written, fps = WrittenVideos(), plan.first.metadata.fps
    last: dict[str, tuple[int, int]] = {}
    for video in files:
        numbers = layout.next_file(*last.get(video.key, (0, -1)))
        last[video.key] = numbers
        name = layout.VIDEO.format(
            video_key=video.key, chunk_index=numbers[0], file_index=numbers[1]
        )
        target = inside(folder, name)  # the feature's name is not ours
        target.parent.mkdir(parents=True, exist_ok=True)
        spans = [] if video.is_whole else _spans(plan, video)
        cut = cut_video(video.file, target, spans, fps) if spans else None
        if cut is not None:
            pairs = zip(cut.firsts, spans, strict=True)
            times = [(first / fps, (first + span.count) / fps) for first, span in pairs]
            if cut.others:
                written.with_others[name] = cut.others
        else:
            (link_or_copy if link else copy_content)(video.file, target)
            times = [_times(plan, video.key, number) for number in video.numbers]
            if not video.is_whole:
                written.copied_whole.append(name)
        for number, (begin, end) in zip(video.numbers, times, strict=True):
            values = (*numbers, begin, end)
            for part, value in zip(_COLUMNS, values, strict=True):
                column = written.columns.setdefault(f"videos/{video.key}/{part}", {})
                column[number] = value
        step()
    return written


def _video(plan: Plan, key: str, number: int) -> Video:
    """Where an episode is in its source."""
    episode = plan.episodes[number]
    video = episode.source.metadata.videos[key][episode.position]
    assert video is not None, "an episode without a video is not readable"
    return video


def _times(plan: Plan, key: str, number: int) -> tuple[float, float]:
    """When an episode begins and ends in its source."""
    episode, column = plan.episodes[number], f"videos/{key}/to_timestamp"
    begin = _video(plan, key, number).begin
    if column in episode.source.rows.column_names:
        end = episode.source.rows[column][episode.position].as_py()
        if isinstance(end, int | float) and end > begin:
            return begin, end
    return begin, begin + episode.length / plan.first.metadata.fps


def _spans(plan: Plan, video: VideoFile) -> list[Span]:
    """The frames of the kept episodes of a video; empty if they do not follow each other."""
    seconds, fps, spans = read_timeline(video.file).seconds, plan.first.metadata.fps, []
    for number in video.numbers:
        episode = plan.episodes[number]
        rows, located = np.arange(episode.length), _video(plan, video.key, number)
        try:
            stamps = episode.source.times(episode.position)
            frames = frame_numbers(seconds, located, rows, stamps, fps)
        except ValueError:  # the frames are at other times than the rows: left as they are
            return []
        if not np.array_equal(frames, frames[0] + rows):
            return []
        spans.append(Span(int(frames[0]), episode.length))
    return spans
