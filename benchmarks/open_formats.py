"""Opening datasets of other formats, against plain code that reads their numbers and shapes."""

from __future__ import annotations

import json
import os
import resource
import struct
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as arrow_dataset

from benchmarks.harness import Row, in_turns
from manyparts.core.errors import DatasetWarning
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.tfrecord import parse_example

_EPISODES, _STEPS, _ROUNDS = 1000, 5, 5
_STATES, _SIDE = 9, 16
_STATISTICS = (
    np.min,
    np.max,
    np.mean,
    np.std,
    lambda rows, axis: np.quantile(rows, (0.01, 0.1, 0.5, 0.9, 0.99), axis),
)


def measure(episodes: int = _EPISODES) -> Iterator[Row]:
    """Measure processor seconds of both sides, which depend less on a busy machine than the clock.

    Those of processes that they start count, too. Plain code looks at shapes and lengths and
    computes the statistics of state and action; it checks nothing.
    """
    sides: dict[
        str, tuple[Callable[[Path, int], Path], Callable[[Path], list[np.ndarray]], float]
    ] = {
        "robomimic": (_write_robomimic, _plain_robomimic, 2.0),
        "minari-hdf5": (_write_minari_hdf5, _plain_minari_hdf5, 0.0),
        "minari-arrow": (_write_minari_arrow, _plain_minari_arrow, 0.0),
        "npz": (_write_npz, _plain_npz, 0.0),
        "rlds": (_write_rlds, _plain_rlds, 0.0),
    }
    for name, (write, plain, promised) in sides.items():
        with tempfile.TemporaryDirectory() as folder:
            path = write(Path(folder), episodes)
            value, baseline = in_turns(
                lambda path=path: _processor_seconds(lambda: _open(path)),
                lambda path=path, plain=plain: _processor_seconds(lambda: _statistics(plain(path))),
                rounds=_ROUNDS,
            )
        note = (
            f"processor seconds to open {episodes} episodes of {name}, "
            "against plain reading of numbers and shapes"
        )
        yield Row(f"open-formats-{name}", value, baseline, "s", note, max_ratio=promised)


