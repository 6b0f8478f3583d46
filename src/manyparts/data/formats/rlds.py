"""RLDS episodes as TensorFlow Datasets writes them: TFRecord shards and features.json; read in
place.

A step's action and reward are those that follow its observation; on the last step they are invalid,
so it is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from manyparts.core.columns import ACTION, DONE, REWARD, STATE
from manyparts.core.errors import UserError
from manyparts.data.formats import arrays
from manyparts.data.formats.arrays import UNKNOWN, EpisodeArrays
from manyparts.data.formats.encoded_images import IMAGE_ERRORS, encoding_of, image_info, is_colour
from manyparts.data.formats.errors import Complain, format_errors, one_line, refuse
from manyparts.data.formats.kinds import ArrayInfo
from manyparts.data.formats.reader import Contents
from manyparts.data.formats.rlds_features import FEATURES, STEPS, Feature, read_features
from manyparts.data.formats.rlds_shards import Shards, read_shards
from manyparts.data.formats.texts import (
    changing_note,
    decode_texts,
    distinct_texts,
    instruction_names,
)
from manyparts.data.formats.tfrecord import Value
from manyparts.data.png import decode_png
from manyparts.embodiment.statistics import sample_rows

__all__ = ["FEATURES", "RLDSReader"]

_OBSERVATION, _ACTION, _REWARD = "steps/observation/", "steps/action", "steps/reward"
_FLOW = tuple(f"{STEPS}{name}" for name in ("is_first", "is_last", "is_terminal", "discount"))
_FPS = 10.0  # nothing tells
_PIXELS = 2**26
_LOOKED_AT = 32  # episodes that decide what most are like
_VERSION = re.compile(r"\d+\.\d+\.\d+")


class RLDSReader:
    """See `formats.reader.Reader`. path: the folder of a version, with features.json. complain: is
    called for each episode that is torn or unlike most. Raises UserError naming what is missing."""

    def __init__(self, path: Path, complain: Complain = refuse) -> None:
        self.path = path
        self._features = read_features(path)
        self._actions = sorted(
            name
            for name, feature in self._features.items()
            if (name == _ACTION or name.startswith(f"{_ACTION}/")) and feature.kind == "numbers"
        )
        if not self._actions:
            raise UserError(f"{path / FEATURES} has no numbers {_ACTION}")
        shards = read_shards(path)
        for what, episode in shards.torn:
            complain(what, episode)
        self._shards, self._records = shards.files, shards.records
        if not self._records:
            raise UserError(f"{path} holds no episodes")
        whole = path.resolve()
        self._name = shards.name or (
            whole.parent.name if _VERSION.match(whole.name) else whole.name
        )
        looked_at = sample_rows(len(self._records), _LOOKED_AT).tolist()
        sample = list(self._readable(looked_at)) or [self._example(0)]
        self._texts = self._find_texts(sample)
        self._wanted, self._plan = self._agree(sample)
        self.contents = self._describe(shards, complain)

    def columns(self, index: int) -> dict[str, np.ndarray]:
        return self._columns(self._example(index))

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        name, height, width = self._plan.cameras[camera]
        pictures = self._example(index)[_OBSERVATION + name]
        where = f"{self._records[index].shard.path}: episode {self._records[index].name}"
        if isinstance(pictures, np.ndarray):
            shape = (-1, *self._wanted[_OBSERVATION + name].shape)
            with format_errors(self._records[index].shard.path, "RLDS"):
                return arrays.colour(pictures.astype(np.uint8).reshape(shape)[rows])
        frames = []
        for row in rows:
            try:
                frame = decode_png(bytes(pictures[row]))
            except IMAGE_ERRORS as error:
                raise UserError(
                    f"{where}, frame {row}, {name} is not a readable image: {one_line(error)}"
                ) from error
            if frame.shape[:2] != (height, width):
                size = "x".join(map(str, frame.shape[:2]))
                raise UserError(
                    f"{where}, frame {row}, {name} has {size} pixels, the first one {height}x{width}"
                )
            frames.append(frame)
        return np.stack(frames)

    def files(self) -> Sequence[Path]:
        return [self.path / FEATURES, *(shard.path for shard in self._shards)]

    def _find_texts(self, sample: Sequence[Mapping[str, Value]]) -> list[str]:
        """The features that hold the instruction, the likeliest first."""
        return [
            name for name in instruction_names(self._features) if self._holds_text(name, sample)
        ]

    def _holds_text(self, name: str, sample: Sequence[Mapping[str, Value]]) -> bool:
        if self._features[name].kind != "numbers":
            return self._features[name].kind == "text"
        decoded = [self._text_of(example, name) for example in sample]  # of character codes
        return None not in decoded and any(any(each) for each in decoded if each)

    def _agree(
        self, sample: Sequence[Mapping[str, Value]]
    ) -> tuple[dict[str, ArrayInfo], arrays.Plan]:
        """What of each step is read, by its whole name, and how the observations are put
        together."""
        entries, left_out = arrays.majority_layout([self._look(example) for example in sample])
        if lacking := [name for name in self._actions if name not in entries]:
            raise UserError(
                f"{self.path}: {lacking[0]} {left_out.get(lacking[0], 'is in no episode')}"
            )
        observed = {
            _short(name): entry for name, entry in entries.items() if name.startswith(_OBSERVATION)
        }
        plan = arrays.plan(
            observed,
            {_short(name): why for name, why in left_out.items()},
            lambda name: self._seen(sample, _OBSERVATION + name, observed[name]),
        )
        read = {
            _OBSERVATION + name
            for name in (*plan.state, *(camera[0] for camera in plan.cameras.values()))
        }
        read |= {_REWARD, *self._actions}
        return {name: entry for name, entry in entries.items() if name in read}, plan

    def _seen(
        self, sample: Sequence[Mapping[str, Value]], name: str, entry: ArrayInfo
    ) -> Iterator[np.ndarray]:
        """A feature's values (T, ...) in the sampled episodes that have them in this shape."""
        for example in sample:
            values, steps = example.get(name), self._steps(example)
            if isinstance(values, np.ndarray) and values.size == steps * int(np.prod(entry.shape)):
                whole = entry.dtype.kind in "iu"
                yield values.astype(np.int64 if whole else values.dtype).reshape(
                    steps, *entry.shape
                )

    def _describe(self, shards: Shards, complain: Complain) -> Contents:
        lengths: dict[int, int] = {}
        asked: dict[int, list[str]] = {}

        def read(number: int) -> dict[str, np.ndarray]:
            example = self._example(number)
            if why := self._look(example).difference_from(self._wanted):
                raise UserError(f"{self._records[number].shard.path}: {why.removeprefix(STEPS)}")
            columns = self._columns(example)
            lengths[number] = len(columns[ACTION])
            asked[number] = distinct_texts(self._said(example, name) for name in self._texts)
            return columns

        names = [record.name for record in self._records]
        sound, statistics = arrays.collect_episodes(
            names, read, self.path, complain, self._plan.state_names
        )
        self._records = tuple(self._records[number] for number in sound)
        tasks, episode_task = arrays.tasks_of(
            [(asked[number] or [self._name])[0] for number in sound]
        )
        changing = sum(len(asked[number]) > 1 for number in sound)
        return Contents(
            format="RLDS",
            spec=arrays.spec_of(
                self._plan, statistics, embodiment=self._name or UNKNOWN, named=False, fps=_FPS
            ),
            fps=_FPS,
            tasks=tasks,
            lengths=np.asarray([lengths[number] for number in sound], dtype=np.int64),
            episode_task=episode_task,
            statistics=statistics,
            images="encoded" if self._plan.cameras else "none",
            left_out=self._plan.left_out,
            episode_names=tuple(names[number] for number in sound),
            notes=(*shards.notes, *changing_note(changing)),
        )

    def _example(self, index: int) -> dict[str, Value]:
        record = self._records[index]
        return record.shard.example(record.number)

    def _readable(self, numbers: Iterable[int]) -> Iterator[dict[str, Value]]:
        for number in numbers:
            with suppress(UserError):
                yield self._example(number)

    def _columns(self, example: Mapping[str, Value]) -> dict[str, np.ndarray]:
        """Of all steps but the last."""
        steps = self._steps(example)
        length = steps - 1 if steps > 1 else steps

        def read(name: str) -> np.ndarray:
            values = example[name]
            assert isinstance(values, np.ndarray)
            return values.reshape(steps, *self._wanted[name].shape)[:length]

        state = {name: read(_OBSERVATION + name) for name in self._plan.state}
        actions = [read(name).reshape(length, -1).astype(np.float32) for name in self._actions]
        columns = {
            STATE: self._plan.state_of(state, length),
            ACTION: np.concatenate(actions, axis=1),
        }
        if _REWARD in self._wanted:
            columns[REWARD] = arrays.one_per_step(read(_REWARD), length, f"{self.path}: {_REWARD}")
        done = np.zeros(length, bool)
        done[-1] = True
        return columns | {DONE: done}

    def _steps(self, example: Mapping[str, Value]) -> int:
        """How many steps an episode has, the last one counted; 0 if nothing says it."""
        for name in (*_FLOW, _REWARD, *self._actions):
            values, feature = example.get(name), self._features.get(name)
            size = int(np.prod(feature.shape, dtype=object)) if feature else 0
            if isinstance(values, np.ndarray) and size > 0 and len(values) % size == 0:
                return len(values) // size
        return 0

    def _look(self, example: Mapping[str, Value]) -> EpisodeArrays:
        steps, entries, faults = self._steps(example), {}, {}
        for name, feature in self._features.items():
            if name in _FLOW or name in self._texts:
                continue
            if not name.startswith(STEPS):
                faults[name] = "of the whole episode, and no instruction"
                continue
            read = name.startswith(_OBSERVATION) or name in (*self._actions, _REWARD)
            entry = (
                _entry(feature, example.get(name), steps)
                if read
                else "neither observation nor action"
            )
            if "embedding" in name and not isinstance(entry, str):
                entry = "an embedding"
            if isinstance(entry, str):
                faults[name] = entry
            else:
                entries[name] = entry
        return EpisodeArrays(entries, faults)

    def _said(self, example: Mapping[str, Value], name: str) -> list[str]:
        """An episode's texts of a feature; of several that are not a step's, one thing in several
        ways, the first."""
        said = self._text_of(example, name) or []
        return said if name.startswith(STEPS) else [text for text in said if text][:1]

    def _text_of(self, example: Mapping[str, Value], name: str) -> list[str] | None:
        """An episode's texts of a feature, per step or one; None if the feature is none."""
        values, feature = example.get(name), self._features[name]
        if isinstance(values, np.ndarray):
            size = int(np.prod(feature.shape, dtype=object))
            if len(feature.shape) != 1 or size < 2 or len(values) % size:
                return None
            values = values.reshape(-1, size)
        return decode_texts(values) if values is not None and len(values) else []


