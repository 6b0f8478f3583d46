"""Read RLDS episodes as TensorFlow Datasets writes them: TFRecord shards and features.json.

A step's action and reward follow its observation. On the last step they are invalid, so it is not
read.
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
_FPS = 10.0  # the files do not say
_MAX_PIXELS = 2**26
_SAMPLE_EPISODES = 32  # episodes that decide what most episodes are like
_VERSION = re.compile(r"\d+\.\d+\.\d+")


class RLDSReader:
    """See `formats.reader.Reader`."""

    def __init__(self, path: Path, complain: Complain = refuse) -> None:
        """Read the description of a dataset, and all its numbers once.

        Args:
            path: the folder of a version, with features.json.
            complain: called for each episode that is torn, or not like most.

        Raises:
            UserError: naming what is missing.
        """
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
        folder = path.resolve()
        folder = folder.parent if _VERSION.match(folder.name) else folder
        self._name = shards.name or folder.name
        sampled = sample_rows(len(self._records), _SAMPLE_EPISODES).tolist()
        sample = list(self._readable(sampled)) or [self._example(0)]
        self._texts = self._find_texts(sample)
        self._expected, self._plan = self._majority(sample)
        self.contents = self._describe(shards, complain)

    def columns(self, index: int) -> dict[str, np.ndarray]:
        return self._columns(self._example(index))

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        name, height, width = self._plan.cameras[camera]
        images = self._example(index)[_OBSERVATION + name]
        where = f"{self._records[index].shard.path}: episode {self._records[index].name}"
        if isinstance(images, np.ndarray):
            shape = (-1, *self._expected[_OBSERVATION + name].shape)
            with format_errors(self._records[index].shard.path, "RLDS"):
                return arrays.colour(images.astype(np.uint8).reshape(shape)[rows])
        frames = []
        for row in rows:
            try:
                frame = decode_png(bytes(images[row]))
            except IMAGE_ERRORS as error:
                raise UserError(
                    f"{where}, frame {row}, {name} is not a readable image: {one_line(error)}"
                ) from error
            if frame.shape[:2] != (height, width):
                size = "x".join(map(str, frame.shape[:2]))
                raise UserError(
                    f"{where}, frame {row}, {name} has {size} pixels, "
                    f"the first one {height}x{width}"
                )
            frames.append(frame)
        return np.stack(frames)

    def files(self) -> Sequence[Path]:
        return [self.path / FEATURES, *(shard.path for shard in self._shards)]

    def _find_texts(self, sample: Sequence[Mapping[str, Value]]) -> list[str]:
        """The features that may hold the instruction, the likeliest first."""
        return [
            name for name in instruction_names(self._features) if self._holds_text(name, sample)
        ]

    def _holds_text(self, name: str, sample: Sequence[Mapping[str, Value]]) -> bool:
        if self._features[name].kind != "numbers":
            return self._features[name].kind == "text"
        texts = [self._text_of(example, name) for example in sample]  # of character codes
        return None not in texts and any(any(of_episode) for of_episode in texts if of_episode)

    def _majority(
        self, sample: Sequence[Mapping[str, Value]]
    ) -> tuple[dict[str, ArrayInfo], arrays.Plan]:
        """The features of each step that are read, by their whole names, and how observations are
        read."""
        infos, left_out = arrays.majority_layout([self._layout(example) for example in sample])
        for name in self._actions:
            if name not in infos:
                raise UserError(f"{self.path}: {name} {left_out.get(name, 'is in no episode')}")
        observed = {
            _short(name): info for name, info in infos.items() if name.startswith(_OBSERVATION)
        }
        plan = arrays.plan(
            observed,
            {_short(name): why for name, why in left_out.items()},
            lambda name: self._values_of(sample, _OBSERVATION + name, observed[name]),
        )
        images = [name for name, _, _ in plan.cameras.values()]
        read = {_OBSERVATION + name for name in (*plan.state, *images)}
        read |= {_REWARD, *self._actions}
        return {name: info for name, info in infos.items() if name in read}, plan

    def _values_of(
        self, sample: Sequence[Mapping[str, Value]], name: str, info: ArrayInfo
    ) -> Iterator[np.ndarray]:
        """A feature's values (T, ...) in the sampled episodes that have them in this shape."""
        for example in sample:
            values, steps = example.get(name), self._steps(example)
            if isinstance(values, np.ndarray) and values.size == steps * int(np.prod(info.shape)):
                dtype = np.int64 if info.dtype.kind in "iu" else values.dtype
                yield values.astype(dtype).reshape(steps, *info.shape)

    def _describe(self, shards: Shards, complain: Complain) -> Contents:
        """Read all episodes once, and keep those that are like most."""
        lengths: dict[int, int] = {}
        instructions: dict[int, list[str]] = {}

        def read(index: int) -> dict[str, np.ndarray]:
            example = self._example(index)
            if why := self._layout(example).difference_from(self._expected):
                raise UserError(f"{self._records[index].shard.path}: {why.removeprefix(STEPS)}")
            columns = self._columns(example)
            lengths[index] = len(columns[ACTION])
            instructions[index] = distinct_texts(
                self._instructions(example, name) for name in self._texts
            )
            return columns

        names = [record.name for record in self._records]
        readable, statistics = arrays.collect_episodes(
            names, read, self.path, complain, self._plan.state_names
        )
        self._records = tuple(self._records[index] for index in readable)
        tasks, episode_task = arrays.tasks_of(
            [(instructions[index] or [self._name])[0] for index in readable]
        )
        changing = sum(len(instructions[index]) > 1 for index in readable)
        return Contents(
            format="RLDS",
            spec=arrays.spec_of(
                self._plan, statistics, embodiment=self._name or UNKNOWN, named=False, fps=_FPS
            ),
            fps=_FPS,
            tasks=tasks,
            lengths=np.asarray([lengths[index] for index in readable], dtype=np.int64),
            episode_task=episode_task,
            statistics=statistics,
            images="encoded" if self._plan.cameras else "none",
            left_out=self._plan.left_out,
            episode_names=tuple(names[index] for index in readable),
            notes=(*shards.notes, *changing_note(changing)),
        )

    def _example(self, index: int) -> dict[str, Value]:
        record = self._records[index]
        return record.shard.example(record.number)

    def _readable(self, indices: Iterable[int]) -> Iterator[dict[str, Value]]:
        for index in indices:
            with suppress(UserError):
                yield self._example(index)

    def _columns(self, example: Mapping[str, Value]) -> dict[str, np.ndarray]:
        """The columns of all steps but the last."""
        steps = self._steps(example)
        length = steps - 1 if steps > 1 else steps

        def read(name: str) -> np.ndarray:
            values = example[name]
            assert isinstance(values, np.ndarray)
            return values.reshape(steps, *self._expected[name].shape)[:length]

        state = {name: read(_OBSERVATION + name) for name in self._plan.state}
        actions = [read(name).reshape(length, -1).astype(np.float32) for name in self._actions]
        columns = {
            STATE: self._plan.state_of(state, length),
            ACTION: np.concatenate(actions, axis=1),
        }
        if _REWARD in self._expected:
            columns[REWARD] = arrays.one_per_step(read(_REWARD), length, f"{self.path}: {_REWARD}")
        done = np.zeros(length, bool)
        done[-1] = True
        return columns | {DONE: done}

    def _steps(self, example: Mapping[str, Value]) -> int:
        """The number of steps of an episode, the last one included; 0 if it cannot be derived."""
        for name in (*_FLOW, _REWARD, *self._actions):
            values, feature = example.get(name), self._features.get(name)
            size = int(np.prod(feature.shape, dtype=object)) if feature else 0
            if isinstance(values, np.ndarray) and size > 0 and len(values) % size == 0:
                return len(values) // size
        return 0

    def _layout(self, example: Mapping[str, Value]) -> EpisodeArrays:
        steps, infos, faults = self._steps(example), {}, {}
        for name, feature in self._features.items():
            if name in _FLOW or name in self._texts:
                continue
            if not name.startswith(STEPS):
                faults[name] = "of the whole episode, and no instruction"
                continue
            if not name.startswith(_OBSERVATION) and name not in (*self._actions, _REWARD):
                faults[name] = "neither observation nor action"
                continue
            info = _info(feature, example.get(name), steps)
            if isinstance(info, str):
                faults[name] = info
            elif "embedding" in name:
                faults[name] = "an embedding"
            else:
                infos[name] = info
        return EpisodeArrays(infos, faults)

    def _instructions(self, example: Mapping[str, Value], name: str) -> list[str]:
        """An episode's instructions in a feature.

        Several texts per step are all returned. Several texts of the whole episode are the same
        instruction in other words, of which the first is returned.
        """
        texts = self._text_of(example, name) or []
        return texts if name.startswith(STEPS) else [text for text in texts if text][:1]

    def _text_of(self, example: Mapping[str, Value], name: str) -> list[str] | None:
        """An episode's texts of a feature, per step or one; None if it is no text."""
        values, feature = example.get(name), self._features[name]
        if isinstance(values, np.ndarray):
            size = int(np.prod(feature.shape, dtype=object))
            if len(feature.shape) != 1 or size < 2 or len(values) % size:
                return None
            values = values.reshape(-1, size)
        return decode_texts(values) if values is not None and len(values) else []


