"""Minari's datasets (HDF5, Arrow or Parquet storage): read in place, and written as HDF5.

An episode there has one observation more than actions; the last one is not read, and is the one before once more where
we write.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.dataset as arrow_dataset

from manyparts.data.formats import arrays
from manyparts.data.formats.arrays import UNKNOWN, Entry
from manyparts.data.formats.errors import fitting, one_line, read_json
from manyparts.data.formats.hdf5 import Hdf5File, open_hdf5
from manyparts.data.formats.ours import Ours
from manyparts.data.formats.reader import ACTION, DONE, EXPERT_ACTION, REWARD, STATE, SUCCESS, Contents
from manyparts.data.png import decode_png
from manyparts.naming import own_entry
from manyparts.types import TaskEntry, UserError

METADATA, MAIN = "metadata.json", "main_data.hdf5"
_FPS = 20.0  # Minari stores no rate


class MinariReader:
    """See `formats.reader.Reader`. path: the folder of the dataset, or its `data`. Raises UserError naming what is
    missing or torn."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = path / "data" if (path / "data" / METADATA).is_file() else path
        where = self._folder / METADATA
        metadata = read_json(where)
        with fitting(where, "Minari"):
            self._observed = _Space.read(metadata["observation_space"], where)
            self._acted = _Space.read(metadata["action_space"], where)
            kind, count = str(metadata.get("data_format", "hdf5")), int(metadata["total_episodes"])
            if kind not in ("hdf5", "arrow", "parquet"):
                raise UserError(f"{where} has data_format {kind!r}; can be read: hdf5, arrow, parquet")
            if count < 1:
                raise UserError(f"{where} counts no episodes")
            self._storage: _Storage = (
                _Hdf5Storage(self._folder, count) if kind == "hdf5" else _ArrowStorage(self._folder, kind, count)
            )
            self._pictures = {
                name
                for name, space in self._observed.leaves()
                if space.is_image and self._storage.is_encoded(f"observations{_slash(name)}", space.shape)
            }
            self._plan = arrays.plan({name: Entry(space.shape, space.dtype) for name, space in self._observed.leaves()})
            self._lengths = np.asarray([self._storage.length(index) for index in range(count)], dtype=np.int64)
            if self._lengths.min() < 1:
                raise UserError(f"{self._folder} holds an empty episode")
            self._ours = Ours.read(own_entry(metadata) or {}, where)
            self.contents = self._describe(metadata, kind)

    def columns(self, index: int) -> dict[str, np.ndarray]:
        length = int(self._lengths[index])
        wanted = {f"observations{_slash(name)}" for name in self._plan.state}
        wanted |= {f"actions{_slash(name)}" for name, _ in self._acted.leaves()}
        found = self._storage.numbers(index, wanted | {"rewards", "terminations", "truncations"}, length)
        actions = [found[f"actions{_slash(name)}"] for name, _ in self._acted.leaves()]
        observed = {name: found[f"observations{_slash(name)}"] for name in self._plan.state}
        columns = {
            STATE: self._plan.state_of(observed, length),
            ACTION: np.concatenate([part.reshape(length, -1).astype(np.float32) for part in actions], axis=1),
            REWARD: arrays.one_a_step(found["rewards"], length, f"{self._folder}: rewards of episode {index}"),
            DONE: found["terminations"].reshape(length).astype(bool)
            | found["truncations"].reshape(length).astype(bool),
        }
        for name, key in ((SUCCESS, "success"), (EXPERT_ACTION, "expert_action")):
            if (told := self._storage.info(index, key, length)) is not None:
                columns[name] = told.astype(bool).reshape(length) if key == "success" else told.reshape(length, -1)
        if EXPERT_ACTION in columns and columns[EXPERT_ACTION].shape != columns[ACTION].shape:
            del columns[EXPERT_ACTION]  # others may call something else so
        return columns

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        name, height, width = self._plan.cameras[camera]
        key = f"observations{_slash(name)}"
        if name not in self._pictures:
            return arrays.colour(self._storage.frames(index, key, rows).reshape(len(rows), height, width, -1))
        frames = []
        for row, content in zip(rows, self._storage.blobs(index, key, rows), strict=True):
            try:
                frames.append(decode_png(content))
            except (OSError, ValueError, SyntaxError) as error:
                raise UserError(
                    f"{self._folder}: episode {index}, frame {row}, {name} is not a readable picture: {one_line(error)}"
                ) from error
        return np.stack(frames)

    def files(self) -> Iterator[Path]:
        return (file for file in self._folder.rglob("*") if file.is_file())

    def _describe(self, metadata: Mapping[str, Any], kind: str) -> Contents:
        count = len(self._lengths)
        name = str(metadata.get("dataset_id") or self.path.name)
        statistics = arrays.gather_statistics(map(self.columns, range(count)), self._folder)
        choices = tuple(f"choice_{number}" for number in range(self._acted.choices))
        known: dict[str, Any] = {
            "format": f"Minari ({kind})",
            "lengths": self._lengths,
            "statistics": statistics,
            "images": ("jpeg" if self._pictures else "raw") if self._plan.cameras else "none",
            "seeds": self._storage.seeds(),
        }
        if self._ours:
            numbers = self._ours.task_numbers()
            return Contents(
                spec=self._plan.require(self._ours.spec, self._folder),
                fps=self._ours.fps,
                tasks=self._ours.tasks,
                episode_task=np.asarray([numbers[self._storage.task(index)] for index in range(count)]),
                environment=self._ours.environment,
                succeeded=np.asarray([self.columns(index)[SUCCESS].any() for index in range(count)]),
                **known,
            )
        return Contents(
            spec=arrays.spec_of(
                self._plan,
                statistics,
                embodiment=name.rpartition("/")[0] or name,
                fps=_FPS,
                bounds=self._acted.bounds(),
                choices=choices,
            ),
            fps=_FPS,
            tasks=(TaskEntry(f"{UNKNOWN}/0", str(metadata.get("description") or name)),),
            episode_task=np.zeros(count, np.int64),
            left_out=self._plan.left_out,
            **known,
        )


