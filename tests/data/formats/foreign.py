"""The same small episodes as other projects' files, written by their layout and not by our code."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.dataset as arrow_dataset
import pyarrow.parquet as pq
from PIL import Image

LENGTHS = (5, 3, 4)
INSTRUCTIONS = ("lift the cube", "open the drawer", "lift the cube")
SIZE = 12


def episodes() -> list[dict[str, np.ndarray]]:
    """Each with T + 1 observations: hand (3), gripper (), picture; T actions (2), rewards,
    successes."""
    made = []
    for seed, length in enumerate(LENGTHS):
        rng = np.random.default_rng(seed)
        made.append(
            {
                "hand": rng.normal(size=(length + 1, 3)),
                "gripper": rng.uniform(size=length + 1).astype(np.float32),
                "picture": rng.integers(0, 255, (length + 1, SIZE, SIZE, 3), dtype=np.uint8),
                "action": rng.uniform(-1, 1, (length, 2)).astype(np.float32),
                "reward": rng.uniform(size=length).astype(np.float32),
                "success": np.arange(length) == length - 1,
            }
        )
    return made


def robomimic(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = sum(LENGTHS)
        settings = {
            "env_name": "Lift",
            "env_kwargs": {"control_freq": 25, "robots": ["Panda"]},
            "type": 1,
        }
        data.attrs["env_args"] = json.dumps(settings)
        for number, episode in enumerate(episodes()):
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = LENGTHS[number]
            demo.attrs["ep_meta"] = json.dumps({"lang": INSTRUCTIONS[number]})
            demo["actions"], demo["rewards"] = episode["action"], episode["reward"]
            demo["dones"], demo["success"] = episode["success"].astype(np.int64), episode["success"]
            demo["states"] = np.zeros((LENGTHS[number], 7))
            for group, rows in (("obs", slice(0, -1)), ("next_obs", slice(1, None))):
                demo[f"{group}/agentview_image"] = episode["picture"][rows]
                demo[f"{group}/gripper"], demo[f"{group}/hand"] = (
                    episode["gripper"][rows],
                    episode["hand"][rows],
                )
                demo[f"{group}/agentview_depth"] = np.zeros(
                    (LENGTHS[number], SIZE, SIZE, 1), np.float32
                )
        file.create_group("mask")["train"] = np.array([b"demo_0", b"demo_2"])
    return path


def npz(folder: Path) -> Path:
    folder.mkdir()
    for number, episode in enumerate(episodes()):
        rows = {name: values[: LENGTHS[number]] for name, values in episode.items()}
        np.savez_compressed(
            folder / f"episode_{number:03d}.npz", **rows, instruction=np.array(INSTRUCTIONS[number])
        )
    return folder


def _minari_metadata(folder: Path, storage: str, *, jpeg: bool) -> Path:
    """Where the episodes go."""
    data = folder / "data"
    data.mkdir(parents=True)
    box = {"type": "Box", "dtype": "float64", "shape": [3], "low": [-9.0] * 3, "high": [9.0] * 3}
    gripper = {"type": "Box", "dtype": "float32", "shape": [1], "low": [0.0], "high": [1.0]}
    side = np.zeros((SIZE, SIZE, 3))
    image = {
        "type": "Box",
        "dtype": "uint8",
        "shape": [SIZE, SIZE, 3],
        "low": side.tolist(),
        "high": (side + 255).tolist(),
    }
    action = {
        "type": "Box",
        "dtype": "float32",
        "shape": [2],
        "low": [-1.0, -2.0],
        "high": [1.0, 2.0],
    }
    observed = {"type": "Dict", "subspaces": {"gripper": gripper, "hand": box, "picture": image}}
    metadata = {
        "total_episodes": len(LENGTHS),
        "total_steps": sum(LENGTHS),
        "data_format": storage,
        "jpeg_encoding": jpeg,
        "observation_space": json.dumps(observed),
        "action_space": json.dumps(action),
        "dataset_id": "toy/lift/expert-v0",
        "minari_version": "0.5.4",
    }
    (data / "metadata.json").write_text(json.dumps(metadata))
    return data


def minari(folder: Path, *, jpeg: bool = False) -> Path:
    data = _minari_metadata(folder, "hdf5", jpeg=jpeg)
    with h5py.File(data / "main_data.hdf5", "w") as file:
        for number, episode in enumerate(episodes()):
            group = file.create_group(f"episode_{number}")
            group.attrs["id"], group.attrs["seed"], group.attrs["total_steps"] = (
                number,
                40 + number,
                LENGTHS[number],
            )
            group["actions"], group["rewards"] = episode["action"], episode["reward"]
            group["terminations"] = episode["success"]
            group["truncations"] = np.zeros(LENGTHS[number], bool)
            group["infos/success"] = np.concatenate([[False], episode["success"]])
            group["observations/hand"] = episode["hand"]
            group["observations/gripper"] = episode["gripper"][:, None]
            images = list(episode["picture"])
            if jpeg:
                blobs = [np.frombuffer(_encoded(each, "JPEG"), np.uint8) for each in images]
                kept = group.create_dataset(
                    "observations/picture", (len(blobs),), h5py.vlen_dtype(np.uint8)
                )
                for row, blob in enumerate(blobs):
                    kept[row] = blob
            else:
                group["observations/picture"] = episode["picture"]
    return folder


def minari_arrow(folder: Path, storage: str, *, jpeg: bool = False) -> Path:
    """A folder an episode. All columns have T + 1 rows; what has T is padded. storage: arrow or
    parquet."""
    data = _minari_metadata(folder, storage, jpeg=jpeg)
    for number, episode in enumerate(episodes()):
        padded = {name: np.concatenate([values, values[-1:]]) for name, values in episode.items()}
        flat = pa.array(episode["picture"].ravel())
        images = pa.FixedSizeListArray.from_arrays(flat, SIZE * SIZE * 3)
        if jpeg:
            images = pa.array([_encoded(each, "JPEG") for each in episode["picture"]], pa.binary())
        hand = pa.FixedSizeListArray.from_arrays(pa.array(episode["hand"].ravel()), 3)
        gripper = pa.FixedSizeListArray.from_arrays(pa.array(episode["gripper"]), 1)
        success = np.concatenate([[False], episode["success"]])
        columns = {
            "observations": pa.StructArray.from_arrays(
                [gripper, hand, images], ["gripper", "hand", "picture"]
            ),
            "actions": pa.FixedSizeListArray.from_arrays(pa.array(padded["action"].ravel()), 2),
            "rewards": pa.array(padded["reward"]),
            "terminations": pa.array(padded["success"]),
            "truncations": pa.array(np.zeros(LENGTHS[number] + 1, bool)),
            "infos": pa.StructArray.from_arrays([pa.array(success)], ["success"]),
        }
        arrow_dataset.write_dataset(pa.table(columns), data / str(number), format=storage)
        metadata = {"id": number, "seed": 40 + number, "total_steps": LENGTHS[number]}
        (data / str(number) / "metadata.json").write_text(json.dumps(metadata))
    return folder


def rlds(folder: Path) -> Path:
    """Two shards; the last step holds the last observation, and an action that counts for
    nothing."""
    version = folder / "toy_lift" / "1.0.0"
    version.mkdir(parents=True)
    image = {
        "image": {
            "shape": {"dimensions": [str(SIZE), str(SIZE), "3"]},
            "dtype": "uint8",
            "encodingFormat": "png",
        }
    }
    observation = {"hand": _tensor(3), "gripper": _tensor(), "picture": image}
    steps = {
        "observation": {"featuresDict": {"features": observation}},
        "action": _tensor(2),
        "reward": _tensor(),
        "is_first": _tensor(dtype="bool"),
        "is_last": _tensor(dtype="bool"),
        "language_instruction": {"text": {}},
    }
    tree = {"steps": {"sequence": {"feature": {"featuresDict": {"features": steps}}}}}
    (version / "features.json").write_text(json.dumps({"featuresDict": {"features": tree}}))
    records = [_example(number, episode) for number, episode in enumerate(episodes())]
    for shard, chosen in enumerate((records[:2], records[2:])):
        with (version / f"toy_lift-train.tfrecord-0000{shard}-of-00002").open("wb") as file:
            for record in chosen:
                file.write(struct.pack("<QI", len(record), 0) + record + struct.pack("<I", 0))
    return version


def lerobot_v2(folder: Path, version: str) -> Path:
    """Pictures in parquet, one file an episode."""
    (folder / "meta").mkdir(parents=True)
    features = {
        "observation.state": {"dtype": "float32", "shape": [4], "names": None},
        "observation.images.picture": {
            "dtype": "image",
            "shape": [SIZE, SIZE, 3],
            "names": ["height", "width", "channel"],
        },
        "action": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
        **{
            name: {"dtype": "int64", "shape": [1], "names": None}
            for name in ("episode_index", "index", "task_index")
        },
    }
    instructions = list(dict.fromkeys(INSTRUCTIONS))
    info = {
        "codebase_version": version,
        "robot_type": "arm",
        "total_episodes": len(LENGTHS),
        "total_frames": sum(LENGTHS),
        "total_tasks": len(instructions),
        "chunks_size": 2,
        "fps": 10,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": None,
        "features": features,
    }
    (folder / "meta/info.json").write_text(json.dumps(info))
    _lines(
        folder / "meta/tasks.jsonl",
        [{"task_index": n, "task": text} for n, text in enumerate(instructions)],
    )
    rows, statistics, everything = [], [], []
    for number, episode in enumerate(episodes()):
        length = LENGTHS[number]
        state = np.concatenate(
            [episode["gripper"][:length, None], episode["hand"][:length]], axis=1
        ).astype(np.float32)
        values = {"observation.state": state, "action": episode["action"]}
        table = {
            "observation.state": list(state),
            "observation.images.picture": [
                {"bytes": _encoded(each, "PNG"), "path": None}
                for each in episode["picture"][:length]
            ],
            "action": list(episode["action"]),
            "episode_index": np.full(length, number),
            "index": np.arange(length),
            "task_index": np.full(length, instructions.index(INSTRUCTIONS[number])),
        }
        file = folder / info["data_path"].format(episode_chunk=number // 2, episode_index=number)
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(table), file)
        rows.append({"episode_index": number, "tasks": [INSTRUCTIONS[number]], "length": length})
        statistics.append(
            {
                "episode_index": number,
                "stats": {name: _statistics(each) for name, each in values.items()},
            }
        )
        everything.append(values)
    _lines(folder / "meta/episodes.jsonl", rows)
    if version == "v2.1":
        _lines(folder / "meta/episodes_stats.jsonl", statistics)
    else:
        whole = {
            name: _statistics(np.concatenate([each[name] for each in everything]))
            for name in everything[0]
        }
        (folder / "meta/stats.json").write_text(json.dumps(whole))
    return folder


def _encoded(image: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def _statistics(values: np.ndarray) -> dict[str, Any]:
    statistics = {
        name: getattr(values, name)(axis=0).tolist() for name in ("min", "max", "mean", "std")
    }
    return statistics | {"count": [len(values)]}


def _lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _tensor(*shape: int, dtype: str = "float32") -> dict[str, Any]:
    return {
        "tensor": {
            "shape": {"dimensions": [str(side) for side in shape]},
            "dtype": dtype,
            "encoding": "none",
        }
    }


def _example(number: int, episode: Mapping[str, np.ndarray]) -> bytes:
    steps = LENGTHS[number] + 1
    action = np.concatenate([episode["action"], np.full((1, 2), 77, np.float32)])
    reward = np.concatenate([episode["reward"], [np.float32(77)]])
    features = {
        "steps/observation/hand": _floats(episode["hand"]),
        "steps/observation/gripper": _floats(episode["gripper"]),
        "steps/observation/picture": _byte_strings(
            [_encoded(each, "PNG") for each in episode["picture"]]
        ),
        "steps/action": _floats(action),
        "steps/reward": _floats(reward),
        "steps/is_first": _integers([int(step == 0) for step in range(steps)]),
        "steps/is_last": _integers([int(step == steps - 1) for step in range(steps)]),
        "steps/language_instruction": _byte_strings([INSTRUCTIONS[number].encode()] * steps),
    }
    entries = [
        _field(1, _field(1, name.encode()) + _field(2, value)) for name, value in features.items()
    ]
    return _field(1, b"".join(entries))


def _floats(values: np.ndarray) -> bytes:
    return _field(2, _field(1, values.astype("<f4").tobytes()))


def _integers(values: Sequence[int]) -> bytes:
    return _field(3, _field(1, b"".join(map(_varint, values))))


def _byte_strings(values: Sequence[bytes]) -> bytes:
    return _field(1, b"".join(_field(1, value) for value in values))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*octets, value])
