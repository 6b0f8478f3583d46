"""The expert's actions stand in `expert_action`: LeRobot takes every key that begins with `action`
for an action."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from data.formats import foreign
from data.synthetic import ENVIRONMENT, FPS, TASKS, assert_equal, make_episode, make_spec, write

from manyparts.cli import main
from manyparts.core.columns import ACTION, EXPERT_ACTION
from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset, append
from manyparts.data.tools.check import check, repair
from manyparts.data.tools.convert import convert
from manyparts.embodiment.statistics import Statistics

EPISODES = [make_episode(seed, 5 + seed) for seed in range(4)]
FORMER = "action.expert"


@pytest.fixture
def current(tmp_path: Path) -> Path:
    return write(tmp_path / "current", EPISODES).path


@pytest.fixture
def former(current: Path, tmp_path: Path) -> Path:
    """The same dataset as it was written before the column had its name of today."""
    return rename_expert(Path(shutil.copytree(current, tmp_path / "former")), FORMER)


def rename_expert(folder: Path, name: str) -> Path:
    """Give the expert's column another name in every file of a LeRobotDataset."""
    for file in [folder / "meta/info.json", folder / "meta/stats.json"]:
        file.write_text(file.read_text().replace(EXPERT_ACTION, name))
    for file in folder.rglob("*.parquet"):
        table = pq.read_table(file)
        renamed = [column.replace(EXPERT_ACTION, name) for column in table.column_names]
        pq.write_table(table.rename_columns(renamed), file)
    return folder


def stored_columns(folder: Path) -> set[str]:
    """Every column of any data file that has to do with actions."""
    names = (
        name for file in (folder / "data").rglob("*.parquet") for name in pq.read_schema(file).names
    )
    return {name for name in names if "action" in name}


def test_only_the_action_begins_with_action(current: Path) -> None:
    info, stats = (
        json.loads((current / "meta" / name).read_text()) for name in ("info.json", "stats.json")
    )
    assert [name for name in info["features"] if name.startswith("action")] == [ACTION]
    assert [name for name in stats if name.startswith("action")] == [ACTION]
    assert stored_columns(current) == {ACTION, EXPERT_ACTION}
    assert "`expert_action`" in (current / "README.md").read_text()


def test_former_column_name_is_read(former: Path, current: Path) -> None:
    old, new = EpisodeDataset.open(former), EpisodeDataset.open(current)
    assert FORMER in (former / "meta/info.json").read_text()
    assert old.columns(1).keys() == new.columns(1).keys() and old.statistics == new.statistics
    for index, episode in enumerate(EPISODES):
        assert_equal(old.episode(index), episode)
    assert check(former) == check(current) == []


def test_appending_keeps_old_column_name(former: Path) -> None:
    writer = append(former, make_spec(), fps=FPS, tasks=TASKS, environment=ENVIRONMENT)
    with writer:
        writer.add(make_episode(10, 6))
    assert stored_columns(former) == {ACTION, FORMER}
    assert set(json.loads((former / "meta/info.json").read_text())["features"]) >= {ACTION, FORMER}
    grown = EpisodeDataset.open(former)
    for index, episode in enumerate([*EPISODES, make_episode(10, 6)]):
        assert_equal(grown.episode(index), episode)
    assert check(former) == []


@pytest.mark.parametrize("rewrite", [convert, repair])
def test_rewritten_dataset_has_new_name(rewrite: Any, former: Path, tmp_path: Path) -> None:
    rewrite(former, tmp_path / "again")
    assert stored_columns(tmp_path / "again") == {ACTION, EXPERT_ACTION}
    assert_equal(EpisodeDataset.open(tmp_path / "again").episode(1), EPISODES[1])


def test_both_column_names_stay_apart(current: Path) -> None:
    info = json.loads((current / "meta/info.json").read_text())
    info["features"][FORMER] = info["features"][ACTION]
    (current / "meta/info.json").write_text(json.dumps(info))
    for file in (current / "data").rglob("*.parquet"):
        table = pq.read_table(file)
        pq.write_table(table.append_column(FORMER, table[ACTION]), file)
    dataset = EpisodeDataset.open(current)
    np.testing.assert_array_equal(dataset.columns(1)[EXPERT_ACTION], EPISODES[1].expert_action)
    assert FORMER in dataset.reader.contents.left_out