class _Space:
    """A gymnasium space as Minari writes it: a box, a choice, or a tree of these."""

    def __init__(self, values: Mapping[str, Any], where: Path) -> None:
        self.kind = str(values["type"])
        self.children: dict[str, _Space] = {}
        self.shape, self.dtype, self.choices = tuple[int, ...](), np.dtype("O"), 0
        self.low = self.high = np.zeros(0)
        if self.kind in ("Dict", "Tuple"):
            inner = values["subspaces"]
            named = inner.items() if self.kind == "Dict" else ((f"_index_{n}", each) for n, each in enumerate(inner))
            self.children = {str(name): _Space(each, where) for name, each in named}
        elif self.kind == "Box":
            self.shape, self.dtype = tuple(int(side) for side in values["shape"]), np.dtype(str(values["dtype"]))
            self.low, self.high = (np.asarray(values[name], np.float64) for name in ("low", "high"))
        elif self.kind == "Discrete":
            self.dtype, self.choices = np.dtype(np.int64), int(values["n"])
            start = int(values.get("start", 0))
            self.low, self.high = np.asarray([start], np.float64), np.asarray([start + self.choices - 1.0])
        elif self.kind in ("MultiDiscrete", "MultiBinary"):
            size = np.shape(values["nvec"]) if self.kind == "MultiDiscrete" else np.ravel(values["n"])
            self.shape, self.dtype = tuple(int(side) for side in size), np.dtype(np.int64)

    @classmethod
    def read(cls, text: Any, where: Path) -> _Space:
        try:
            values = json.loads(text) if isinstance(text, str) else text
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where} has a space that is not readable JSON: {one_line(error)}") from error
        return cls(values, where)

    @property
    def is_image(self) -> bool:
        """Whether Minari takes it for a picture, which it stores as JPEG."""
        return (
            self.kind == "Box"
            and self.dtype == np.uint8
            and (len(self.shape) == 2 or (len(self.shape) == 3 and self.shape[2] in (1, 3)))
        )

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, _Space]]:
        """Boxes and choices with their paths; "" for a space that is no tree."""
        if not self.children:
            yield prefix, self
        for name, child in self.children.items():
            yield from child.leaves(f"{prefix}/{name}" if prefix else name)

    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Of a space that is no tree."""
        return (self.low, self.high) if len(self.low) else None


class _Storage(Protocol):
    """Episodes by their number. Names are paths such as "observations/hand". is_encoded: whether that array holds JPEG:
    Minari's own flag does not tell, since it leaves small pictures alone."""

    def length(self, index: int) -> int: ...
    def is_encoded(self, name: str, shape: tuple[int, ...]) -> bool: ...
    def numbers(self, index: int, names: set[str], length: int) -> dict[str, np.ndarray]: ...
    def frames(self, index: int, name: str, rows: np.ndarray) -> np.ndarray: ...
    def blobs(self, index: int, name: str, rows: np.ndarray) -> list[bytes]: ...
    def info(self, index: int, name: str, length: int) -> np.ndarray | None: ...
    def task(self, index: int) -> str: ...
    def seeds(self) -> np.ndarray | None: ...


