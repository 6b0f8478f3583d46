"""Comparisons of runs that act: which runs are seeds of one method, and what is said of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from training.online.tiny import tiny

from manyparts import cli
from manyparts.core.errors import UserError
from manyparts.core.serialisation import to_jsonable
from manyparts.evaluation.curves import over_seeds
from manyparts.report.comparison import groups_of, table_of, write_comparison
from manyparts.training.config import TrainConfig


def put(
    folder: Path,
    returns: list[float],
    *,
    config: TrainConfig | None = None,
    seed: int = 0,
    environment: str = "pointmass/reach",
    teachers: tuple[str, ...] = (),
    **facts: Any,
) -> Path:
    """A run with a check every 100 steps; its success is its return by 10."""
    folder.mkdir(parents=True)
    values = to_jsonable(replace(config or tiny(), seed=seed))
    values |= {"environment": environment, "data": [], "teachers": list(teachers), **facts}
    (folder / "config.json").write_text(json.dumps(values))
    rows = [
        {
            "step": number,
            "environment_steps": 100.0 * (number + 1),
            "validation/return": each,
            "validation/success": each / 10,
        }
        for number, each in enumerate(returns)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    faster = tiny(train_ratio=4.0)
    return [
        put(tmp_path / "a0", [0, 5, 9]),
        put(tmp_path / "b0", [9, 9], config=faster, teachers=("t/0",)),
        put(tmp_path / "a1", [1, 3, 5], seed=1),
        put(tmp_path / "b1", [7, 10], config=faster, seed=1, teachers=("t/1",)),
    ]


def test_seeds_of_a_method_are_one_group(runs: list[Path]) -> None:
    groups = groups_of(runs)
    assert [[run.name for run in group.runs] for group in groups] == [["a0", "a1"], ["b0", "b1"]]
    assert [group.name for group in groups] == [
        "dreamer online, train ratio 2.0, number of teachers 0",
        "dreamer online, train ratio 4.0, number of teachers 1",
    ]


@pytest.mark.parametrize(
    ("facts", "others", "name"),
    [
        # One source is no list in config.json.
        ({"data": "x/door"}, {"data": "somewhere/else/lock"}, "sources door"),
        ({"data": ["x/door", "x/lock"]}, {"data": ["x/door", "x/key"]}, "sources door, lock"),
        ({"prefill": "random"}, {"prefill": "runs/agent"}, "acts at random first True"),
    ],
)
def test_other_evidence_is_another_method(
    tmp_path: Path, facts: dict[str, Any], others: dict[str, Any], name: str
) -> None:
    own = [put(tmp_path / "a0", [1], **facts), put(tmp_path / "a1", [2], seed=1, **facts)]
    groups = groups_of([*own, put(tmp_path / "b0", [9], **others)])
    assert [len(group.runs) for group in groups] == [2, 1]
    assert groups[0].name == f"dreamer online, {name}"


def test_one_source_lies_anywhere(tmp_path: Path) -> None:
    """Its folder's name counts, and not its path."""
    first = put(tmp_path / "a0", [1], data="x/door")
    second = put(tmp_path / "a1", [2], seed=1, data="another/folder/door")
    assert len(groups_of([first, second])) == 1


def test_a_seed_counts_once(tmp_path: Path) -> None:
    first, again = put(tmp_path / "a0", [1], seed=3), put(tmp_path / "again", [1], seed=3)
    with pytest.raises(UserError, match=r"a0 and .*again are of one method and of seed 3"):
        groups_of([first, again])


def test_table_holds_the_statistics_of_curves(runs: list[Path]) -> None:
    groups = groups_of(runs)
    heads, rows = table_of(groups, "success", 0.9)
    assert heads[2:4] == ("return at 200", "success at 200")
    assert heads[-1] == "steps to success 0.9"
    # All of it is of the 100 to 200 steps that all four runs have.
    last = over_seeds([[5, 3]])
    area = over_seeds([[2.5, 2.0]])
    assert rows[0][2] == f"4 [{last.low:.3g}, {last.high:.3g}]"
    assert rows[0][4] == f"2.25 [{area.low:.3g}, {area.high:.3g}]"
    assert rows[0][5] == "not yet (0 of 2)" and rows[1][5] == "150 (2 of 2)"
    assert table_of(groups, "return", 1.0)[1][0][5] == "150 (2 of 2)"


def test_command_writes_and_prints_it(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", *map(str, runs)]) == 0
    path = runs[0].parent / "comparison.html"
    printed = capsys.readouterr().out
    assert f"report: {path}" in printed and "pointmass/reach: means over seeds" in printed
    page = path.read_text(encoding="utf-8")
    assert page.count('class="band c0"') == page.count('class="band c1"') == 2
    assert page.count('class="line thin c0"') == 4


def test_tasks_stand_apart(tmp_path: Path, runs: list[Path]) -> None:
    other = put(tmp_path / "c", [1, 2], environment="pointmass/reach-left")
    page = write_comparison([*runs, other], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<h2>pointmass/reach</h2>" in page and "<h2>pointmass/reach-left</h2>" in page
    # The rivals in which a name's settings differ are those of the same task.
    assert "<td>dreamer online</td>" in page


def test_what_cannot_be_compared_is_said(tmp_path: Path, runs: list[Path]) -> None:
    with pytest.raises(UserError, match="named twice"):
        groups_of([runs[0], runs[0]])
    with pytest.raises(UserError, match="no run folder"):
        groups_of([runs[0], tmp_path / "nowhere"])
    with pytest.raises(UserError, match="has no validation yet"):
        groups_of([runs[0], put(tmp_path / "young", [], seed=7)])
    offline = put(tmp_path / "offline", [1], config=replace(tiny(), online=None))
    with pytest.raises(UserError, match="learned from datasets"):
        groups_of([runs[0], offline])


def test_evaluation_is_of_one_run(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", *map(str, runs), "--evaluation", "x"]) == 2
    assert "--evaluation is for one run" in capsys.readouterr().err
    assert cli.main(["report"]) == 2
    assert "missing RUN" in capsys.readouterr().err
