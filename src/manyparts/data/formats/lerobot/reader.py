"""Read episodes of a LeRobotDataset: rows of parquet files, embedded images, videos."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from manyparts.core.columns import ACTION, EXPERT_ACTION, STATE, TERMINATED
from manyparts.core.errors import UserError
from manyparts.core.naming import own_entry
from manyparts.data.formats.arrow_numbers import to_numpy
from manyparts.data.formats.errors import Complain, format_errors, one_line, refuse
from manyparts.data.formats.files import files_below
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.describing import describe, restricted_to_files, statistics_of
from manyparts.data.formats.lerobot.features import Plan, has_size, make_plan, size_of, with_lists
from manyparts.data.formats.lerobot.images import (
    ImageCheck,
    check_image,
    check_pixels,
    content_of,
    image_files_named,
)
from manyparts.data.formats.lerobot.locating import EpisodeRows
from manyparts.data.formats.lerobot.metadata import Metadata, read_metadata
from manyparts.data.formats.lerobot.searching import SearchResult, find_episodes
from manyparts.data.formats.lerobot.tables import Tables
from manyparts.data.formats.lerobot.text_columns import EpisodeTexts, find_text_columns
from manyparts.data.formats.lerobot.values import whole_numbers
from manyparts.data.formats.lerobot.videos import frame_numbers
from manyparts.data.png import decode_png
from manyparts.data.video import PixelFormat, Timelines, pixel_format, read_frames

_TIME, _AXES = "timestamp", ("height", "width", "channels")
_TRIED_EPISODES = 5  # until one is found with images that are not torn


class LeRobotReader:
    """See `formats.reader.Reader`.

    Attributes:
        features: the features of info.json, with the sizes that the files show.
        metadata: the metadata of the episodes that are read.
    """

    def __init__(self, path: Path, complain: Complain = refuse) -> None:
        """Open a dataset.

        Args:
            path: the dataset's folder.
            complain: see `formats.errors.Complain`.

        Raises:
            UserError: naming what is missing, torn, or disagrees with something else.
        """
        self.path = path
        self._tables = Tables()
        self._timelines = Timelines()
        self._pixels: dict[str, PixelFormat] = {}  # of the first video of each feature
        metadata = read_metadata(path, complain)
        with format_errors(path / "meta", "LeRobotDataset"):
            self.features = with_lists(metadata.info["features"])
            own = own_entry(metadata.info) or {}  # what manyparts wrote
            plan = make_plan(self.features, own=bool(own)).without(metadata.left_out)
            result = self._search(metadata, plan, complain)
            self.metadata, self._parts = metadata.only(result.kept), result.parts
            self._texts, reasons = find_text_columns(
                path, self.features, self.metadata, result.files
            )
            plan = plan.without(reasons)
            self._plan = self._checked_with_files(plan, result)
            readers = self._readers()
            statistics, notes = statistics_of(
                self.metadata, self._plan, self.features, path, readers
            )
            self.metadata = replace(
                self.metadata,
                info={**self.metadata.info, "features": self.features},
                terminated=self._terminated(),
            )
            contents = describe(path, own, self.metadata, self._plan, result, statistics)
            self.contents = replace(
                contents, notes=(*contents.notes, *notes), text_columns=tuple(self._texts)
            )

    @property
    def expert_column(self) -> str | None:
        """The column of the expert's actions in the files; None if they have none."""
        return self._plan.expert

    def camera_of(self, feature: str) -> str | None:
        """The camera that a feature is read as; None if it is none."""
        cameras = {name: camera for camera, name in self._plan.cameras.items()}
        return cameras.get(feature)

    def columns(self, index: int) -> dict[str, np.ndarray]:
        plan, table = self._plan, self._read(index, self._plan.numbers)
        values = {name: self._numbers(table, name, index) for name in plan.numbers}
        columns = {name: values[name] for name in plan.further}
        columns[ACTION] = values[plan.action]
        if plan.expert is not None:
            columns[EXPERT_ACTION] = values[plan.expert]
        if len(plan.state) == 1:
            columns[STATE] = values[plan.state[0]]
        elif plan.state:
            parts = [
                values[name].reshape(table.num_rows, -1).astype(np.float32) for name in plan.state
            ]
            columns[STATE] = np.concatenate(parts, axis=1)
        return columns

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        feature = self._plan.cameras[camera]
        if self.features[feature]["dtype"] == "video":
            return self._video_frames(index, feature, rows)
        return self._image_frames(index, feature, rows)

    def texts(self, index: int, column: str) -> list[str | None]:
        source = self._texts[column]
        table = self._read(index, source.columns) if source.columns else None
        rows = EpisodeTexts(index, table, self._stamps(index), 1 / self.metadata.fps)
        file = self.metadata.data_files[index]
        try:
            return source.texts(rows)
        except UserError as error:
            raise UserError(f"{file}: episode {self._name(index)}: {column}: {error}") from error

    def files(self) -> Iterator[Path]:
        files = set(self._files_elsewhere())
        for folder in ("meta", "data", "videos"):
            files |= set(files_below(self.path / folder))
        return iter(files)

    def _files_elsewhere(self) -> Iterator[Path]:
        """Files in other folders: where info.json leads, and images that rows name by path."""
        data_files: dict[Path, None] = {}
        for parts in self._parts or ():
            data_files |= dict.fromkeys(part.file for part in parts)
        yield from data_files
        for feature in self._plan.cameras.values():
            for video in self.metadata.videos.get(feature, ()):
                if video is not None:
                    yield video.file
            if self.features[feature]["dtype"] == "image":
                for file in data_files:
                    yield from image_files_named(file, feature, self.path)

    def tasks_of(self, index: int) -> frozenset[int]:
        """The values of task_index that an episode's rows may have: those of the tasks that
        metadata lists for it, and of its own task."""
        tasks = self.metadata.tasks
        allowed = {*self.metadata.listed[index], int(self.contents.episode_task[index])}
        instructions = {
            tasks.entries[position].instruction for position in allowed if position >= 0
        }
        return frozenset(
            number
            for number, position in tasks.positions.items()
            if tasks.entries[position].instruction in instructions
        )

    def _search(self, metadata: Metadata, plan: Plan, complain: Complain) -> SearchResult:
        return find_episodes(self.path, metadata, plan, complain)

    def _checked_with_files(self, plan: Plan, result: SearchResult) -> Plan:
        """The plan without features that the files lack, or show to be no camera's."""
        if result.files:  # else they are not fetched yet
            plan = restricted_to_files(plan, self.features, result.files)
        checks = {name: self._check_first_image(name) for name in plan.cameras.values()}
        refused = {name: check.refused for name, check in checks.items() if check.refused}
        notes = [f"{name}: {check.note}" for name, check in checks.items() if check.note]
        for name in (name for name in checks if name not in refused):
            size, feature = checks[name].size, self.features[name]
            if size is None and not has_size(feature):
                refused[name] = "its shape is not set, and its first image cannot be opened"
            elif size is not None and not (has_size(feature) and size_of(feature) == size):
                if has_size(feature) and self._size_in_last(name) != size:
                    continue  # only the first episode differs from info.json
                self.features[name] = {**feature, "shape": [*size, 3], "names": list(_AXES)}
                if has_size(feature):
                    stated = "x".join(map(str, feature["shape"]))
                    notes.append(
                        f"{name}: {stated} by {layout.INFO}, its first image is {size[0]}x{size[1]}"
                    )
        if result.files:
            notes += self._correct_widths((plan.action, *plan.state))
        return plan.without(refused, notes)

    def _size_in_last(self, feature: str) -> tuple[int, int] | None:
        """(height, width) of the last episode's images; None if they cannot be opened."""
        first = self._pixels.get(feature)
        try:
            return self._check_image(feature, len(self.metadata.numbers) - 1).size
        except (OSError, TypeError, UserError):
            return None
        finally:
            self._pixels |= {feature: first} if first is not None else {}

    def _correct_widths(self, names: Sequence[str]) -> Iterator[str]:
        """Take the number of dimensions from the rows where info.json states another one.

        Yields:
            A note for users on each feature that was corrected.
        """
        for name in names:
            with contextlib.suppress(UserError, TypeError, ValueError):
                feature = self.features[name]
                stated = int(np.prod(feature["shape"]))
                widths = {
                    np.size(self._tables.first(self._rows(index)[0], name)) for index in (0, -1)
                }
                if stated in widths or len(widths) > 1:
                    continue
                width = self._numbers(self._read(0, (name,)), name, 0)[0].size
                self.features[name] = {**feature, "shape": [width], "names": None}
                yield (
                    f"{name}: {stated} numbers per row by {layout.INFO}, its first row has {width}"
                )

    def _rows(self, index: int) -> Sequence[EpisodeRows]:
        assert self._parts is not None
        return self._parts[index]

    def _read(self, index: int, columns: Sequence[str]) -> pa.Table:
        return self._tables.read(self._rows(index), columns, self._name(index))

    def _name(self, index: int) -> str:
        return str(self.metadata.numbers[index])

    def _numbers(self, table: pa.Table, name: str, index: int) -> np.ndarray:
        try:
            values = to_numpy(table[name])
            if values.dtype.kind == "f" and layout.STANDARD.get(name) == "int64":  # 3.0 is 3
                return whole_numbers(values, name)
            return values
        except ValueError as error:
            where = f"{self.metadata.data_files[index]}: episode {self._name(index)}: {name}"
            raise UserError(f"{where} {one_line(error).removeprefix(name).lstrip()}") from error

    def _video_frames(self, index: int, feature: str, rows: np.ndarray) -> np.ndarray:
        video = self.metadata.videos[feature][index]
        assert video is not None
        timeline, stamps = self._timelines[video.file], self._stamps(index)[rows]
        first = self._pixels.get(feature, timeline.pixels)
        refused = check_pixels(timeline.pixels, self.features[feature]).refused
        if timeline.pixels.bits != first.bits or refused:
            raise UserError(
                f"{video.file}: episode {self._name(index)}: the video is {timeline.pixels.name} "
                f"with {timeline.pixels.bits} bits, the first one of {feature} is {first.name} "
                f"with {first.bits}"
            )
        try:
            numbers = frame_numbers(timeline.seconds, video, rows, stamps, self.metadata.fps)
        except ValueError as error:
            raise UserError(
                f"{video.file}: episode {self._name(index)}: {one_line(error)}"
            ) from error
        return read_frames(video.file, timeline.ticks[numbers])

    def _stamps(self, index: int) -> np.ndarray:
        """An episode's times in seconds: those of its rows, or else derived from the rate."""
        if _TIME in self._plan.further:
            return self._numbers(self._read(index, (_TIME,)), _TIME, index).reshape(-1)
        return np.arange(self.metadata.lengths[index]) / self.metadata.fps

    def _image_frames(self, index: int, feature: str, rows: np.ndarray) -> np.ndarray:
        images = self._read(index, (feature,))[feature].take(pa.array(rows)).to_pylist()
        frames = []
        for row, image in zip(rows, images, strict=True):
            try:
                frames.append(decode_png(content_of(image, self.path), use_exif=True))
            except (OSError, ValueError, SyntaxError, TypeError) as error:
                file = self._rows(index)[0].file
                where = f"{file}: episode {self._name(index)}, frame {row}, {feature}"
                raise UserError(f"{where} is not a readable image: {one_line(error)}") from error
        if len(sizes := {frame.shape for frame in frames}) > 1:
            raise UserError(
                f"{self.path}: episode {self._name(index)} has {feature} of several sizes: "
                f"{sorted(sizes)}"
            )
        return np.stack(frames)

    def _check_first_image(self, feature: str) -> ImageCheck:
        """Check a camera's first image or video that can be opened.

        Torn ones are reported when they are read.
        """
        for index in range(min(_TRIED_EPISODES, len(self.metadata.numbers))):
            with contextlib.suppress(OSError, TypeError, UserError):
                check = self._check_image(feature, index)
                if check.refused or check.size:
                    return check
        return ImageCheck()

    def _check_image(self, feature: str, index: int) -> ImageCheck:
        if self.features[feature]["dtype"] == "video":
            video = self.metadata.videos[feature][index]
            assert video is not None
            self._pixels[feature] = pixel_format(video.file)
            return check_pixels(self._pixels[feature], self.features[feature])
        return check_image(content_of(self._tables.first(self._rows(index)[0], feature), self.path))

    def _terminated(self) -> np.ndarray | None:
        """bool (n,), whether each episode ended for good: by the stored statistics, or else by its
        last row; None if there is no such column, or the files are not fetched yet."""
        if TERMINATED not in self._plan.further:
            return None
        if self.metadata.terminated is not None or self._parts is None:
            return self.metadata.terminated
        terminated = np.zeros(len(self._parts), bool)
        for index in range(len(self._parts)):
            with contextlib.suppress(UserError):  # a torn episode is reported when it is read
                rows = self._read(index, (TERMINATED,))
                terminated[index] = self._numbers(rows, TERMINATED, index)[-1:].any()
        return terminated

    def _readers(self) -> Iterator[Callable[[], dict[str, np.ndarray]]] | None:
        """Functions that return each episode's columns; None if the files are not fetched yet."""
        if self._parts is None:
            return None
        return (partial(self.columns, index) for index in range(len(self._parts)))