def _short(name: str) -> str:
    return name.removeprefix(_OBSERVATION).removeprefix(STEPS)


def _entry(feature: Feature, values: Value | None, steps: int) -> ArrayInfo | str:
    """What a feature of an episode is like, per step; or why it is not read."""
    if feature.why_not or feature.kind in ("text", "other"):
        return feature.why_not or "text"
    if values is None or not len(values):
        return "is in the records of no step" if steps else "has no steps"
    if isinstance(values, list):
        return _entry_of_images(feature, values, steps)
    sides = feature.shape
    size = int(np.prod([side for side in sides if side >= 0], dtype=object))
    if sum(side < 0 for side in sides) > 1 or size < 1 or not steps or len(values) % (steps * size):
        return f"holds {len(values)} numbers, {steps} steps of {'x'.join(map(str, sides)) or 1}"
    shape = tuple(len(values) // (steps * size) if side < 0 else side for side in sides)
    if (
        steps * int(np.prod(shape, dtype=object)) != len(values)
        or int(np.prod(shape, dtype=object)) > _PIXELS
    ):
        return f"holds {len(values)} numbers, {steps} steps of {'x'.join(map(str, sides)) or 1}"
    dtype = np.dtype(np.uint8) if feature.kind == "image" else feature.dtype
    coded = dtype == np.uint8 and len(shape) == 1 and encoding_of(values.astype(np.uint8))
    return f"bytes of a {coded} image" if coded else ArrayInfo(shape, dtype)


def _entry_of_images(feature: Feature, values: Sequence[memoryview], steps: int) -> ArrayInfo | str:
    """The first one stands for all, unless features.json leaves their size open."""
    if feature.kind != "image":
        return "bytes, not numbers"
    if len(values) != steps:
        return f"has {len(values)} images for {steps} steps"
    if not all(map(len, values)):
        return "has empty images"
    fixed = len(feature.shape) == 3 and min(feature.shape) > 0
    try:
        layouts = {image_info(value): None for value in (values[:1] if fixed else values)}
    except IMAGE_ERRORS as error:
        return f"is not a readable image: {one_line(error)}"
    first = next((entry for entry in layouts if not is_colour(entry)), next(iter(layouts)))
    sizes = list(dict.fromkeys("x".join(map(str, entry.shape[:2])) for entry in layouts))
    if len(sizes) > 1:
        return f"has images of several sizes: {', '.join(sizes[:3])}"
    return (
        first if first.shape[0] * first.shape[1] <= _PIXELS else f"has images of {sizes[0]} pixels"
    )
