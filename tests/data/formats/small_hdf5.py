"""Small robomimic files and Minari datasets with one thing that is special, written by their
layout."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.dataset as arrow_dataset
import pytest
from PIL import Image

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check, repair

LENGTHS = (6, 5, 4)
TEXT = h5py.string_dtype()
Change = Callable[[int, Any], None]


def robomimic(
    path: Path, change: Change | None = None, data: Mapping[str, Any] | None = None
) -> Path:
    """Three demonstrations with actions (2) and obs/hand (3). change: is given the number and group
    of each. data: attributes of all."""
    with h5py.File(path, "w") as file:
        file.create_group("data").attrs.update(data or {})
        for number, length in enumerate(LENGTHS):
            rng = np.random.default_rng(number)
            demo = file.create_group(f"data/demo_{number}")
            demo["actions"] = rng.uniform(-1, 1, (length, 2)).astype(np.float32)
            demo["obs/hand"] = rng.normal(size=(length, 3)).astype(np.float32)
            if change:
                change(number, demo)
    return path


def opened(path: Path, change: Change | None = None, **data: Any) -> EpisodeDataset:
    """Such a robomimic file in a folder, opened."""
    return EpisodeDataset.open(robomimic(path / "set.hdf5", change, data))


def put(group: Any, name: str, values: Any, **settings: Any) -> None:
    """An array instead of the one that may be there."""
    if name in group:
        del group[name]
    group.create_dataset(name, data=values, **settings)


def put_torn(group: Any, name: str, rows: int) -> None:
    """A compressed array (rows, 3) with zeros in place of its second chunk."""
    put(group, name, np.ones((rows, 3), np.float32), compression="gzip", chunks=(2, 3))
    chunk = group[name].id.get_chunk_info(1)
    group.file.flush()
    with open(group.file.filename, "r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\0" * chunk.size)


def box(
    *shape: int, dtype: str = "float32", low: float = -1.0, high: float = 1.0
) -> dict[str, Any]:
    bounds = {"low": np.full(shape, low).tolist(), "high": np.full(shape, high).tolist()}
    return {"type": "Box", "dtype": dtype, "shape": list(shape), **bounds}


def minari(
    folder: Path,
    *,
    observed: Mapping[str, Any] | None = None,
    acted: Mapping[str, Any] | None = None,
    actions: Callable[[int], np.ndarray] | None = None,
    change: Change | None = None,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Three episodes in HDF5, observations/hand (3) and actions (2) by default. actions: of so many
    steps."""
    (folder / "data").mkdir(parents=True)
    hand = {"type": "Dict", "subspaces": {"hand": box(3)}}
    metadata = {
        "total_episodes": len(LENGTHS),
        "data_format": "hdf5",
        "observation_space": json.dumps(observed or hand),
        "action_space": json.dumps(acted or box(2)),
        "dataset_id": "toy/small-v0",
    }
    (folder / "data/metadata.json").write_text(json.dumps(metadata | dict(about or {})))
    with h5py.File(folder / "data/main_data.hdf5", "w") as file:
        for number, length in enumerate(LENGTHS):
            rng = np.random.default_rng(number)
            episode = file.create_group(f"episode_{number}")
            episode.attrs["id"] = number
            episode["actions"] = (
                actions(length) if actions else rng.uniform(-1, 1, (length, 2)).astype(np.float32)
            )
            episode["rewards"], episode["terminations"] = np.zeros(length), np.zeros(length, bool)
            episode["truncations"] = np.arange(length) == length - 1
            if not observed:
                episode["observations/hand"] = rng.uniform(-1, 1, (length + 1, 3)).astype(
                    np.float32
                )
            if change:
                change(number, episode)
    return folder


def minari_arrow(
    folder: Path, storage: str, change: Callable[[int, dict[str, Any]], None] | None = None
) -> Path:
    """The same in Arrow or Parquet. change: is given the number and the columns, and may change
    "label", too; "null rows" are those without observations, "more" are further columns, or other
    ones."""
    data = folder / "data"
    data.mkdir(parents=True)
    observed = {"type": "Dict", "subspaces": {"hand": box(3)}}
    metadata = {
        "total_episodes": len(LENGTHS),
        "data_format": storage,
        "dataset_id": "toy/small-v0",
    }
    spaces = {"observation_space": json.dumps(observed), "action_space": json.dumps(box(2))}
    (data / "metadata.json").write_text(json.dumps(metadata | spaces))
    for number, length in enumerate(LENGTHS):
        rng = np.random.default_rng(number)
        parts: dict[str, Any] = {
            "hand": rng.uniform(-1, 1, (length + 1, 3)).astype(np.float32),
            "actions": rng.uniform(-1, 1, (length + 1, 2)).astype(np.float32),
            "label": {"id": number, "total_steps": length},
        }
        if change:
            change(number, parts)
        rows = len(parts["actions"])
        columns = {"actions": _lists(parts["actions"]), "rewards": np.zeros(rows)}
        columns |= {
            "terminations": np.zeros(rows, bool),
            "truncations": np.arange(rows) == rows - 2,
        }
        if "hand" in parts:
            hand, null = _lists(parts["hand"]), parts.get("null rows")
            columns["observations"] = pa.StructArray.from_arrays([hand], ["hand"], mask=null)
        columns |= parts.get("more", {})
        arrow_dataset.write_dataset(pa.table(columns), data / str(number), format=storage)
        (data / str(number) / "metadata.json").write_text(json.dumps(parts["label"]))
    return folder


def leaves_out_the_second(path: Path, why: str, copy: Path) -> None:
    """Of three episodes, by a copy that --fix writes. why: an expression that the reason holds."""
    with pytest.raises(UserError, match=f"{why}.*--fix COPY"):
        EpisodeDataset.open(path)
    (finding,) = [each for each in check(path) if each.severity == "error"]
    assert finding.where == "episode 1"
    assert repair(path, copy) == ["1"]
    assert np.diff(EpisodeDataset.open(copy).starts).tolist() == [LENGTHS[0], LENGTHS[2]]


def encoded(image: np.ndarray, kind: str = "JPEG") -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, kind)
    return content.getvalue()


def padded(contents: list[bytes], width: int = 2000) -> np.ndarray:
    """uint8 (n, width), each padded with zeros."""
    rows = np.zeros((len(contents), width), np.uint8)
    for row, content in zip(rows, contents, strict=True):
        row[: len(content)] = np.frombuffer(content, np.uint8)
    return rows


def _lists(values: np.ndarray | pa.Array) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
