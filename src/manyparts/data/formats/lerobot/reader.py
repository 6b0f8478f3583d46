"""Reads episodes of a LeRobotDataset where they lie: rows of parquet files, embedded pictures, videos."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manyparts.data.formats.errors import Complain, fitting, one_line, reading, refuse
from manyparts.data.formats.lerobot import foreign, layout
from manyparts.data.formats.lerobot.metadata import Metadata, inside, read_metadata
from manyparts.data.formats.reader import EXPERT_ACTION, Contents
from manyparts.data.png import decode_png
from manyparts.data.video import read_frames
from manyparts.naming import columns_of_today, own_entry
from manyparts.types import Spec, UserError

_PICTURES = ("image", "video")
_KEPT_BYTES = 2**28


class LeRobotReader:
    """See `formats.reader.Reader`. complain: hears of counts that disagree. features: of info.json, under the names
    that columns have today.

    Raises UserError naming what is missing, torn, or disagrees with something else.
    """

    def __init__(self, path: Path, complain: Complain = refuse) -> None:
        self.path = path
        self.metadata: Metadata = read_metadata(path, complain)
        with fitting(path / "meta", "LeRobotDataset"):
            features: dict[str, Any] = self.metadata.info["features"]
            self.features = columns_of_today(features)
            self._stored_name = dict(zip(self.features, features, strict=True))
            self._left_out = foreign.drop_unlike_expert(self.features)
            self._cameras = foreign.camera_features(self.features)
            strange = (*_PICTURES, "string")
            self._numeric = tuple(name for name, item in self.features.items() if item["dtype"] not in strange)
            self.contents = self._describe()
        self._check_files(complain)
        self._opened = threading.local()

    def _describe(self) -> Contents:
        metadata, info = self.metadata, self.metadata.info
        ours = own_entry(info) or {}
        kinds = {self.features[feature]["dtype"] for feature in self._cameras.values()}
        spec = Spec.from_dict(ours["spec"]) if ours else foreign.derive_spec(info, metadata.statistics)
        sizes = foreign.camera_sizes(self.features)
        if dict(spec.cameras) != sizes:
            raise UserError(
                f"{self.path / layout.INFO} tells of cameras {dict(spec.cameras)}; its features are {sizes}"
            )
        return Contents(
            format=f"LeRobotDataset {info['codebase_version']}",
            spec=spec,
            fps=float(info["fps"]),
            tasks=metadata.tasks,
            lengths=metadata.lengths,
            episode_task=metadata.episode_task,
            statistics=metadata.statistics,
            images=", ".join(sorted("png" if kind == "image" else kind for kind in kinds)) or "none",
            environment=dict(ours.get("environment", {})),
            seeds=metadata.seeds,
            noisy=metadata.noisy,
            succeeded=metadata.succeeded,
            left_out=self._left_out,
        )

    @property
    def expert_column(self) -> str | None:
        """What the files call the column of the expert's actions; None where they have none."""
        return self._stored_name[EXPERT_ACTION] if EXPERT_ACTION in self.features else None

    def columns(self, index: int) -> dict[str, np.ndarray]:
        stored = {name: self._stored_name[name] for name in self._numeric}
        table = self._read_rows(index, tuple(stored.values()))
        return {name: _to_numpy(table[column]) for name, column in stored.items()}

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        feature = self._cameras[camera]
        if self.features[feature]["dtype"] == "video":
            video = self.metadata.videos[feature][index]
            fps = float(self.metadata.info["fps"])
            return read_frames(video.file, video.begin + rows / fps, fps)
        return self._stored_frames(index, feature, rows)

    def files(self) -> Iterator[Path]:
        return (file for part in ("meta", "data", "videos") for file in (self.path / part).rglob("*") if file.is_file())

    def _check_files(self, complain: Complain) -> None:
        """Each data file's footer is whole and counts the rows the episodes promise; each video exists."""
        for file, rows in self._count_rows().items():
            with reading(file):
                found = pq.read_metadata(file).num_rows
            if found != rows:
                complain(f"{file} has {found} rows; meta/episodes counts {rows}")
        for file in dict.fromkeys(video.file for videos in self.metadata.videos.values() for video in videos):
            if not file.is_file():
                complain(f"{file} is missing")

    def _count_rows(self) -> dict[Path, int]:
        """How many rows each data file should have, and in which of them each episode begins."""
        expected: dict[Path, int] = {}
        self._row_in_file = np.zeros(len(self.metadata.lengths), np.int64)
        for index, (file, length) in enumerate(zip(self.metadata.data_files, self.metadata.lengths, strict=True)):
            self._row_in_file[index] = expected.get(file, 0)
            expected[file] = expected.get(file, 0) + int(length)
        return expected

    def _read_rows(self, index: int, columns: tuple[str, ...]) -> pa.Table:
        """Some columns of one episode, read from the row groups that hold it."""
        file, length = self.metadata.data_files[index], int(self.metadata.lengths[index])
        with reading(file):
            opened, offsets = self._open_file(file)
            missing = set(columns) - set(opened.schema_arrow.names)
            if missing:
                raise UserError(f"{file} has no column {', '.join(sorted(missing))}")
            first = int(self._row_in_file[index])
            groups = range(np.searchsorted(offsets, first, "right") - 1, np.searchsorted(offsets, first + length))
            return self._read_groups(opened, groups, columns).slice(first - offsets[groups[0]], length)

    def _read_groups(self, opened: pq.ParquetFile, groups: range, columns: tuple[str, ...]) -> pa.Table:
        """Row groups of the file that is open; kept for the next episode, since others put many episodes into one."""
        kept: dict[tuple[str, ...], tuple[range, pa.Table]] = self._opened.kept
        if columns in kept and kept[columns][0] == groups:
            return kept[columns][1]
        table = opened.read_row_groups(list(groups), columns=list(columns), use_threads=False)
        kept.pop(columns, None)
        if table.nbytes < _KEPT_BYTES:
            kept[columns] = groups, table
        return table

    def _open_file(self, file: Path) -> tuple[pq.ParquetFile, np.ndarray]:
        """The open file and the first row of each of its row groups; one is kept open a thread."""
        if getattr(self._opened, "file", None) != file:
            opened = pq.ParquetFile(file)
            sizes = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
            self._opened.file, self._opened.kept = file, {}
            self._opened.content = opened, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return self._opened.content

    def _stored_frames(self, index: int, feature: str, rows: np.ndarray) -> np.ndarray:
        pictures = self._read_rows(index, (feature,))[feature].take(pa.array(rows)).to_pylist()
        frames = []
        for row, picture in zip(rows, pictures, strict=True):
            try:
                content = picture["bytes"]
                if content is None:
                    content = inside(self.path, picture["path"]).read_bytes()
                frames.append(decode_png(content))
            except (OSError, ValueError, SyntaxError, TypeError, AttributeError) as error:
                where = f"{self.metadata.data_files[index]}: episode {index}, frame {row}, {feature}"
                raise UserError(f"{where} is not a readable picture: {one_line(error)}") from error
        return np.stack(frames)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_opened"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._opened = threading.local()


def _to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    array = column.combine_chunks()
    if pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type) or pa.types.is_large_list(array.type):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), -1)
    return array.to_numpy(zero_copy_only=False)
