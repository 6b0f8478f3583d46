"""Small RLDS datasets of any features, by TensorFlow Datasets' layout and not by our code."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from data.formats.foreign import _byte_strings, _encoded, _field, _floats, _integers, _tensor

from manyparts.data.dataset import EpisodeDataset

Values = np.ndarray | list[bytes]
LENGTHS = (5, 4, 6)  # steps, the last one included
ALL = range(len(LENGTHS))
SIDE = 12  # pixels
TEXT = {"text": {}}
tensor = _tensor


def image(*shape: int, dtype: str = "uint8") -> dict[str, Any]:
    return {
        "image": {
            "shape": {"dimensions": [str(side) for side in shape]},
            "dtype": dtype,
            "encodingFormat": "png",
        }
    }


def nested(inner: Mapping[str, Any], length: int = -1) -> dict[str, Any]:
    return {"sequence": {"feature": inner, "length": str(length)}}


def features(steps: Mapping[str, Any], beside: Mapping[str, Any]) -> dict[str, Any]:
    """features.json. Names with slashes become trees."""
    return _tree({**{f"steps/{name}": feature for name, feature in steps.items()}, **beside}, "")


def episode(number: int, more: Mapping[str, Values] | None = None) -> dict[str, Values]:
    """State (steps, 3) and action (steps, 2) that say which episode and step they are of."""
    steps = LENGTHS[number]
    rows = 100 * number + np.arange(steps, dtype=np.float32)[:, None]
    plain: dict[str, Values] = {
        "steps/observation/state": rows + np.arange(3, dtype=np.float32) / 8,
        "steps/action": (rows + np.arange(2, dtype=np.float32) / 8) / 1000,
        "steps/is_last": (np.arange(steps) == steps - 1).astype(np.int64),
        "steps/language_instruction": [b"lift"] * steps,
    }
    return plain | dict(more or {})


def rlds(
    folder: Path,
    records: Sequence[Mapping[str, Values]],
    steps: Mapping[str, Any] | None = None,
    *,
    beside: Mapping[str, Any] | None = None,
    split: str = "train",
    shards: int = 1,
) -> Path:
    """steps, beside: further features of each step, and of an episode. A second call adds a split.
    Returns the folder of the version."""
    version = folder / "toy" / "1.0.0"
    version.mkdir(parents=True, exist_ok=True)
    plain = {"observation/state": tensor(3), "action": tensor(2), "is_last": tensor(dtype="bool")}
    plain["language_instruction"] = TEXT
    declared = features({**plain, **(steps or {})}, beside or {})
    (version / "features.json").write_text(json.dumps(declared))
    parts = np.array_split(np.arange(len(records)), shards)
    info = version / "dataset_info.json"
    splits = json.loads(info.read_text())["splits"] if info.exists() else []
    splits.append({"name": split, "shardLengths": [str(len(part)) for part in parts]})
    info.write_text(json.dumps({"name": "toy", "splits": splits}))
    for number, part in enumerate(parts):
        file = version / f"toy-{split}.tfrecord-{number:05d}-of-{shards:05d}"
        write_shard(file, [example(records[index]) for index in part])
    return version


def write_shard(file: Path, records: Sequence[bytes]) -> None:
    framed = [struct.pack("<QI", len(record), 0) + record + bytes(4) for record in records]
    file.write_bytes(b"".join(framed))


def example(values: Mapping[str, Values]) -> bytes:
    entries = [
        _field(1, _field(1, name.encode()) + _field(2, _feature(each)))
        for name, each in values.items()
    ]
    return _field(1, b"".join(entries))


def sequence_example(values: Mapping[str, np.ndarray]) -> bytes:
    lists = [
        _field(
            1,
            _field(1, name.encode())
            + _field(2, b"".join(_field(1, _feature(row)) for row in rows)),
        )
        for name, rows in values.items()
    ]
    return _field(1, b"") + _field(2, b"".join(lists))


def pngs(frames: np.ndarray) -> list[bytes]:
    """(T, h, w) or (T, h, w, channels), uint8 or uint16."""
    return [
        _encoded(frame.squeeze(-1) if frame.shape[-1] == 1 else frame, "PNG") for frame in frames
    ]


def _feature(values: Values) -> bytes:
    if isinstance(values, list):
        return _byte_strings(values)
    flat = np.ravel(values)
    return _floats(flat) if flat.dtype.kind == "f" else _integers(flat.tolist())


def _tree(leaves: Mapping[str, Any], path: str) -> dict[str, Any]:
    children: dict[str, Any] = {}
    for name in dict.fromkeys(leaf.partition("/")[0] for leaf in leaves):
        inner = {
            leaf.partition("/")[2]: feature
            for leaf, feature in leaves.items()
            if leaf.partition("/")[0] == name
        }
        child = inner[""] if "" in inner else _tree(inner, f"{path}{name}/")
        children[name] = nested(child) if f"{path}{name}" == "steps" else child
    return {"featuresDict": {"features": children}}


def grey(number: int, dtype: Any = np.uint8, channels: int = 3) -> np.ndarray:
    """(T, h, w, channels); each step has a colour of its own."""
    shades = 20 * number + np.arange(LENGTHS[number])
    return np.broadcast_to(shades[:, None, None, None], (len(shades), SIDE, SIDE, channels)).astype(
        dtype
    )


def require_right(dataset: EpisodeDataset, wanted: tuple[int, ...] = tuple(ALL)) -> None:
    """The state and action of these episodes, and nothing else."""
    assert dataset.num_episodes == len(wanted)
    for index, number in enumerate(wanted):
        read, values = dataset.episode(index), episode(number)
        np.testing.assert_array_equal(read.state, values["steps/observation/state"][:-1])
        np.testing.assert_array_equal(read.action, values["steps/action"][:-1])
