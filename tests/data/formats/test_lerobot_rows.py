"""Rows are found by what they say of themselves; where they contradict, their episode is left out
with a word."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from data.formats.lerobot_sets import (
    DATA,
    EPISODES,
    INFO,
    LENGTHS,
    assert_own_rows,
    change_json,
    change_table,
    write_v3,
    write_v21,
)
from data.synthetic import make_episode, write

from manyparts.core.errors import DatasetWarning, UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.lerobot.remote import RemoteReader
from manyparts.data.tools.check import check, repair
from manyparts.data.tools.convert import convert

FIRST, OLD = DATA.format(0), "data/chunk-000/episode_{:06d}.parquet"
FIVE = (6, 5, 4, 6, 5)


def set_column(path: Path, name: str, change: Callable[[list[Any]], Any]) -> None:
    """Alter one column of a parquet file; `change` alters the list, or returns another."""

    def put(columns: dict[str, list[Any]]) -> None:
        changed = change(columns[name])
        columns[name] = columns[name] if changed is None else changed

    change_table(path, put)


def keep_rows(path: Path, wanted: Callable[[int], Any], name: str = "episode_index") -> None:
    """Keep the rows of which `wanted` says so, by one column."""

    def cut(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        chosen = [position for position, value in enumerate(columns[name]) if wanted(value)]
        return {key: [values[position] for position in chosen] for key, values in columns.items()}

    change_table(path, cut)


def order_rows(path: Path, order: Callable[[int], Any]) -> None:
    def put(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        positions = np.asarray(order(len(columns["index"])))
        return {
            key: [values[position] for position in positions] for key, values in columns.items()
        }

    change_table(path, put)


def stale_file_number(folder: Path) -> None:
    write_v3(folder, FIVE, files=[0, 0, 1, 1, 1])
    set_column(folder / EPISODES, "data/file_index", lambda _: [0, 0, 0, 1, 1])


def first_rows_that_restart(folder: Path) -> None:
    write_v3(
        folder,
        files=[0, 0, 1],
        episodes={"dataset_from_index": [0, 6, 0], "dataset_to_index": [6, 11, 4]},
    )


def shuffled(folder: Path) -> None:
    write_v3(folder)
    order_rows(folder / FIRST, np.random.default_rng(0).permutation)


def files_in_another_order(folder: Path) -> None:
    write_v3(folder, files=[2, 0, 1])


def split_over_files(folder: Path) -> None:
    write_v3(folder)
    table = pq.read_table(folder / FIRST)
    pq.write_table(table.slice(0, 8), folder / FIRST)
    pq.write_table(table.slice(8), folder / DATA.format(1))


def copied_files(folder: Path) -> None:
    write_v3(folder, files=[0, 0, 1])
    for name in ("file-000 (1).parquet", "backup.parquet"):
        pq.write_table(
            pq.read_table(folder / FIRST).drop_columns("timestamp"),
            folder / "data/chunk-000" / name,
        )


def rows_without_counters(folder: Path) -> None:
    write_v3(folder, files=[0, 0, 1])
    for file in (FIRST, DATA.format(1)):
        pq.write_table(
            pq.read_table(folder / file).drop_columns(["episode_index", "frame_index"]),
            folder / file,
        )


def swapped_old_files(folder: Path) -> None:
    write_v21(folder)
    one, other = folder / OLD.format(0), folder / OLD.format(1)
    held = one.read_bytes()
    one.write_bytes(other.read_bytes()), other.write_bytes(held)


def numbers_as_doubles(folder: Path) -> None:
    write_v3(folder, episodes={"length": [6.0, 5.0, 4.0], "data/file_index": [0.0] * 3})
    for name in ("episode_index", "frame_index", "task_index"):
        set_column(folder / FIRST, name, lambda values: [float(value) for value in values])
    change_json(folder / INFO, fps=10.0, total_episodes="3", total_frames=15.0)


READ = {
    "stale file number": (stale_file_number, FIVE, "says: 2"),
    "first rows that restart": (first_rows_that_restart, LENGTHS, "says: 2"),
    "shuffled": (shuffled, LENGTHS, ""),
    "files in another order": (files_in_another_order, LENGTHS, "says: 0, 1, 2"),
    "split over files": (split_over_files, LENGTHS, "says: 1, 2"),
    "copied files": (copied_files, LENGTHS, "that a second file has, too: 0, 1"),
    "rows without counters": (rows_without_counters, LENGTHS, ""),
    "swapped old files": (swapped_old_files, LENGTHS, "says: 0, 1"),
    "numbers as doubles": (numbers_as_doubles, LENGTHS, ""),
}


@pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning")
@pytest.mark.parametrize("case", READ)
def test_rows_are_found_where_they_are(case: str, tmp_path: Path) -> None:
    make, lengths, words = READ[case]
    make(tmp_path / "set")
    dataset = EpisodeDataset.open(tmp_path / "set")
    assert_own_rows(dataset, range(len(lengths)), lengths)
    assert words in " ".join(dataset.summary()["notes"])
    assert not [
        finding for finding in check(tmp_path / "set") if finding.check not in ("notes", "indices")
    ]
    assert repair(tmp_path / "set", tmp_path / "copy") == []
    assert_own_rows(EpisodeDataset.open(tmp_path / "copy"), range(len(lengths)), lengths)
    assert check(tmp_path / "copy", every_frame=True) == []


@dataclass(frozen=True)
class Contradiction:
    """damage: what is done to a dataset of version 3. lost: episodes that are left out, and words
    of the reason."""

    damage: Callable[[Path], Any]
    lost: Sequence[int]
    words: str


def put(position: int, value: Any) -> Callable[[list[Any]], Any]:
    return lambda values: values.__setitem__(position, value)


CONTRADICTIONS = {
    "a row twice": Contradiction(
        lambda folder: order_rows(folder / FIRST, lambda n: [0, 0, *range(1, n)]),
        [0],
        "has 7 rows; .* counts 6",
    ),
    "a row missing": Contradiction(
        lambda folder: order_rows(folder / FIRST, lambda n: [*range(7), *range(8, n)]),
        [1],
        "has 4 rows; .* counts 5",
    ),
    "a row instead of another": Contradiction(
        lambda folder: order_rows(folder / FIRST, lambda n: [0, 0, *range(2, n)]),
        [0],
        "not 0 to 5, each once",
    ),
    "frames counted from elsewhere": Contradiction(
        lambda folder: set_column(
            folder / FIRST, "frame_index", lambda values: [value + 3 for value in values]
        ),
        [],
        "not 0 to 5, each once",
    ),
    "rows that say they are another's": Contradiction(
        lambda folder: set_column(
            folder / FIRST, "episode_index", lambda v: [min(value, 1) for value in v]
        ),
        [1, 2],
        "has 9 rows; .* counts 5",
    ),
    "no rows at all": Contradiction(
        lambda folder: keep_rows(folder / FIRST, lambda number: number != 1),
        [1],
        "in none of the data files",
    ),
    "another length": Contradiction(
        lambda folder: set_column(folder / EPISODES, "length", put(1, 6)),
        [1],
        "has 5 rows; meta/episodes counts 6",
    ),
    "no frames": Contradiction(
        lambda folder: set_column(folder / EPISODES, "length", put(1, 0)), [1], "it has no frames"
    ),
    "listed twice": Contradiction(
        lambda folder: set_column(folder / EPISODES, "episode_index", put(2, 1)),
        [1, 2],
        "lists it twice",
    ),
    "not listed": Contradiction(
        lambda folder: keep_rows(folder / EPISODES, lambda number: number != 2),
        [2],
        "does not list it",
    ),
}


@pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning")
@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_contradictory_episode_is_left_out(case: str, tmp_path: Path) -> None:
    contradiction, folder = CONTRADICTIONS[case], write_v3(tmp_path / "set")
    contradiction.damage(folder)
    listed = pq.read_table(folder / EPISODES)["length"].to_pylist()
    change_json(folder / INFO, total_episodes=len(listed), total_frames=sum(listed))
    if not contradiction.lost:
        with pytest.raises(
            UserError, match=f"no episode that can be read; .*{contradiction.words}"
        ):
            EpisodeDataset.open(folder)
        return
    kept = [number for number in range(3) if number not in contradiction.lost]
    with pytest.warns(DatasetWarning, match=contradiction.words):
        dataset = EpisodeDataset.open(folder)
    assert_own_rows(dataset, kept)
    assert [dataset.reader.contents.name_of(index) for index in range(len(kept))] == list(
        map(str, kept)
    )
    assert list(dataset.summary()["episodes_left_out"]) == list(
        dict.fromkeys(map(str, contradiction.lost))
    )
    assert any(
        finding.check == "episode" and finding.severity == "error" for finding in check(folder)
    )
    assert sorted(set(repair(folder, tmp_path / "copy"))) == list(map(str, contradiction.lost))
    copy = EpisodeDataset.open(tmp_path / "copy")
    assert [copy.episode(index).state[0, 0] // 100 for index in range(copy.num_episodes)] == kept
    assert check(tmp_path / "copy") == []


@pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning")
def test_recording_with_gap_keeps_numbers(tmp_path: Path) -> None:
    lengths, there = (6, 5, 4, 6, 5, 4), [0, 1, 4, 5]
    folder = write_v3(tmp_path / "set", lengths)
    for path in (FIRST, EPISODES):
        keep_rows(folder / path, lambda number: number in there)
    with pytest.raises(
        UserError, match="counts 6 episodes, meta/episodes 4; episodes 2, 3 are missing"
    ):
        EpisodeDataset.open(folder)
    assert {"metadata", "notes"} <= {finding.check for finding in check(folder)}
    assert repair(folder, tmp_path / "copy") == [] and check(tmp_path / "copy") == []
    copy = EpisodeDataset.open(tmp_path / "copy")
    for index, name in enumerate(there):
        np.testing.assert_array_equal(
            copy.episode(index).state[:, 0], 100 * name + np.arange(lengths[name])
        )
    change_json(folder / INFO, total_episodes=4, total_frames=20)
    assert_own_rows(EpisodeDataset.open(folder), there, lengths)


@pytest.mark.parametrize("kept", [(0, 2), (1, 2), (2,)])
def test_v2_folder_with_deleted_episodes(kept: tuple[int, ...], tmp_path: Path) -> None:
    folder = write_v21(tmp_path / "set", kept=kept)
    with pytest.warns(DatasetWarning, match="missing episode numbers"):
        dataset = EpisodeDataset.open(folder)
    assert_own_rows(dataset, kept)
    assert dataset.reader.contents.episode_names == tuple(map(str, kept))
    assert [finding.severity for finding in check(folder)] == ["warning"]
    convert(folder, tmp_path / "copy")
    assert check(tmp_path / "copy") == []


def test_torn_v2_file_costs_one_episode(tmp_path: Path) -> None:
    folder = write_v21(tmp_path / "set")
    (folder / OLD.format(1)).write_bytes(b"PAR1" + bytes(300))
    with pytest.raises(
        UserError, match=r"episode_000001.parquet cannot be read.*--fix COPY` leaves it out"
    ):
        EpisodeDataset.open(folder)
    assert repair(folder, tmp_path / "copy") == ["1"]
    assert EpisodeDataset.open(tmp_path / "copy").num_episodes == 2


def test_rows_without_indices_must_match_count(tmp_path: Path) -> None:
    rows_without_counters(tmp_path / "set")
    pq.write_table(pq.read_table(tmp_path / "set" / FIRST).slice(1), tmp_path / "set" / FIRST)
    with pytest.raises(UserError, match=r"file-000.parquet has 10 rows; meta/episodes counts 11"):
        EpisodeDataset.open(tmp_path / "set")
    assert repair(tmp_path / "set", tmp_path / "copy") == ["0", "1"]


def test_repeated_rows_refused_when_read(tmp_path: Path) -> None:
    """Where statistics of a file's row group show nothing."""
    folder = write_v21(tmp_path / "set")
    order_rows(folder / OLD.format(0), lambda count: [0, 1, 1, 3, 4, 5])
    dataset = EpisodeDataset.open(folder)
    with pytest.raises(
        UserError, match=r"episode 0: its frame_index is not 0 to 5, each once; .*leaves it out"
    ):
        dataset.episode(0)
    assert repair(folder, tmp_path / "copy") == ["0"]


