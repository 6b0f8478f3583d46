"""Which task an episode has, where metadata and rows name several, others or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.formats.lerobot_sets import (
    DATA,
    TASKS,
    change_table,
    write_v3,
)

from manyparts.core.errors import DatasetWarning
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check, repair


def test_several_tasks_per_episode_are_noted(tmp_path: Path) -> None:
    tasks = ("pick", "place")
    folder = write_v3(
        tmp_path / "set",
        tasks=tasks,
        episodes={"tasks": [["pick", "place"], ["place", "pick"], ["place"]]},
    )
    changing = [0, 0, 0, 1, 1, 1] + [0, 0, 1, 1, 1] + [1] * 4
    change_table(folder / DATA.format(0), lambda columns: {**columns, "task_index": changing})
    with pytest.warns(
        DatasetWarning,
        match="episodes with several tasks: 2; each is read with the task of its first row",
    ):
        dataset = EpisodeDataset.open(folder)
    assert [dataset.episode(index).instruction for index in range(3)] == ["pick", "pick", "place"]
    (finding,) = check(folder)
    assert finding.severity == "warning" and "several tasks" in finding.what


def test_task_missing_in_metadata_is_error(tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set", tasks=("pick", "place"))
    change_table(folder / DATA.format(0), lambda columns: {**columns, "task_index": [0] * 14 + [1]})
    error, notes = check(folder)
    assert "several tasks: 1" in notes.what and (error.check, error.where) == (
        "indices",
        "episode 2",
    )


@pytest.mark.parametrize(
    ("rows", "words"),
    [(1, "another task in their rows than meta/episodes lists"), (7, "meta/tasks lacks")],
)
def test_rows_with_other_task_are_noted(rows: int, words: str, tmp_path: Path) -> None:
    folder = write_v3(
        tmp_path / "set", tasks=("pick", "place"), episodes={"tasks": pa.array([["pick"]] * 3)}
    )
    change_table(
        folder / DATA.format(0),
        lambda columns: {**columns, "task_index": [0] * 6 + [rows] * 5 + [0] * 4},
    )
    with pytest.warns(DatasetWarning, match=rf"{words}: 1; "):
        dataset = EpisodeDataset.open(folder)
    wanted = ["pick", "place" if rows == 1 else "pick", "pick"]
    assert [dataset.episode(index).instruction for index in range(3)] == wanted
    assert any(words in finding.what for finding in check(folder))
    repair(folder, tmp_path / "copy")
    assert [episode.instruction for episode in EpisodeDataset.open(tmp_path / "copy")] == wanted


@pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning")
@pytest.mark.parametrize("listed", ["pick", ["pick"], [], None, ["unheard of"]])
def test_tasks_from_text_list_or_rows(listed: Any, tmp_path: Path) -> None:
    kind = pa.string() if isinstance(listed, str) else pa.list_(pa.string())
    folder = write_v3(
        tmp_path / "set", tasks=("place", "pick"), episodes={"tasks": pa.array([listed] * 3, kind)}
    )
    change_table(folder / DATA.format(0), lambda columns: {**columns, "task_index": [1] * 15})
    dataset = EpisodeDataset.open(folder)
    assert [dataset.episode(index).instruction for index in range(3)] == ["pick"] * 3
    assert check(folder) == []


def test_episode_without_known_task_left_out(tmp_path: Path) -> None:
    folder = write_v3(
        tmp_path / "set",
        episodes={"tasks": [["pick up the cube"], ["unheard of"], ["pick up the cube"]]},
    )
    change_table(folder / DATA.format(0), lambda columns: {**columns, "task_index": [7] * 15})
    with pytest.warns(DatasetWarning, match=r"1 \(its task is not in meta/tasks\)"):
        assert EpisodeDataset.open(folder).num_episodes == 2


@pytest.mark.parametrize("index", ["task", "__index_level_0__", None])
def test_task_texts_among_other_columns(index: str | None, tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set")
    name = index or "instruction"
    table = pa.table(
        {
            "task_index": [4.0, 2.0],
            "short": ["Pick", "Place"],
            name: ["pick up the cube", "put it down"],
        }
    )
    described = {"index_columns": [index] if index else [{"kind": "range"}]}
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(described)}), folder / TASKS)
    change_table(folder / DATA.format(0), lambda columns: {**columns, "task_index": [4] * 15})
    dataset = EpisodeDataset.open(folder)
    assert dataset.episode(0).instruction == "pick up the cube" and check(folder) == []


def test_an_empty_instruction_is_said(tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set", tasks=("",))
    with pytest.warns(DatasetWarning, match="episodes with an empty instruction: 3"):
        EpisodeDataset.open(folder)
    assert {finding.severity for finding in check(folder)} == {"warning"}