class _Hdf5Storage:
    def __init__(self, folder: Path, count: int) -> None:
        self._count = count
        self._file: Hdf5File = open_hdf5(folder / MAIN)
        if (found := len(self._file.names(self._file.group("")))) != count:
            raise UserError(f"{folder / MAIN} has {found} episodes; {METADATA} counts {count}")

    def length(self, index: int) -> int:
        return len(self._array(index, "rewards"))

    def is_encoded(self, name: str, shape: tuple[int, ...]) -> bool:
        return self._file.entry(self._array(0, name)).shape != shape

    def numbers(self, index: int, names: set[str], length: int) -> dict[str, np.ndarray]:
        return {name: self._first(self._file.read(self._array(index, name)), length, index, name) for name in names}

    def frames(self, index: int, name: str, rows: np.ndarray) -> np.ndarray:
        return self._file.read(self._array(index, name), rows)

    def blobs(self, index: int, name: str, rows: np.ndarray) -> list[bytes]:
        return self._file.blobs(self._array(index, name), rows)

    def info(self, index: int, name: str, length: int) -> np.ndarray | None:
        group = self._file.group(f"episode_{index}")
        if "infos" not in self._file.names(group) or name not in self._file.names(self._array(index, "infos")):
            return None
        return self._file.read(self._array(index, f"infos/{name}"))[-length:]  # with or without the reset's own

    def task(self, index: int) -> str:
        return str(self._file.attributes(self._array(index, ""))["task"])

    def seeds(self) -> np.ndarray | None:
        told = [self._file.attributes(self._array(index, "")).get("seed", -1) for index in range(self._count)]
        return np.asarray([int(seed) for seed in told], dtype=np.int64)

    def _array(self, index: int, name: str) -> Any:
        return self._file.group(f"episode_{index}/{name}")

    def _first(self, values: np.ndarray, length: int, index: int, name: str) -> np.ndarray:
        if len(values) < length:
            raise UserError(f"{self._file.path}: episode_{index} has {len(values)} {name}, {length} rewards")
        return values[:length]


class _ArrowStorage:
    """A folder an episode; rewards and actions have one row too many, which is padding."""

    def __init__(self, folder: Path, kind: str, count: int) -> None:
        self._folder, self._kind = folder, kind
        for index in range(count):
            if not (folder / str(index)).is_dir():
                raise UserError(f"{folder / str(index)} is missing; {METADATA} counts {count} episodes")
        self._count = count

    def length(self, index: int) -> int:
        return self._table(index, ["rewards"]).num_rows - 1

    def is_encoded(self, name: str, shape: tuple[int, ...]) -> bool:
        kind = self._column(self._table(0, [name.partition("/")[0]]), name).type
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    def numbers(self, index: int, names: set[str], length: int) -> dict[str, np.ndarray]:
        table = self._table(index, sorted({name.partition("/")[0] for name in names}))
        return {name: _dense(self._column(table, name).slice(0, length)) for name in names}

    def frames(self, index: int, name: str, rows: np.ndarray) -> np.ndarray:
        return _dense(self._rows(index, name, rows))

    def blobs(self, index: int, name: str, rows: np.ndarray) -> list[bytes]:
        return self._rows(index, name, rows).to_pylist()

    def info(self, index: int, name: str, length: int) -> np.ndarray | None:
        try:
            found = self._column(self._table(index, ["infos"]), f"infos/{name}")
        except UserError:
            return None
        return _dense(found)[-length:]

    def task(self, index: int) -> str:
        return str(read_json(self._folder / str(index) / METADATA)["task"])

    def seeds(self) -> np.ndarray | None:
        told = [read_json(self._folder / str(index) / METADATA).get("seed", -1) for index in range(self._count)]
        return np.asarray(told, dtype=np.int64)

    def _rows(self, index: int, name: str, rows: np.ndarray) -> pa.Array:
        return self._column(self._table(index, [name.partition("/")[0]]), name).take(pa.array(rows))

    def _table(self, index: int, columns: Sequence[str]) -> pa.Table:
        where = self._folder / str(index)
        try:
            episode = arrow_dataset.dataset(where, format=self._kind, ignore_prefixes=["_", ".", METADATA])
            return episode.to_table(columns=list(columns), use_threads=False)
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise UserError(f"{where} cannot be read as {self._kind}: {one_line(error)}") from error

    def _column(self, table: pa.Table, name: str) -> pa.Array:
        first, *inner = name.split("/")
        column = table[first].combine_chunks()
        for part in inner:
            index = column.type.get_field_index(part.removeprefix("_index_")) if pa.types.is_struct(column.type) else -1
            index = column.type.get_field_index(part) if index < 0 and pa.types.is_struct(column.type) else index
            if index < 0:
                raise UserError(f"{self._folder} has no {name}")
            column = column.field(index)
        return column


def _dense(values: pa.Array) -> np.ndarray:
    """An Arrow array of numbers, or of lists of equal length."""
    if pa.types.is_fixed_size_list(values.type) or pa.types.is_list(values.type):
        return values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), -1)
    return values.to_numpy(zero_copy_only=False)


def _slash(name: str) -> str:
    return f"/{name}" if name else ""