@pytest.mark.parametrize("value", [0.5, float("nan"), None, "x"])
def test_invalid_integer_names_its_column(value: Any, tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set")
    set_column(
        folder / EPISODES, "data/chunk_index", lambda _: [str(value) if value == "x" else value] * 3
    )
    with pytest.raises(
        UserError, match=r"meta/episodes: data/chunk_index holds .*; expected whole numbers"
    ):
        EpisodeDataset.open(folder)


def test_remote_episode_in_other_file_refused(tmp_path: Path) -> None:
    """Only what metadata names is fetched."""
    stale_file_number(tmp_path / "set")
    dataset = EpisodeDataset(
        RemoteReader(f"file://{tmp_path / 'set'}", cache_dir=tmp_path / "cache")
    )
    assert dataset.episode(3).state[0, 0] == 300 and dataset.episode(0).state[0, 0] == 0
    with pytest.raises(UserError, match=r"episode 2 is not in data/chunk-000/file-000.parquet"):
        dataset.episode(2)


def test_numbers_of_a_remote_dataset_fetch_no_videos(tmp_path: Path) -> None:
    whole = write(tmp_path / "set", [make_episode(0, 5)], images="video")
    reader = RemoteReader(f"file://{whole.path}", cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(reader.columns(0)["action"], whole.episode(0).action)
    assert not list((tmp_path / "cache").rglob("*.mp4"))
    assert reader.frames(0, "front", np.arange(2)).shape == (2, 16, 16, 3)
    assert len(list((tmp_path / "cache").rglob("*.mp4"))) == 1


def test_a_sound_dataset_says_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DatasetWarning)
        for number, write in enumerate((write_v3, write_v21)):
            folder = write(tmp_path / str(number))
            assert_own_rows(EpisodeDataset.open(folder), range(3))
            assert check(folder) == []


def test_gap_of_a_trillion_numbers(tmp_path: Path) -> None:
    """A torn number of an episode: its rows have the right one."""
    folder = write_v3(tmp_path / "set")
    change_table(folder / EPISODES, lambda columns: {**columns, "episode_index": [0, 1, 2**42]})
    with pytest.warns(DatasetWarning, match="its rows are in none of the data files"):
        assert_own_rows(EpisodeDataset.open(folder), [0, 1])
