"""Texts of each row: strings, subtasks by index, by time and by ranges of rows; and what
contradicts itself."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from data.formats.lerobot_sets import LENGTHS, assert_own_rows, feature, write_v3
from data.formats.lerobot_texts import (
    CHANGE,
    LIFT,
    REACH,
    WANTED,
    by_index,
    by_rows,
    by_time,
    entry,
    write_subtasks,
)

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check
from manyparts.data.tools.convert import convert

pytestmark = pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning")


def texts_of(folder: Path, column: str = "subtask") -> list[list[str | None]]:
    dataset = EpisodeDataset.open(folder)
    assert_own_rows(dataset, range(3))
    assert column in dataset.summary()["text_columns"]
    return [dataset.texts(index, column) for index in range(3)]


def with_strings(folder: Path) -> Path:
    return write_v3(
        folder,
        features={"subtask": feature("string", 1)},
        columns={"subtask": lambda _, row: REACH if row < CHANGE else LIFT},
    )


MAKE: Mapping[str, Callable[[Path], Path]] = {
    "strings": with_strings,
    "index": by_index,
    "time": by_time,
    "rows": lambda folder: by_rows(folder, ""),
}


@pytest.mark.parametrize("form", MAKE)
def test_each_row_has_its_subtask(form: str, tmp_path: Path) -> None:
    folder = MAKE[form](tmp_path / "set")
    assert texts_of(folder) == WANTED and check(folder) == []
    dataset = EpisodeDataset.open(folder)
    assert {task.instruction for task in dataset.tasks} == {"pick up the cube"}
    assert pickle.loads(pickle.dumps(dataset)).texts(-1, "subtask") == WANTED[-1]
    reasons = dataset.summary()["left_out"]
    assert any("the text column subtask where it is asked for" in why for why in reasons.values())
    convert(folder, tmp_path / "copy")
    assert_own_rows(EpisodeDataset.open(tmp_path / "copy"), range(3))


def test_rows_without_subtask_have_none(tmp_path: Path) -> None:
    def cell(episode: int, row: int) -> int | None:
        return -1 if episode == 1 else [0, None][row % 2]

    texts = texts_of(by_index(tmp_path / "index", cell))
    assert texts[0][:3] == [REACH, None, REACH] and set(texts[1]) == {None}
    late = [entry(LIFT, "subtask", 0.2), entry(None, "subtask", 0.4)]
    assert texts_of(by_time(tmp_path / "time", lambda *_: late))[0] == [
        *[None, None],
        *[LIFT, LIFT],
        *[None, None],
    ]
    spans = {"names": [[REACH], None, []], "start_frames": [[1], None, []]}
    folder = by_rows(tmp_path / "rows", **spans, end_frames=[[3], None, []])
    assert texts_of(folder, "sparse_subtask") == [
        [None, REACH, REACH, None, None, None],
        [None] * 5,
        [None] * 4,
    ]


def test_other_wordings_are_no_subtask(tmp_path: Path) -> None:
    entries = [entry("put it away", "task_aug", 0.0), entry("plan", "plan", 0.0)]
    assert texts_of(by_time(tmp_path / "set", lambda *_: entries))[0] == [None] * 6


def test_several_text_columns_keep_their_names(tmp_path: Path) -> None:
    names = ("subtask", "language_instruction", "subtask_index")
    features = {name: feature("string" if name != names[2] else "int64", 1) for name in names}
    columns = {
        "subtask": lambda _, row: " " if row else " reach ",
        "language_instruction": lambda _, row: f"row {row}",
        "subtask_index": lambda *_: 0,
    }
    folder = write_v3(tmp_path / "set", features=features, columns=columns)
    write_subtasks(folder, [0], [LIFT])
    assert texts_of(folder) == [["reach", *[None] * (length - 1)] for length in LENGTHS]
    assert texts_of(folder, "language_instruction")[2][3] == "row 3"
    assert texts_of(folder, "subtask_index")[1] == [LIFT] * 5


def test_an_unknown_text_column_is_refused(tmp_path: Path) -> None:
    dataset = EpisodeDataset.open(by_index(tmp_path / "set"))
    with pytest.raises(UserError, match="no text column 'subtasks'; did you mean subtask"):
        dataset.texts(0, "subtasks")
    plain = EpisodeDataset.open(write_v3(tmp_path / "plain"))
    with pytest.raises(UserError, match="no text column 'subtask'; it has none"):
        plain.texts(0, "subtask")


Damage = Callable[[Path], Path]


def without_table(folder: Path) -> Path:
    (by_index(folder) / "meta/subtasks.parquet").unlink()
    return folder


def with_torn_table(folder: Path) -> Path:
    (by_index(folder) / "meta/subtasks.parquet").write_bytes(b"PAR1 and no more")
    return folder


def with_double_numbers(folder: Path) -> Path:
    write_subtasks(by_index(folder), [0, 0], [REACH, LIFT])
    return folder


LEFT_OUT: dict[str, tuple[Damage, str]] = {
    "no table": (without_table, "meta/subtasks.parquet is missing"),
    "a torn table": (with_torn_table, "cannot be read as parquet"),
    "two texts of a number": (with_double_numbers, "two texts of one subtask_index"),
    "overlapping rows": (
        lambda folder: by_rows(folder, start_frames=[[0, 2]] * 3),
        "overlaps another one",
    ),
    "an end before its beginning": (
        lambda folder: by_rows(folder, end_frames=[[3, 1]] * 3),
        "overlaps another one",
    ),
    "a name too few": (
        lambda folder: by_rows(folder, names=[[REACH]] * 3),
        "1 names, 2 starts and 2 ends",
    ),
    "numbers for names": (
        lambda folder: by_rows(folder, names=[[1, 2]] * 3),
        "a name that is no text",
    ),
    "half a row": (
        lambda folder: by_rows(folder, start_frames=[[0.0, 2.5]] * 3),
        "expected whole numbers",
    ),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_unusable_subtasks_are_left_out(case: str, tmp_path: Path) -> None:
    make, why = LEFT_OUT[case]
    dataset = EpisodeDataset.open(make(tmp_path / "set"))
    assert_own_rows(dataset, range(3))
    assert dataset.reader.contents.text_columns == ()
    assert any(why in reason for reason in dataset.summary()["left_out"].values())


REFUSED: dict[str, tuple[Damage, str]] = {
    "a number beyond the table": (
        lambda folder: by_index(folder, lambda _, row: row),
        "subtask_index is 2 in row 2; meta/subtasks.parquet has no such one",
    ),
    "two subtasks at once": (
        lambda folder: by_time(
            folder, lambda *_: [entry(REACH, "subtask", 0.0), entry(LIFT, "subtask", 0.0)]
        ),
        "row 0 has several subtasks from 0 s on",
    ),
    "a subtask without a time": (
        lambda folder: by_time(folder, lambda *_: [entry(REACH, "subtask", None)]),
        "row 0 has a subtask that begins at None",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_contradictions_are_refused_with_the_row(case: str, tmp_path: Path) -> None:
    make, why = REFUSED[case]
    folder = make(tmp_path / "set")
    dataset = EpisodeDataset.open(folder)
    assert_own_rows(dataset, range(3))
    with pytest.raises(UserError, match=f"episode 1: subtask: {re.escape(why)}"):
        dataset.texts(1, "subtask")
    assert {(finding.check, finding.severity) for finding in check(folder)} == {
        ("texts", "warning")
    }