def _short(name: str) -> str:
    return name.removeprefix(_OBSERVATION).removeprefix(STEPS)


def _info(feature: Feature, values: Value | None, steps: int) -> ArrayInfo | str:
    """Shape per step and dtype of a feature of an episode; or why it is not read."""
    if feature.why_not or feature.kind in ("text", "other"):
        return feature.why_not or "text"
    if values is None or not len(values):
        return "is in the records of no step" if steps else "has no steps"
    if isinstance(values, list):
        return _info_of_images(feature, values, steps)
    sides = feature.shape
    mismatch = f"holds {len(values)} numbers, {steps} steps of {'x'.join(map(str, sides)) or 1}"
    size = int(np.prod([side for side in sides if side >= 0], dtype=object))
    if sum(side < 0 for side in sides) > 1 or size < 1 or not steps or len(values) % (steps * size):
        return mismatch
    shape = tuple(len(values) // (steps * size) if side < 0 else side for side in sides)
    per_step = int(np.prod(shape, dtype=object))
    if steps * per_step != len(values) or per_step > _MAX_PIXELS:
        return mismatch
    dtype = np.dtype(np.uint8) if feature.kind == "image" else feature.dtype
    is_bytes = dtype == np.uint8 and len(shape) == 1
    encoding = encoding_of(values.astype(np.uint8)) if is_bytes else None
    return f"bytes of a {encoding} image" if encoding else ArrayInfo(shape, dtype)


def _info_of_images(feature: Feature, values: Sequence[memoryview], steps: int) -> ArrayInfo | str:
    """Shape and dtype of encoded images: the first one stands for all, unless features.json leaves
    their size open."""
    if feature.kind != "image":
        return "bytes, not numbers"
    if len(values) != steps:
        return f"has {len(values)} images for {steps} steps"
    if not all(map(len, values)):
        return "has empty images"
    fixed = len(feature.shape) == 3 and min(feature.shape) > 0
    try:
        infos = {image_info(value): None for value in (values[:1] if fixed else values)}
    except IMAGE_ERRORS as error:
        return f"is not a readable image: {one_line(error)}"
    # One image that is neither colour nor grey is enough to leave the feature out.
    info = next((info for info in infos if not is_colour(info)), next(iter(infos)))
    sizes = list(dict.fromkeys("x".join(map(str, info.shape[:2])) for info in infos))
    if len(sizes) > 1:
        return f"has images of several sizes: {', '.join(sizes[:3])}"
    if info.shape[0] * info.shape[1] > _MAX_PIXELS:
        return f"has images of {sizes[0]} pixels"
    return info