def _open(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        EpisodeDataset.open(path)


def _processor_seconds(work: Callable[[], object]) -> float:
    start = _spent()
    work()
    return _spent() - start


def _spent() -> float:
    """Return the processor seconds of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _statistics(episodes: list[np.ndarray]) -> list[np.ndarray]:
    rows = np.concatenate(episodes)
    return [statistic(rows, axis=0) for statistic in _STATISTICS]


def _numbers(generator: np.random.Generator, width: int, rows: int = _STEPS) -> np.ndarray:
    return generator.uniform(-1, 1, (rows, width)).astype(np.float32)


# robomimic: nine arrays of state and one camera per demonstration


def _write_robomimic(folder: Path, episodes: int) -> Path:
    import h5py

    generator, path = np.random.default_rng(0), folder / "set.hdf5"
    with h5py.File(path, "w") as file:
        for number in range(episodes):
            demo = file.create_group(f"data/demo_{number}")
            demo["actions"] = _numbers(generator, 7)
            for key in range(_STATES):
                demo[f"obs/key{key}"] = _numbers(generator, 3)
            demo["obs/top_image"] = np.zeros((_STEPS, _SIDE, _SIDE, 3), np.uint8)
    return path


def _plain_robomimic(path: Path) -> list[np.ndarray]:
    import h5py

    numbers: list[np.ndarray] = []
    opened: Any = h5py.File(path, "r")
    with opened as file:
        data = file["data"]
        for name in sorted(data, key=lambda name: int(name[5:])):
            demo, parts = data[name], [data[name]["actions"][()]]
            for array in demo["obs"].values():
                if array.dtype != np.uint8 or len(array.shape) != 4:
                    parts.append(array[()].reshape(len(parts[0]), -1))
            numbers.append(np.concatenate(parts, axis=1))
    return numbers


# Minari: one state


def _write_metadata(folder: Path, episodes: int, storage: str) -> Path:
    box = {"type": "Box", "dtype": "float32", "shape": [3], "low": [-1.0] * 3, "high": [1.0] * 3}
    about = {"total_episodes": episodes, "data_format": storage, "dataset_id": "toy/set-v0"}
    spaces = {"observation_space": json.dumps(box), "action_space": json.dumps(box)}
    (folder / "metadata.json").write_text(json.dumps(about | spaces))
    return folder


def _write_minari_hdf5(folder: Path, episodes: int) -> Path:
    import h5py

    generator = np.random.default_rng(0)
    with h5py.File(_write_metadata(folder, episodes, "hdf5") / "main_data.hdf5", "w") as file:
        for number in range(episodes):
            episode = file.create_group(f"episode_{number}")
            episode["observations"], episode["actions"] = (
                _numbers(generator, 3, _STEPS + 1),
                _numbers(generator, 3),
            )
            episode["rewards"], episode["terminations"] = np.zeros(_STEPS), np.zeros(_STEPS, bool)
            episode["truncations"] = np.zeros(_STEPS, bool)
    return folder


def _plain_minari_hdf5(folder: Path) -> list[np.ndarray]:
    """Read all arrays of an episode, as Minari does."""
    import h5py

    numbers: list[np.ndarray] = []
    opened: Any = h5py.File(folder / "main_data.hdf5", "r")
    with opened as file:
        for number in range(len(file)):
            arrays = {name: array[()] for name, array in file[f"episode_{number}"].items()}
            numbers.append(np.concatenate([arrays["observations"][:-1], arrays["actions"]], axis=1))
    return numbers


def _write_minari_arrow(folder: Path, episodes: int) -> Path:
    generator, rows = np.random.default_rng(0), _STEPS + 1
    _write_metadata(folder, episodes, "arrow")
    for number in range(episodes):
        lists = [
            pa.FixedSizeListArray.from_arrays(pa.array(_numbers(generator, 3, rows).ravel()), 3)
            for _ in "oa"
        ]
        columns = {"observations": lists[0], "actions": lists[1], "rewards": np.zeros(rows)}
        columns |= {"terminations": np.zeros(rows, bool), "truncations": np.zeros(rows, bool)}
        arrow_dataset.write_dataset(pa.table(columns), folder / str(number), format="arrow")
        (folder / str(number) / "metadata.json").write_text(
            json.dumps({"id": number, "total_steps": _STEPS})
        )
    return folder


def _plain_minari_arrow(folder: Path) -> list[np.ndarray]:
    numbers = []
    for number in range(len(os.listdir(folder)) - 1):
        json.loads((folder / str(number) / "metadata.json").read_text())
        dataset = arrow_dataset.dataset(
            folder / str(number), format="arrow", ignore_prefixes=["_", ".", "metadata"]
        )
        table = dataset.to_table(use_threads=False)
        parts = [np.stack(table[name].to_numpy())[:-1] for name in ("observations", "actions")]
        numbers.append(np.concatenate(parts, axis=1))
    return numbers


# npz: a state and a camera


def _write_npz(folder: Path, episodes: int) -> Path:
    generator = np.random.default_rng(0)
    for number in range(episodes):
        frames = np.zeros((_STEPS, _SIDE, _SIDE, 3), np.uint8)
        values = {
            "action": _numbers(generator, 7),
            "state": _numbers(generator, 7),
            "image": frames,
        }
        np.savez(folder / f"episode_{number:06d}.npz", **values)
    return folder


def _plain_npz(folder: Path) -> list[np.ndarray]:
    numbers = []
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as arrays:
            numbers.append(np.concatenate([arrays["state"], arrays["action"]], axis=1))
    return numbers


# RLDS: a state. Plain code uses this library's parser, since no other is installed, and parses each
# record once.


def _write_rlds(folder: Path, episodes: int) -> Path:
    generator = np.random.default_rng(0)
    features = {
        "observation": {"featuresDict": {"features": {"state": _tensor(3)}}},
        "action": _tensor(3),
        "is_last": {"tensor": {"shape": {}, "dtype": "bool"}},
    }
    steps = {"steps": {"sequence": {"feature": {"featuresDict": {"features": features}}}}}
    (folder / "features.json").write_text(json.dumps({"featuresDict": {"features": steps}}))
    with (folder / "set-train.tfrecord-00000-of-00001").open("wb") as file:
        for _ in range(episodes):
            numbers = {
                name: _numbers(generator, 3, _STEPS + 1)
                for name in ("steps/observation/state", "steps/action")
            }
            entries = [
                _message(1, name.encode()) + _message(2, _floats(rows))
                for name, rows in numbers.items()
            ]
            last = bytes([*[0] * _STEPS, 1])
            entries.append(
                _message(1, b"steps/is_last") + _message(2, _message(3, _message(1, last)))
            )
            record = _message(1, b"".join(_message(1, entry) for entry in entries))
            file.write(struct.pack("<QI", len(record), 0) + record + bytes(4))
    return folder


def _plain_rlds(folder: Path) -> list[np.ndarray]:
    content, numbers = memoryview((folder / "set-train.tfrecord-00000-of-00001").read_bytes()), []
    begin = 0
    while begin < len(content):
        (length,) = struct.unpack_from("<Q", content, begin)
        features = parse_example(content[begin + 12 : begin + 12 + length])
        parts = [
            np.asarray(features[name]).reshape(-1, 3)
            for name in ("steps/observation/state", "steps/action")
        ]
        numbers.append(np.concatenate(parts, axis=1)[:-1])
        begin += 16 + length
    return numbers


def _tensor(width: int) -> dict[str, Any]:
    return {"tensor": {"shape": {"dimensions": [str(width)]}, "dtype": "float32"}}


def _floats(rows: np.ndarray) -> bytes:
    return _message(2, _message(1, rows.tobytes()))


def _message(number: int, content: bytes) -> bytes:
    """Return a field of protocol buffers, of up to 2^21 bytes."""
    size = len(content)
    lengths = [size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14]
    return bytes([number << 3 | 2, *lengths]) + content
