"""A replay on disk: what is added is drawn, bounded, cut back and read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import ACTION, SIZE, STATE, make_spec

from manyparts.core.errors import UserError
from manyparts.core.records import Episode
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.replay import Replay
from manyparts.data.sampling.replayed import ReplayWindows
from manyparts.embodiment.codec import Codec
from manyparts.embodiment.normalisation import StateNormaliser

CODEC = Codec(make_spec(), StateNormaliser((0.0,) * STATE, (1.0,) * STATE))


def make_episode(number: int, length: int = 5, *, terminated: bool = False) -> Episode:
    """Rows that say which episode and step they are of."""
    step = np.arange(length, dtype=np.float32)
    state = np.stack([np.full(length, number, np.float32), step, -step], axis=1)
    action = np.stack([step / 10, np.full(length, number / 100)], axis=1).astype(np.float32)
    image = np.full((length, SIZE, SIZE, 3), number, np.uint8)
    return Episode(
        task="toy/reach",
        instruction="reach",
        seed=number,
        images={"front": image},
        state=state,
        action=action,
        expert_action=action,
        reward=step,
        success=step > 2,
        terminated=terminated,
    )


def filled(folder: Path, count: int, **changes: object) -> Replay:
    replay = Replay(folder, make_spec(), **{"max_frames": 1000, **changes})
    for number in range(count):
        replay.add(make_episode(number, 4 + number % 3, terminated=number % 2 == 1))
    return replay


def windows_of(replay: Replay, **changes: object) -> ReplayWindows:
    return ReplayWindows(
        replay, WindowConfig(steps=4, chunk=1), CODEC, **{"seed": 0, "images": True, **changes}
    )


def test_episodes_are_read_as_added(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    again = Replay(tmp_path, make_spec(), max_frames=1000)
    read = list(again.read())
    assert [entry.terminated for entry, _ in read] == [False, True, False]
    assert [episode.terminated for _, episode in read] == [False, True, False]
    for number, (entry, episode) in enumerate(read):
        expected = make_episode(number, 4 + number % 3)
        assert entry.return_ == expected.reward.sum() and entry.success == expected.success.any()
        for name in ("state", "action", "reward", "success"):
            assert np.array_equal(getattr(episode, name), getattr(expected, name))
        assert np.array_equal(episode.images["front"], expected.images["front"])


def test_windows_are_pieces_of_episodes(tmp_path: Path) -> None:
    replay = filled(tmp_path, 3)
    windows = windows_of(replay)
    batch = windows.at(np.arange(windows.num_windows))
    assert len(batch) == 4 + 5 + 6
    for row in range(len(batch)):
        number, first = int(batch.state[row, 0, 0]), int(batch.state[row, 0, 1])
        length = 4 + number % 3
        real = min(4, length - first)
        assert batch.mask[row].tolist() == [True] * real + [False] * (4 - real)
        assert batch.state[row, :real, 1].tolist() == list(range(first, first + real))
        assert batch.reward[row, :real].tolist() == list(range(first, first + real))
        assert (batch.images["front"][row, :real] == number).all()
        assert not batch.state[row, real:].any() and not batch.images["front"][row, real:].any()
        at_end = [number % 2 == 1 and first + step == length - 1 for step in range(4)]
        assert batch.terminations[row].tolist() == at_end
        assert f"seed {number}" in windows.describe(row)


def test_draws_are_functions_of_seed_and_step(tmp_path: Path) -> None:
    replay = filled(tmp_path, 6)
    first, again = windows_of(replay), windows_of(Replay(tmp_path, make_spec(), max_frames=1000))
    whole = first.batch(3, 8)
    assert torch.equal(whole.state, again.batch(3, 8).state)
    halves = [again.batch(3, 8, rank=rank, world_size=2).window for rank in range(2)]
    assert torch.equal(torch.cat(halves), whole.window)
    assert not torch.equal(whole.window, first.batch(4, 8).window)
    assert not torch.equal(whole.window, windows_of(replay, seed=1).batch(3, 8).window)


def test_draws_cover_all_rows_equally(tmp_path: Path) -> None:
    windows = windows_of(filled(tmp_path, 3), images=False)
    drawn = torch.cat([windows.batch(step, 50).window for step in range(60)])
    counts = torch.bincount(drawn, minlength=15)
    assert counts.min() > 0.7 * len(drawn) / 15 and counts.max() < 1.3 * len(drawn) / 15


def test_oldest_whole_episodes_go_first(tmp_path: Path) -> None:
    replay = filled(tmp_path, 6, max_frames=12)
    assert [each.number for each in replay.episodes] == [4, 5]
    assert replay.num_frames == 11 and replay.num_added == 6
    assert set(windows_of(replay).at(np.arange(11)).state[:, 0, 0].tolist()) == {4.0, 5.0}
    files = sorted(path.name for path in (tmp_path / "episodes").iterdir())
    assert len(files) == 6, "a run that resumes from an earlier checkpoint needs them"
    replay.delete_unused()
    assert len(list((tmp_path / "episodes").iterdir())) == 2


def test_truncated_replay_equals_the_shorter(tmp_path: Path) -> None:
    shorter, longer = filled(tmp_path / "a", 3), filled(tmp_path / "b", 6)
    longer.truncate(3)
    for replay in (longer, Replay(tmp_path / "b", make_spec(), max_frames=1000)):
        assert replay.episodes == shorter.episodes and replay.num_added == 3
    longer.add(make_episode(3, 4, terminated=True))
    shorter.add(make_episode(3, 4, terminated=True))
    for name in ("index.jsonl", "episodes/000003.rows"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_notes_of_the_agent_are_kept(tmp_path: Path) -> None:
    replay = Replay(tmp_path, make_spec(), max_frames=100, recorded={"teachers": (2, 3)})
    noted = np.arange(30, dtype=np.float16).reshape(5, 2, 3)
    replay.add(make_episode(0), recorded={"teachers": noted})
    assert np.array_equal(replay.columns(0, ["teachers"])["teachers"], noted)
    part = np.zeros((3, 2, 3), np.float16)
    replay.read_into(0, 1, {"teachers": part})
    assert np.array_equal(part, noted[1:4])


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="the system does not list open files")
def test_no_file_stays_open(tmp_path: Path) -> None:
    """A long run has more episodes than a process may have open files."""
    windows = windows_of(filled(tmp_path, 30))
    before = len(list(Path("/dev/fd").iterdir()))
    for step in range(20):
        windows.batch(step, 8)
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_lost_and_short_files_are_named(tmp_path: Path) -> None:
    replay = filled(tmp_path, 2)
    first, second = sorted((tmp_path / "episodes").iterdir())
    first.write_bytes(first.read_bytes()[:-1])
    second.unlink()
    with pytest.raises(UserError, match=r"000000.rows is shorter than its 4 steps"):
        replay.columns(0)
    with pytest.raises(UserError, match=r"cannot read .*000001.rows: No such file"):
        replay.columns(1)


def test_rewards_must_be_finite(tmp_path: Path) -> None:
    replay = filled(tmp_path, 1)
    bad = replace(make_episode(1), reward=np.array([0, np.nan, 0, 0, 0], np.float32))
    with pytest.raises(UserError, match="the reward of step 1 is nan, in the episode of seed 1"):
        replay.add(bad)
    assert replay.num_added == 1 and len(list((tmp_path / "episodes").iterdir())) == 1


def test_actions_are_scaled_to_bounds(tmp_path: Path) -> None:
    replay = filled(tmp_path, 1)
    batch = windows_of(replay).at(np.array([0]))
    expected = torch.from_numpy(make_episode(0, 4).action / 2)
    torch.testing.assert_close(batch.action[0, :, 0], expected)
    assert batch.action.shape[-1] == ACTION


def test_half_a_line_is_no_episode(tmp_path: Path) -> None:
    """A kill may come while the index is written."""
    filled(tmp_path, 2)
    with (tmp_path / "index.jsonl").open("a") as index:
        index.write('{"number": 2, "task": "toy')
    again = Replay(tmp_path, make_spec(), max_frames=1000)
    assert again.num_added == 2
    again.truncate(2)
    again.add(make_episode(2))
    assert Replay(tmp_path, make_spec(), max_frames=1000).num_added == 3
