"""The growing files of a dataset being written: frames, videos and episodes, each rolled over at
its size limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manyparts.data.formats.files import arrow_path
from manyparts.data.formats.lerobot import layout
from manyparts.data.video import VideoWriter, encode_video

_EPISODES_A_FLUSH = 100


class FrameFiles:
    """data/: a row a frame, a row group an episode, a new file where the size limit would be
    passed."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder, self._schema = folder, schema
        self.place: tuple[int, int] = (0, -1)
        self._writer: pq.ParquetWriter | None = None
        self._bytes = 0

    def add(
        self, columns: Mapping[str, np.ndarray], pictures: Mapping[str, Sequence[bytes]]
    ) -> tuple[int, int]:
        table = pa.Table.from_arrays(
            [self._array(field, columns, pictures) for field in self._schema], schema=self._schema
        )
        if self._writer is None or self._bytes + table.nbytes > layout.DATA_FILE_MEGABYTES * 2**20:
            self._open_next()
        assert self._writer is not None
        self._writer.write_table(table, row_group_size=table.num_rows)
        self._bytes += table.nbytes
        return self.place

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open_next(self) -> None:
        self.close()
        self.place = layout.next_file(*self.place)
        path = self._folder / layout.DATA.format(
            chunk_index=self.place[0], file_index=self.place[1]
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        statistics: Any = list(layout.STANDARD)  # of pictures they would be copies
        self._writer = pq.ParquetWriter(
            arrow_path(path),
            self._schema,
            compression="snappy",
            use_dictionary=False,
            write_statistics=statistics,
        )
        self._bytes = 0

    def _array(
        self,
        field: pa.Field,
        columns: Mapping[str, np.ndarray],
        pictures: Mapping[str, Sequence[bytes]],
    ) -> pa.Array:
        if field.name in pictures:
            content = pictures[field.name]
            names = [f"frame-{index:06d}.png" for index in range(len(content))]
            return pa.StructArray.from_arrays(
                [pa.array(content, pa.binary()), pa.array(names)], ["bytes", "path"]
            )
        values = columns[field.name]
        if not pa.types.is_fixed_size_list(field.type):
            return pa.array(values.ravel(), field.type)
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), type=field.type)


class VideoFiles:
    """videos/<key>/: episodes joined in one mp4, a new one where the size limit would be passed."""

    def __init__(self, folder: Path, key: str, fps: float) -> None:
        self._folder, self._key, self._fps = folder, key, fps
        self.place: tuple[int, int] = (0, -1)
        self._writer: VideoWriter | None = None

    def add(self, frames: np.ndarray) -> dict[str, Any]:
        """The columns of the episodes file that say where the episode's frames went."""
        video = encode_video(frames, self._fps)
        if (
            self._writer is None
            or self._writer.bytes + len(video) > layout.VIDEO_FILE_MEGABYTES * 2**20
        ):
            self._open_next()
        assert self._writer is not None
        begin, end = self._writer.add(video, len(frames))
        where = f"videos/{self._key}"
        chunk, file = self.place
        places = {f"{where}/chunk_index": chunk, f"{where}/file_index": file}
        return places | {f"{where}/from_timestamp": begin, f"{where}/to_timestamp": end}

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open_next(self) -> None:
        self.close()
        self.place = layout.next_file(*self.place)
        name = layout.VIDEO.format(
            video_key=self._key, chunk_index=self.place[0], file_index=self.place[1]
        )
        self._writer = VideoWriter(self._folder / name, self._fps)


class EpisodeFile:
    """meta/episodes/: a row an episode."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder, self._schema = folder, schema
        self.place: tuple[int, int] = (0, 0)
        self._rows: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None

    def add(self, row: Mapping[str, Any]) -> None:
        chunk, file = self.place
        places = {"meta/episodes/chunk_index": chunk, "meta/episodes/file_index": file}
        self._rows.append({**row, **places})
        if len(self._rows) == _EPISODES_A_FLUSH:
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
            path = self._folder / layout.EPISODES.format(
                chunk_index=self.place[0], file_index=self.place[1]
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(
                arrow_path(path), self._schema, compression="snappy", use_dictionary=False
            )
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []
