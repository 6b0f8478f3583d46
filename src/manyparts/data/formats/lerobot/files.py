"""The files of a dataset that is being written: frames, videos and episodes.

Each continues in a new file when its size limit would be passed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manyparts.data.formats.files import arrow_path
from manyparts.data.formats.lerobot import layout
from manyparts.data.video import VideoWriter, encode_video

_EPISODES_PER_FLUSH = 100


class TableFiles:
    """data/: tables of rows, each in a row group of its own.

    A new file begins where the size limit would be passed, or the next table has another schema.

    Attributes:
        file_index: the (chunk, file) numbers of the current file.
    """

    def __init__(
        self,
        folder: Path,
        *,
        megabytes: float | None = None,
        files_per_chunk: int | None = None,
    ) -> None:
        """Write nothing yet.

        Args:
            folder: the dataset's folder.
            megabytes: the size limit of a file, of its content in memory; None: LeRobot's default.
            files_per_chunk: how many files a chunk folder holds; None: LeRobot's default.
        """
        self._folder, self._files_per_chunk = folder, files_per_chunk
        self._limit = 2**20 * (layout.DATA_FILE_MEGABYTES if megabytes is None else megabytes)
        self.file_index: tuple[int, int] = (0, -1)
        self._schema = pa.schema([])
        self._writer: pq.ParquetWriter | None = None
        self._bytes = 0

    def add(self, table: pa.Table) -> tuple[int, int]:
        """Write a table.

        Returns:
            The (chunk, file) numbers of its file.
        """
        is_full = self._bytes + table.nbytes > self._limit
        if self._writer is None or is_full or not table.schema.equals(self._schema):
            self._open_next(table.schema)
        assert self._writer is not None
        self._writer.write_table(table, row_group_size=table.num_rows)
        self._bytes += table.nbytes
        return self.file_index

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open_next(self, schema: pa.Schema) -> None:
        self.close()
        self.file_index = free_file(
            self._folder, layout.DATA, self.file_index, files_per_chunk=self._files_per_chunk
        )
        path = self._folder / _name(layout.DATA, self.file_index)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Statistics of images would be copies of images.
        statistics: Any = [name for name in layout.STANDARD if name in schema.names]
        self._writer = pq.ParquetWriter(
            arrow_path(path),
            schema,
            compression="snappy",
            use_dictionary=False,
            write_statistics=statistics,
        )
        self._schema, self._bytes = schema, 0


class FrameFiles:
    """data/: one row per frame, one row group per episode.

    Attributes:
        files: the files.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self.files = TableFiles(folder)

    def add(
        self, columns: Mapping[str, np.ndarray], images: Mapping[str, Sequence[bytes]]
    ) -> tuple[int, int]:
        """Write an episode.

        Args:
            columns: feature name to (T,) or (T, d).
            images: feature name to T encoded images.

        Returns:
            The (chunk, file) numbers of its file.
        """
        arrays = [self._array(field, columns, images) for field in self._schema]
        return self.files.add(pa.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        self.files.close()

    def _array(
        self,
        field: pa.Field,
        columns: Mapping[str, np.ndarray],
        images: Mapping[str, Sequence[bytes]],
    ) -> pa.Array:
        if field.name in images:
            content = images[field.name]
            names = [f"frame-{index:06d}.png" for index in range(len(content))]
            return pa.StructArray.from_arrays(
                [pa.array(content, pa.binary()), pa.array(names)], ["bytes", "path"]
            )
        values = columns[field.name]
        if not pa.types.is_fixed_size_list(field.type):
            return pa.array(values.ravel(), field.type)
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), type=field.type)


class VideoFiles:
    """videos/<key>/: the episodes of one camera, joined in one mp4.

    Attributes:
        file_index: the (chunk, file) numbers of the current file.
    """

    def __init__(self, folder: Path, key: str, fps: float) -> None:
        self._folder, self._key, self._fps = folder, key, fps
        self.file_index: tuple[int, int] = (0, -1)
        self._writer: VideoWriter | None = None

    def add(self, frames: np.ndarray) -> dict[str, Any]:
        """Encode and write an episode's frames, uint8 (T, h, w, 3).

        Returns:
            The columns of the episodes file that say where they are.
        """
        video = encode_video(frames, self._fps)
        limit = layout.VIDEO_FILE_MEGABYTES * 2**20
        if self._writer is None or self._writer.bytes + len(video) > limit:
            self._open_next()
        assert self._writer is not None
        begin, end = self._writer.add(video, len(frames))
        prefix = f"videos/{self._key}"
        chunk, file = self.file_index
        return {
            f"{prefix}/chunk_index": chunk,
            f"{prefix}/file_index": file,
            f"{prefix}/from_timestamp": begin,
            f"{prefix}/to_timestamp": end,
        }

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open_next(self) -> None:
        self.close()
        pattern = layout.VIDEO.replace("{video_key}", self._key)
        self.file_index = free_file(self._folder, pattern, self.file_index)
        self._writer = VideoWriter(self._folder / _name(pattern, self.file_index), self._fps)


class EpisodeFile:
    """meta/episodes/: one row per episode.

    Attributes:
        file_index: the (chunk, file) numbers of the file.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder, self._schema = folder, schema
        self.file_index: tuple[int, int] = (0, 0)
        self._rows: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None

    def add(self, row: Mapping[str, Any]) -> None:
        """Add an episode's row."""
        chunk, file = self.file_index
        own_file = {"meta/episodes/chunk_index": chunk, "meta/episodes/file_index": file}
        self._rows.append({**row, **own_file})
        if len(self._rows) == _EPISODES_PER_FLUSH:
            self._flush()

    def close(self) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            path = self._folder / _name(layout.EPISODES, self.file_index)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(
                arrow_path(path), self._schema, compression="snappy", use_dictionary=False
            )
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


def free_file(
    folder: Path, pattern: str, last: tuple[int, int], *, files_per_chunk: int | None = None
) -> tuple[int, int]:
    """The (chunk, file) numbers that follow, without those that somebody else's file has.

    Args:
        folder: the dataset's folder.
        pattern: a file's name, see `layout`.
        last: the numbers of the last file.
        files_per_chunk: see `TableFiles`.
    """
    index = layout.next_file(*last, files_per_chunk=files_per_chunk)
    while os.path.lexists(folder / _name(pattern, index)):
        index = layout.next_file(*index, files_per_chunk=files_per_chunk)
    return index


def _name(pattern: str, index: tuple[int, int]) -> str:
    return pattern.format(chunk_index=index[0], file_index=index[1])