def test_old_statistics_read_under_new_name() -> None:
    stored = {"min": [0.0], "max": [1.0], "mean": [0.5], "std": [0.1], "count": [3]}
    assert list(Statistics.from_dict({ACTION: stored, FORMER: stored}).features) == [
        ACTION,
        EXPERT_ACTION,
    ]


def test_expert_of_other_shape_left_out(current: Path) -> None:
    info = json.loads((current / "meta/info.json").read_text())
    info["features"][EXPERT_ACTION]["shape"] = [3]
    (current / "meta/info.json").write_text(json.dumps(info))
    for file in (current / "data").rglob("*.parquet"):
        table = pq.read_table(file)
        wide = [[*row, 7.0] for row in table[EXPERT_ACTION].to_pylist()]
        pq.write_table(
            table.set_column(table.column_names.index(EXPERT_ACTION), EXPERT_ACTION, [wide]), file
        )
    with pytest.warns(match=r"left out expert_action \(float32 \[3\], unlike the action's \[2\]\)"):
        dataset = EpisodeDataset.open(current)
    np.testing.assert_array_equal(dataset.episode(1).expert_action, EPISODES[1].action)


@pytest.mark.parametrize("width", [2, 3])
def test_npz_files_may_hold_expert_actions(width: int, tmp_path: Path) -> None:
    folder = foreign.npz(tmp_path / "npz")
    for file in folder.glob("*.npz"):
        held = dict(np.load(file))
        expert = np.repeat(held["action"][:, :1] + 0.25, width, axis=1)
        np.savez(file, **held, expert_action=expert)
    if width == 3:
        with pytest.warns(match="left out expert_action"):
            dataset = EpisodeDataset.open(folder)
    else:
        dataset = EpisodeDataset.open(folder)
    assert not any("expert" in name for name in dataset.spec.state_names)
    episode, offset = dataset.episode(0), 0.25 if width == 2 else 0.0
    np.testing.assert_allclose(episode.expert_action[:, 0], episode.action[:, 0] + offset)


@pytest.mark.parametrize("format", ["lerobot", "robomimic", "minari"])
@pytest.mark.parametrize("seal_seconds", [0.0, 30.0])
def test_expert_actions_written_as_actions(
    format: Any, seal_seconds: float, current: Path, tmp_path: Path
) -> None:
    target = tmp_path / ("target.hdf5" if format == "robomimic" else "target")
    convert(current, target, format=format, actions="expert", seal_seconds=seal_seconds)
    dataset = EpisodeDataset.open(target)
    assert EXPERT_ACTION not in dataset.columns(1)
    for index, episode in enumerate(EPISODES):
        np.testing.assert_allclose(dataset.episode(index).action, episode.expert_action, atol=1e-6)
    if format == "lerobot":
        assert (
            stored_columns(target) == {ACTION}
            and EXPERT_ACTION not in (target / "README.md").read_text()
        )
        assert check(target) == []


def test_command_line_writes_expert_actions(former: Path, tmp_path: Path) -> None:
    assert (
        main(["data", "convert", str(former), str(tmp_path / "target"), "--actions", "expert"]) == 0
    )
    np.testing.assert_array_equal(
        EpisodeDataset.open(tmp_path / "target").episode(1).action, EPISODES[1].expert_action
    )


def test_measured_bounds_follow_the_expert(tmp_path: Path) -> None:
    folder = foreign.npz(tmp_path / "npz")
    for file in folder.glob("*.npz"):
        held = dict(np.load(file))
        np.savez(file, **held, expert_action=3 * held["action"])
    convert(folder, tmp_path / "target", actions="expert")
    source, target = (
        EpisodeDataset.open(folder).spec.action,
        EpisodeDataset.open(tmp_path / "target").spec.action,
    )
    np.testing.assert_allclose(
        target.high, source.high, rtol=1e-6
    )  # the source reaches as far as either


def test_dataset_without_expert_is_refused(current: Path, tmp_path: Path) -> None:
    convert(current, tmp_path / "only", actions="expert")
    with pytest.raises(UserError, match="has no expert_action, so its actions are the only ones"):
        convert(tmp_path / "only", tmp_path / "again", actions="expert")
    assert not (tmp_path / "again").exists()
