"""RLDS episodes as TensorFlow Datasets writes them: TFRecord shards and features.json; read in place.

A step's action and reward are those that follow its observation; on the last step they are invalid, so it is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.data.formats import arrays
from manyparts.data.formats.arrays import UNKNOWN, Entry
from manyparts.data.formats.errors import fitting, one_line, read_json
from manyparts.data.formats.reader import ACTION, DONE, REWARD, STATE, Contents
from manyparts.data.formats.tfrecord import TFRecordFile, Value
from manyparts.data.png import decode_png
from manyparts.types import UserError

FEATURES = "features.json"
_OBSERVATION, _ACTION, _LAST = "steps/observation/", "steps/action", "steps/is_last"
_SENTENCES = ("steps/language_instruction", "steps/observation/natural_language_instruction", "language_instruction")
_FPS = 10.0  # nothing tells
_PIXELS = 2**26


class RLDSReader:
    """See `formats.reader.Reader`. path: the folder of a version, with features.json. Raises UserError naming what is
    missing or torn."""

    def __init__(self, path: Path) -> None:
        self.path = path
        where = path / FEATURES
        with fitting(where, "RLDS"):
            self._features = dict(_flat(read_json(where)))
        self._shards = [TFRecordFile(file) for file in sorted(path.glob("*.tfrecord*"))]
        if not self._shards:
            raise UserError(f"{path} has {FEATURES} but no .tfrecord files")
        self._records = [(shard, number) for shard in self._shards for number in range(len(shard))]
        observed = {
            name.removeprefix(_OBSERVATION): entry
            for name, entry in self._features.items()
            if name.startswith(_OBSERVATION)
        }
        self._plan = arrays.plan({name: entry for name, entry in observed.items() if "embedding" not in name})
        self._actions = sorted(
            name
            for name, entry in self._features.items()
            if (name == _ACTION or name.startswith(f"{_ACTION}/")) and entry.dtype.kind in "biuf"
        )
        if not self._actions or not self._records:
            raise UserError(f"{path} holds no {'episodes' if self._actions else 'steps/action'}")
        self.contents = self._describe()

    def columns(self, index: int) -> dict[str, np.ndarray]:
        return self._columns(self._example(index), index)

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        name, height, width = self._plan.cameras[camera]
        pictures = self._example(index).get(_OBSERVATION + name)
        where = self._records[index][0].path
        if isinstance(pictures, np.ndarray):
            shape = (-1, height, width, self._features[_OBSERVATION + name].shape[-1])
            with fitting(where, "RLDS"):
                return arrays.colour(pictures.astype(np.uint8).reshape(shape)[rows])
        if pictures is None:
            raise UserError(f"{where}: episode {index} has no {name}")
        frames = []
        for row in rows:
            try:
                frames.append(decode_png(bytes(pictures[row])))
            except (OSError, ValueError, SyntaxError, IndexError) as error:
                raise UserError(
                    f"{where}: episode {index}, frame {row}, {name} is not a readable picture: {one_line(error)}"
                ) from error
        return np.stack(frames)

    def files(self) -> Sequence[Path]:
        return [self.path / FEATURES, *(shard.path for shard in self._shards)]

    def _describe(self) -> Contents:
        lengths, asked = [], []

        def seen() -> Iterator[dict[str, np.ndarray]]:
            for index in range(len(self._records)):
                example = self._example(index)
                columns = self._columns(example, index)
                lengths.append(len(columns[ACTION]))
                asked.append(_sentence(example) or self.path.name)
                yield columns

        statistics = arrays.gather_statistics(seen(), self.path)
        tasks, episode_task = arrays.tasks_of(asked)
        return Contents(
            format="RLDS",
            spec=arrays.spec_of(
                self._plan, statistics, embodiment=self.path.parent.name or UNKNOWN, named=False, fps=_FPS
            ),
            fps=_FPS,
            tasks=tasks,
            lengths=np.asarray(lengths, dtype=np.int64),
            episode_task=episode_task,
            statistics=statistics,
            images="encoded" if self._plan.cameras else "none",
            left_out=self._plan.left_out,
        )

    def _example(self, index: int) -> dict[str, Value]:
        shard, number = self._records[index]
        return shard.example(number)

    def _columns(self, example: Mapping[str, Value], index: int) -> dict[str, np.ndarray]:
        """Of all steps but the last."""
        steps = len(self._array(example, self._actions[0], index, None))
        length = steps - 1 if steps > 1 else steps

        def read(name: str) -> np.ndarray:
            return self._array(example, name, index, steps)[:length]

        state = {name: read(_OBSERVATION + name) for name in self._plan.state}
        actions = [read(name).reshape(length, -1).astype(np.float32) for name in self._actions]
        columns = {STATE: self._plan.state_of(state, length), ACTION: np.concatenate(actions, axis=1)}
        if "steps/reward" in example:
            where = f"{self.path}: steps/reward of episode {index}"
            columns[REWARD] = arrays.one_a_step(read("steps/reward"), length, where)
        done = np.zeros(length, bool)
        done[-1] = True
        return columns | {DONE: done}

    def _array(self, example: Mapping[str, Value], name: str, index: int, steps: int | None) -> np.ndarray:
        """A numeric feature of an episode: (T, *shape)."""
        where, entry = (
            f"{self._records[index][0].path}: episode {index}",
            self._features.get(name, Entry((), np.dtype("f4"))),
        )
        values = example.get(name)
        if not isinstance(values, np.ndarray):
            raise UserError(f"{where} has no numbers {name}")
        size = int(np.prod(entry.shape))
        if size < 1 or len(values) % size or (steps is not None and len(values) != steps * size) or not len(values):
            raise UserError(f"{where} has {len(values)} numbers of {name}, {size} a step")
        return values.reshape(-1, *entry.shape)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Entry]]:
    """The leaves of a features.json by their paths."""
    name = prefix.rstrip("/")
    if "featuresDict" in values:
        for key, child in values["featuresDict"]["features"].items():
            yield from _flat(child, f"{prefix}{key}/")
    elif "sequence" in values and "feature" in values["sequence"]:
        yield from _flat(values["sequence"]["feature"], prefix)
    elif "image" in values:
        yield name, Entry(_shape(values["image"]), np.dtype(np.uint8))
    elif "tensor" in values:
        dtype = str(values["tensor"].get("dtype", "object"))
        known = dtype in ("bool", "float32", "float64", "bfloat16", "float16") or dtype.startswith(("int", "uint"))
        yield name, Entry(_shape(values["tensor"]), _dtype(dtype) if known else np.dtype("O"))
    else:
        yield name, Entry((), np.dtype("O"))


def _dtype(name: str) -> np.dtype:
    """As the file holds it: floats as float32, all integers as int64, but for what tells pictures."""
    return np.dtype(np.float32 if "float" in name else np.uint8 if name == "uint8" else np.int64)


def _shape(values: Mapping[str, Any]) -> tuple[int, ...]:
    sides = tuple(int(side) for side in values.get("shape", {}).get("dimensions", ()))
    if any(side < 0 for side in sides) or int(np.prod(sides, dtype=object)) > _PIXELS:
        raise UserError(f"a feature of shape {sides} is not read")
    return sides


def _sentence(example: Mapping[str, Value]) -> str | None:
    for name in _SENTENCES:
        texts = example.get(name)
        if isinstance(texts, list) and texts:
            return bytes(texts[0]).decode("utf-8", "replace")
    return None
