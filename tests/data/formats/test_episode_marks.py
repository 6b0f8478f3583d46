"""Files of .npz that hold many episodes are refused, whatever marks them; files of one are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data.formats.npz_sets import LENGTHS, Arrays, episode, require_right, write

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.episode_marks import marked_episodes
from manyparts.data.tools.check import check

pytestmark = pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning")


def end_to_end(rows: tuple[int, ...], kind: str) -> Arrays:
    """Several episodes end to end, with marks that OGBench's and D4RL's files do not have."""
    count = sum(rows)
    marks = {
        "first steps": {"is_first": np.isin(np.arange(count), np.cumsum(rows) - rows)},
        "ends": {"episode_ends": np.cumsum(rows)},
        "lengths": {"ep_len": np.array(rows)},
        "numbers": {"episode_index": np.repeat(np.arange(len(rows)), rows)},
    }
    plain = {"observations": np.ones((count, 4), np.float32), "actions": np.ones((count, 2))}
    return plain | marks[kind]


@pytest.mark.parametrize("kind", ["first steps", "ends", "lengths", "numbers"])
def test_many_episodes_per_file_are_refused(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    np.savez(folder / "cube.npz", **end_to_end((7, 6, 5), kind))
    np.savez(folder / "cube-val.npz", **end_to_end((4, 3), kind))
    for path in (folder, folder / "cube.npz"):
        (finding,) = check(path)
        assert "cube.npz holds many episodes in one file" in finding.what and finding.what.endswith(
            "marks 3"
        )
        assert (
            "one .npz per episode" in finding.remedy
            and "cube-val.npz into a folder of its own" in finding.remedy
        )


ROW = np.arange(20)
MARKS: dict[str, np.ndarray] = {
    "firsts": ROW % 5 == 0,
    "start": ROW % 5 == 0,
    "resets": ROW % 5 == 0,
    "ends": ROW % 5 == 4,
    "last": ROW % 5 == 4,
    "episode_end": ROW % 5 == 4,
    "dones_float": (ROW % 5 == 4).astype(np.float32),
    "terminateds": ROW % 5 == 4,
    "info/TimeLimit.truncated": ROW % 5 == 4,
    "masks": (ROW % 5 != 4).astype(np.float32),
    "not_done": ROW % 5 != 4,
    "discount": np.where(ROW % 5 == 4, 0, 0.99),
    "t": ROW % 5,
    "timesteps": (ROW % 5).astype(np.float32)[:, None],
    "frame_index": ROW % 5 + 1,
    "timestamp": (ROW % 5) / 30,
    "episode_id": (ROW // 5).astype(np.float64),
    "traj_ids": np.array([f"run {row // 5}" for row in ROW]),
    "episode_starts": np.array([0, 5, 10, 15]),
    "episode_ends": np.array([4.0, 9.0, 14.0, 19.0]),
    "indptr": np.array([0, 5, 10, 15, 20]),
    "ep_lengths": np.full((4, 1), 5),
}


@pytest.mark.parametrize("name", MARKS)
def test_episode_marks_have_many_names(name: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for number in range(2):
        np.savez(
            tmp_path / "set" / f"{number}.npz",
            actions=np.ones((20, 2)),
            q=np.ones((20, 3)),
            **{name: MARKS[name]},
        )
    with pytest.raises(
        UserError, match=f"many episodes in one file, as OGBench's do: {name} marks 4; split it"
    ):
        EpisodeDataset.open(tmp_path / "set")


NO_MARKS: dict[str, tuple[str, Callable[[int], np.ndarray]]] = {
    "one end": ("masks", lambda n: np.arange(n) < n - 1),
    "padding": ("mask", lambda n: np.arange(n) < n - 2),
    "some rows do not count": ("mask", lambda n: np.arange(n) % 4 != 2),
    "flags from a moment on": ("start", lambda n: np.arange(n) > 1),
    "a measured number": ("t", lambda n: 20 + np.cos(np.arange(n) * 2.5)),
    "a count": ("timestep", lambda n: np.arange(n) + 7),
    "a clock": ("timestamp", lambda n: 1.7e9 + np.arange(n) / 30),
    "a phase": ("phase", lambda n: np.arange(n) % 2),
    "reset at the first": ("is_first", lambda n: np.arange(n) == 0),
    "waypoints": ("traj_index", lambda n: np.arange(n) // 2),
    "ends of parts": ("subtask_ends", lambda n: np.array([2, n - 1])),
    "lengths of phases": ("phase_lengths", lambda n: np.array([2, n - 2])),
    "key frames": ("keyframes", lambda n: np.array([1, n])),
}


@pytest.mark.parametrize("case", NO_MARKS)
def test_one_episode_is_not_divided(case: str, tmp_path: Path) -> None:
    name, make = NO_MARKS[case]
    folder = write(tmp_path / "set", lambda n: episode(n, **{name: make(LENGTHS[n])}))
    assert EpisodeDataset.open(folder).num_episodes == 3


def test_held_flags_end_no_episode() -> None:
    """A success that was lost for two rows, and a sensor that was blind for as long; but an end may
    be of two rows."""
    held = np.isin(np.arange(20), (4, 5, 6, 7, 10, 11, 12))
    assert marked_episodes({"done": held, "valid": ~held}, 20) is None
    assert marked_episodes({"terminals": np.isin(np.arange(20), (8, 9, 18, 19))}, 20) == (
        "terminals",
        2,
    )


def test_flags_until_end_are_one_episode(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", lambda n: episode(n, done=np.arange(LENGTHS[n]) > 1))
    require_right(EpisodeDataset.open(folder))
