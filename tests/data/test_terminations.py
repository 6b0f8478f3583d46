"""Episodes that ended for good stay so in every file that can say it, and nothing else changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from data.formats.small_hdf5 import LENGTHS, minari, minari_arrow, put
from data.synthetic import ENVIRONMENT, FPS, TASKS, assert_equal, make_episode, make_spec, write

from manyparts.core.columns import TERMINATED
from manyparts.core.errors import UserError
from manyparts.data.dataset import DatasetWriter, EpisodeDataset, append
from manyparts.data.formats.lerobot.remote import RemoteReader
from manyparts.data.sampling.subset import SubsetReader
from manyparts.data.tools.check import check, repair
from manyparts.data.tools.convert import convert

ENDED = [False, True, False, True, True]
EPISODES = [replace(make_episode(seed, 4 + seed % 3), terminated=ENDED[seed]) for seed in range(5)]
SURVIVORS = [replace(each, terminated=False) for each in EPISODES]
pytestmark = pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> EpisodeDataset:
    return write(tmp_path_factory.mktemp("falls") / "set", EPISODES, terminates=True)


def ends_of(dataset: EpisodeDataset) -> list[bool] | None:
    """What a dataset says of all its episodes, once it says the same of each alone."""
    if dataset.terminated is None:
        assert all(TERMINATED not in dataset.columns(index) for index in range(len(dataset)))
        return None
    ends = dataset.terminated.tolist()
    assert [episode.terminated for episode in dataset] == ends
    return ends


def test_written_terminations_are_read(dataset: EpisodeDataset) -> None:
    assert ends_of(dataset) == ENDED
    for index, episode in enumerate(EPISODES):
        assert_equal(dataset.episode(index), episode)
        rows = dataset.columns(index)[TERMINATED]
        assert rows.dtype == bool
        assert rows.tolist() == [False] * (len(episode) - 1) + [ENDED[index]]
    assert not check(dataset.path)


def test_unsaid_terminations_leave_no_column(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", SURVIVORS)
    assert ends_of(dataset) is None
    for file in dataset.reader.files():
        assert TERMINATED.encode() not in file.read_bytes(), file


def test_terminated_episode_needs_the_column(tmp_path: Path) -> None:
    message = (
        "episode of toy/push with seed 1 terminated, but the dataset has no column next.terminated"
    )
    with pytest.raises(UserError, match=message):
        write(tmp_path / "set", EPISODES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("terminates", [True, False])
def test_appending_keeps_the_columns(tmp_path: Path, terminates: bool) -> None:
    first = write(tmp_path / "set", SURVIVORS[:2], terminates=terminates)
    with append(first.path, make_spec(), fps=FPS, tasks=TASKS, environment=ENVIRONMENT) as writer:
        if terminates:
            writer.add(EPISODES[3])
        else:
            with pytest.raises(UserError, match=r"has no column next\.terminated"):
                writer.add(EPISODES[3])
            writer.add(SURVIVORS[3])
    assert ends_of(EpisodeDataset.open(first.path)) == (
        [False, False, True] if terminates else None
    )


@pytest.mark.parametrize("format", ["lerobot", "minari", "robomimic"])
@pytest.mark.parametrize("terminates", [True, False])
def test_conversion_keeps_what_is_said(tmp_path: Path, format, terminates: bool) -> None:
    episodes = EPISODES if terminates else SURVIVORS
    source = write(tmp_path / "set", episodes, terminates=terminates)
    first = tmp_path / ("first.hdf5" if format == "robomimic" else "first")
    convert(source.path, first, format=format)
    convert(first, tmp_path / "second", seal_seconds=0)
    for path in (first, tmp_path / "second"):
        converted = EpisodeDataset.open(path)
        assert ends_of(converted) == (ENDED if terminates else None)
        for read, wanted in zip(converted, episodes, strict=True):
            assert_equal(read, wanted)


@pytest.mark.parametrize("terminates", [True, False])
def test_minari_ends_are_of_two_kinds(tmp_path: Path, terminates: bool) -> None:
    """Without the column success counts as termination, as it always did."""
    source = write(tmp_path / "set", EPISODES if terminates else SURVIVORS, terminates=terminates)
    convert(source.path, tmp_path / "minari", format="minari")
    with h5py.File(tmp_path / "minari/data/main_data.hdf5") as file:
        for index, episode in enumerate(source):
            ends = [file[f"episode_{index}/{name}"][:] for name in ("terminations", "truncations")]
            ended = ENDED[index] if terminates else episode.success[-1]
            assert [bool(each[-1]) for each in ends] == [ended, not ended]
            assert not any(each[:-1].any() for each in ends)


def test_minari_terminations_of_others_read(tmp_path: Path) -> None:
    def change(number: int, episode) -> None:
        put(episode, "terminations", np.arange(LENGTHS[number]) == LENGTHS[number] - (number == 1))

    assert ends_of(EpisodeDataset.open(minari(tmp_path / "hdf5", change=change))) == [
        False,
        True,
        False,
    ]
    assert ends_of(EpisodeDataset.open(minari_arrow(tmp_path / "arrow", "arrow"))) == [False] * 3


def test_repaired_copies_keep_terminations(dataset: EpisodeDataset, tmp_path: Path) -> None:
    twice = write(tmp_path / "twice", [*EPISODES, EPISODES[1]], terminates=True)
    assert repair(twice.path, tmp_path / "copy") == ["5"]
    copy = EpisodeDataset.open(tmp_path / "copy")
    assert ends_of(copy) == ENDED and not check(copy.path)


def test_chosen_episodes_keep_their_ends(dataset: EpisodeDataset) -> None:
    chosen = EpisodeDataset(SubsetReader(dataset.reader, [3, 0]))
    assert ends_of(chosen) == [True, False]


def test_remote_metadata_tells_the_ends(dataset: EpisodeDataset, tmp_path: Path) -> None:
    reader = RemoteReader(f"file://{dataset.path}", cache_dir=tmp_path)
    remote = EpisodeDataset(reader)
    assert remote.terminated is not None and remote.terminated.tolist() == ENDED
    assert not (reader.path / "data").exists(), "no row was fetched for it"
    reader.removed()


def test_rows_tell_where_statistics_lack(dataset: EpisodeDataset, tmp_path: Path) -> None:
    """As in the datasets of other programs."""
    copy = write(tmp_path / "set", EPISODES, terminates=True).path
    info = json.loads((copy / "meta/info.json").read_text())
    del info["manyparts"]
    (copy / "meta/info.json").write_text(json.dumps(info))
    (file,) = copy.glob("meta/episodes/*/*.parquet")
    table = pq.read_table(file)
    kept = [name for name in table.column_names if not name.startswith(f"stats/{TERMINATED}")]
    pq.write_table(table.select(kept), file)
    assert ends_of(EpisodeDataset.open(copy)) == ENDED


def test_only_the_column_is_added(tmp_path: Path) -> None:
    path, spec = tmp_path / "set", make_spec()
    with DatasetWriter(path, spec, fps=FPS, tasks=TASKS, environment=ENVIRONMENT) as writer:
        for episode in SURVIVORS:
            writer.add(episode)
    with_column = write(tmp_path / "other", SURVIVORS, terminates=True)
    tables = [
        pq.read_table(next(folder.glob("data/*/*.parquet"))) for folder in (path, with_column.path)
    ]
    assert tables[0].equals(tables[1].drop_columns([TERMINATED]))
    assert ends_of(with_column) == [False] * 5
