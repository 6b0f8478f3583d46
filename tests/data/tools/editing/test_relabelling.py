"""New instructions reach rows, tables and lists; all else stays, byte by byte where it can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from data.formats.lerobot_sets import (
    DATA,
    EPISODES,
    change_table,
    feature,
    image,
    write_v3,
)
from data.formats.small_hdf5 import encoded
from data.synthetic import TASKS, assert_equal, make_episode, write
from data.tools.editing.lerobot_rules import assert_statistics_of_rows, read_as_lerobot
from data.tools.editing.sets import STILL, TEXTS, rich, snapshot

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.editing.commands import Destination, relabel

NEW, STATS = "lift the cube", "meta/stats.json"


def texts_of(folder: Path) -> list[list[str]]:
    """The instruction of each row, by episode."""
    return [read.tasks for read in read_as_lerobot(folder)]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rich(tmp_path_factory.mktemp("foreign") / "set")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    episodes = [make_episode(seed, 4) for seed in range(4)]
    return write(tmp_path_factory.mktemp("own") / "set", episodes).path


def test_renamed_task_leaves_rows_alone(foreign: Path, tmp_path: Path) -> None:
    before = snapshot(foreign)
    written = relabel(foreign, Destination(tmp_path / "copy"), texts={TEXTS[0]: NEW})
    former, now = before, snapshot(tmp_path / "copy")
    for name in former:
        if name.startswith(("data", "videos", "meta/subtasks", "meta/calibration")):
            assert now[name] == former[name]
    assert texts_of(tmp_path / "copy") == [
        [NEW] * 6,
        [TEXTS[1]] * 2 + [TEXTS[2]] * 3,
        [NEW] * 4,
    ]
    assert [read.listed for read in read_as_lerobot(tmp_path / "copy")] == [
        [NEW],
        list(TEXTS[1:]),
        [NEW],
    ]
    names = pq.read_table(tmp_path / "copy/meta/tasks.parquet")["task_name"].to_pylist()
    assert names == ["PickCube", "OpenDrawer", "CloseIt"]
    assert written.notes[0] == f"{TEXTS[0]!r} is now {NEW!r} in 2 episodes"
    assert snapshot(foreign) == before


CASES: dict[str, tuple[dict[str, Any], list[list[str]]]] = {
    "one text for all": (
        {"texts": NEW},
        [[NEW] * 6, [NEW] * 5, [NEW] * 4],
    ),
    "one text for an episode": (
        {"texts": NEW, "episodes": ["1"]},
        [[TEXTS[0]] * 6, [NEW] * 5, [TEXTS[0]] * 4],
    ),
    "one text for a task": (
        {"texts": NEW, "tasks": [TEXTS[2]]},
        [[TEXTS[0]] * 6, [TEXTS[1]] * 2 + [NEW] * 3, [TEXTS[0]] * 4],
    ),
    "a task and an episode of it": (
        {"texts": {TEXTS[0]: "grasp it", "2": NEW}},
        [["grasp it"] * 6, [TEXTS[1]] * 2 + [TEXTS[2]] * 3, [NEW] * 4],
    ),
    "two tasks become one": (
        {"texts": {TEXTS[1]: TEXTS[0], TEXTS[2]: TEXTS[0]}},
        [[TEXTS[0]] * 6, [TEXTS[0]] * 5, [TEXTS[0]] * 4],
    ),
    "an episode gets another's task": (
        {"texts": {"0,2": TEXTS[2]}},
        [[TEXTS[2]] * 6, [TEXTS[1]] * 2 + [TEXTS[2]] * 3, [TEXTS[2]] * 4],
    ),
    "texts are exchanged": (
        {"texts": {TEXTS[1]: TEXTS[2], TEXTS[2]: TEXTS[1]}},
        [[TEXTS[0]] * 6, [TEXTS[2]] * 2 + [TEXTS[1]] * 3, [TEXTS[0]] * 4],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_have_their_new_instruction(case: str, foreign: Path, tmp_path: Path) -> None:
    options, wanted = CASES[case]
    written = relabel(foreign, Destination(tmp_path / "copy"), **options)
    assert texts_of(tmp_path / "copy") == wanted
    used = {text for texts in wanted for text in texts}
    tasks = pq.read_table(tmp_path / "copy/meta/tasks.parquet")["task"].to_pylist()
    assert sorted(tasks) == sorted(used) and written.tasks == len(used)
    for read, former in zip(
        read_as_lerobot(tmp_path / "copy"), read_as_lerobot(foreign), strict=True
    ):
        assert read.columns == former.columns and read.meta == former.meta
        assert read.listed == list(dict.fromkeys(read.tasks))
    former, now = snapshot(foreign), snapshot(tmp_path / "copy")
    if any(now[name] != former[name] for name in former if name.startswith("data")):
        assert_statistics_of_rows(tmp_path / "copy")
    else:
        assert json.loads(now[STATS]) == json.loads(former[STATS])


def test_own_tasks_keep_their_names(own: Path, tmp_path: Path) -> None:
    texts = {"toy/reach": ["touch it", "reach for it", "go there"], "1": NEW}
    written = relabel(own, Destination(tmp_path / "copy"), texts=texts)
    former, now = EpisodeDataset.open(own), EpisodeDataset.open(tmp_path / "copy")
    assert [task.name for task in now.tasks] == ["toy/reach", "toy/push", f"toy/push#{NEW}"]
    assert now.tasks[2].environment == "toy/push", "it is evaluated there"
    assert now.tasks[0].paraphrases == ("reach for it", "go there")
    assert now.tasks[1] == TASKS[1] and now.tasks[2].paraphrases == ()
    instructions = [now.episode(index).instruction for index in range(4)]
    assert instructions == ["touch it", NEW, "touch it", TASKS[1].instruction]
    assert_equal(now.episode(3), former.episode(3))
    assert not any("paraphrase" in note for note in written.notes)


def test_episodes_with_equal_texts_share_a_task(own: Path, tmp_path: Path) -> None:
    texts = {"0": ["wave", "say hello"], "2": ["wave", "say hello"], "1,3": "wave"}
    relabel(own, Destination(tmp_path / "copy"), texts=texts)
    now = EpisodeDataset.open(tmp_path / "copy")
    assert [now.episode(index).task for index in range(4)] == ["toy/reach#wave"] * 4
    (task,) = now.tasks
    assert (task.instruction, task.paraphrases) == ("wave", ("say hello",))


def test_a_task_with_the_text_of_another_becomes_it(own: Path, tmp_path: Path) -> None:
    texts = {"toy/push": TASKS[0].instruction}
    relabel(own, Destination(tmp_path / "copy"), texts=texts)
    now = EpisodeDataset.open(tmp_path / "copy")
    assert now.tasks == (TASKS[0],) and set(now.episode_task.tolist()) == {0}
    names = pq.read_table(tmp_path / "copy/meta/tasks.parquet").to_pydict()
    assert len(names["task_index"]) == 1


def test_paraphrases_of_the_former_text_go(own: Path, tmp_path: Path) -> None:
    """They may ask for something else than the new one."""
    written = relabel(own, Destination(tmp_path / "copy"), texts={TASKS[0].instruction: NEW})
    task = EpisodeDataset.open(tmp_path / "copy").tasks[0]
    assert (task.name, task.instruction, task.paraphrases) == ("toy/reach", NEW, ())
    assert any("2 paraphrases of 'reach the red ball' left out" in note for note in written.notes)
    assert (tmp_path / "copy/README.md").read_text().count(NEW) == 1


def test_rows_of_an_unknown_task_get_the_listed_one(tmp_path: Path) -> None:
    source = write_v3(tmp_path / "source", tasks=TEXTS[:2])
    change_table(
        source / DATA.format(0),
        lambda columns: (
            columns
            | {"task_index": [7 if episode == 1 else 0 for episode in columns["episode_index"]]}
        ),
    )
    change_table(
        source / EPISODES,
        lambda columns: columns | {"tasks": [[TEXTS[0]], [TEXTS[1]], [TEXTS[0]]]},
    )
    written = relabel(source, Destination(tmp_path / "copy"), texts={"0": NEW})
    assert texts_of(tmp_path / "copy") == [[NEW] * 6, [TEXTS[1]] * 5, [TEXTS[0]] * 4]
    assert any("rows of a task that meta/tasks lacks: 1;" in note for note in written.notes)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown task": ({"texts": {"open a drawer": NEW}}, "did you mean open the drawer"),
    "unknown episode": ({"texts": {"3": NEW}}, "no episode 3; it has 0 to 2"),
    "unknown task for one text": ({"texts": NEW, "tasks": ["x"]}, "no task 'x'; choices: pick up"),
    "unknown episode for one text": ({"texts": NEW, "episodes": ["0-9"]}, "no episode 9"),
    "empty text": ({"texts": " "}, "the instruction of '--instruction' is ' '; expected words"),
    "no text": ({"texts": {"0": None}}, "the instruction of '0' is None; expected text"),
    "a number": ({"texts": {"0": 3}}, "the instruction of '0' is 3; expected text"),
    "an empty list": ({"texts": {"0": []}}, r"the instruction of '0' is \[\]; expected text"),
    "paraphrases": ({"texts": {"0": ["a", "b"]}}, "'0' has 2 instructions; LeRobot's format has"),
    "nothing": ({"texts": {}}, "there are no instructions"),
    "the same": ({"texts": {TEXTS[0]: TEXTS[0]}}, "nothing changes: .* has these instructions"),
    "two for one": ({"texts": {"0": "a", "0-1": "b"}}, "episode 0 has two instructions"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_labels_are_refused(case: str, foreign: Path, tmp_path: Path) -> None:
    options, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        relabel(foreign, Destination(tmp_path / "copy"), **options)
    assert list(tmp_path.iterdir()) == []


def test_task_that_is_a_number_is_not_guessed(tmp_path: Path) -> None:
    source = write_v3(tmp_path / "source", tasks=("1",))
    with pytest.raises(UserError, match=r"'1' is a task and an episode of .*--tasks 1"):
        relabel(source, Destination(tmp_path / "copy"), texts={"1": NEW})
    relabel(source, Destination(tmp_path / "copy"), texts=NEW, tasks=["1"])
    assert {text for texts in texts_of(tmp_path / "copy") for text in texts} == {NEW}


def test_episode_of_several_tasks_gets_one(foreign: Path, tmp_path: Path) -> None:
    """Its first rows have the text already."""
    relabel(foreign, Destination(tmp_path / "copy"), texts={"1": TEXTS[1]})
    assert texts_of(tmp_path / "copy")[1] == [TEXTS[1]] * 5


@pytest.mark.parametrize("in_place", [True, False])
def test_images_that_rows_name_become_a_part_of_them(tmp_path: Path, in_place: bool) -> None:
    """No row changes with a task's text, and yet the files that it names must not be lost."""

    def cell(episode: int, row: int) -> dict[str, Any]:
        name = f"images/{episode}-{row}.png"
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(encoded(image(episode, row, 12), "PNG"))
        return {"bytes": None, "path": name}

    features = {STILL: feature("image", 12, 12, 3)}
    folder = write_v3(tmp_path / "set", features=features, columns={STILL: cell})
    (name,) = EpisodeDataset.open(folder).spec.cameras
    before = [EpisodeDataset.open(folder).frames(index, name) for index in range(3)]
    text = EpisodeDataset.open(folder).tasks[0].instruction
    where = Destination(None, in_place=True) if in_place else Destination(tmp_path / "copy")
    relabel(folder, where, texts={text: "another text"})
    after = EpisodeDataset.open(folder if in_place else tmp_path / "copy")
    assert "another text" in [task.instruction for task in after.tasks]
    assert all(np.array_equal(after.frames(index, name), before[index]) for index in range(3))
