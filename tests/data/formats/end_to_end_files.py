"""Files with episodes end to end, laid out as OGBench's and D4RL's own programs write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from data.formats.known import images, numbers, small_numbers

ROWS, HELD_OUT_ROWS = (7, 6, 5), (4, 3)  # of OGBench's two files
ENDS = ((6, 0, 1), (5, 1, 0), (4, 1, 1), (3, 0, 1))  # of D4RL: rows, terminal, timeout
Arrays = dict[str, np.ndarray]


def ogbench(
    folder: Path, kind: str = "states", change: Callable[[Arrays], Any] | None = None
) -> Path:
    """cube-v0.npz, and cube-v0-val.npz with episodes that count on.

    Args:
        folder: to be made.
        kind: states or visual, as OGBench stores them; compact or regular, as its loader gives
            them.
        change: is given the arrays of each file.
    """
    folder.mkdir(parents=True)
    for name, first, rows in (("cube-v0", 0, ROWS), ("cube-v0-val", len(ROWS), HELD_OUT_ROWS)):
        made = ogbench_arrays(first, rows, kind)
        if change:
            change(made)
        np.savez_compressed(folder / f"{name}.npz", **made)  # pyright: ignore
    return folder


def ogbench_arrays(first: int, rows: Sequence[int], kind: str) -> Arrays:
    """The arrays of one file. first: the number of the first episode."""
    parts = [_ogbench_episode(first + number, each, kind) for number, each in enumerate(rows)]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    ends = whole["terminals"].astype(np.float32)
    following = np.append(ends[1:], np.float32(1))
    if kind == "compact":
        kept = {name: whole[name] for name in ("observations", "actions")}
        return kept | {"terminals": np.minimum(ends + following, 1), "valids": 1 - ends}
    if kind == "regular":
        acts = ends == 0
        return {
            "observations": whole["observations"][acts],
            "actions": whole["actions"][acts],
            "terminals": following[acts],
            "next_observations": whole["observations"][np.append(False, acts[:-1])],
        }
    return whole


def _ogbench_episode(number: int, rows: int, kind: str) -> Arrays:
    observations = images(number, rows) if kind == "visual" else numbers(number, rows, 28)
    return {
        "observations": observations,
        "actions": small_numbers(number, rows, 5),
        "terminals": np.arange(rows) == rows - 1,
        "qpos": numbers(number, rows, 21),
        "qvel": numbers(number, rows, 20) / 128,
    }


def d4rl(
    path: Path,
    kind: str = "mujoco",
    *,
    ends: Sequence[tuple[int, int, int]] = ENDS,
    change: Callable[[Any], Any] | None = None,
    **settings: Any,
) -> Path:
    """One HDF5 file.

    Args:
        path: of the file.
        kind: mujoco (all that there is), maze (no terminals, no next_observations), old (no
            timeouts).
        ends: rows of each episode, and whether its last one is a terminal and a timeout.
        change: is given the opened file.
        settings: of all arrays; gzip by default.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [_d4rl_episode(number, *each, kind) for number, each in enumerate(ends)]
    with h5py.File(path, "w") as file:
        for name in parts[0]:
            values = np.concatenate([part[name] for part in parts])
            file.create_dataset(name, data=values, **(settings or {"compression": "gzip"}))
        if kind == "mujoco":
            file["metadata/algorithm"] = np.bytes_("SAC")
            file["metadata/policy/fc0/weight"] = np.ones((8, 11), np.float32)
        if change:
            change(file)
    return path


def _d4rl_episode(number: int, rows: int, terminal: int, timeout: int, kind: str) -> Arrays:
    last = np.arange(rows) == rows - 1
    made: Arrays = {
        "observations": numbers(number, rows, 11),
        "actions": small_numbers(number, rows, 3),
        "rewards": (np.arange(rows) / 8).astype(np.float32),
        "terminals": last & bool(terminal and kind != "maze"),
        "infos/qpos": numbers(number, rows, 6),
    }
    if kind != "old":
        made["timeouts"] = last & bool(timeout or kind == "maze")
    if kind == "mujoco":
        made["next_observations"] = numbers(number, rows + 1, 11)[1:]
    return made


def put_arrays(file: Any, values: Mapping[str, Any]) -> None:
    """Arrays in place of those that may be there; None deletes one."""
    for name, each in values.items():
        if name in file:
            del file[name]
        if each is not None:
            file[name] = each
