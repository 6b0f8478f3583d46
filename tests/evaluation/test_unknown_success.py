"""Tasks that do not say when they are solved: success is unknown everywhere, and never 0."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from envs import gym_worlds

from manyparts.cli.evaluate import print_result
from manyparts.core.errors import UserError
from manyparts.evaluation.protocol import evaluate_reference
from manyparts.evaluation.record import EpisodeRecord
from manyparts.evaluation.results import Result, compare
from manyparts.report.success_table import success_table

SILENT, SAYS = (f"gym:{gym_worlds.__name__}:{kind}-v0" for kind in ("Silent", "Dot"))


def result_of(*tasks: str) -> Result:
    """Ten episodes of each task, with the returns 0 to 9; success is unknown of `SILENT`."""
    episodes = []
    for task in tasks:
        for index in range(10):
            solved = None if task == SILENT else index < 4
            outcome = (solved, solved, float(index), 20)
            episodes.append(EpisodeRecord(task, index, index, None, *outcome))
    return Result(tuple(episodes), {"tasks": list(tasks), "episodes": 10})


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random actions in two tasks, of which one does not say when it is solved."""
    output = tmp_path_factory.mktemp("evaluated") / "random"
    evaluate_reference(
        "random", [SILENT, SAYS], output=output, episodes=4, workers=1, videos=1, max_steps=10
    )
    return output


def test_unknown_is_null_in_files(evaluated: Path) -> None:
    lines = [json.loads(line) for line in (evaluated / "episodes.jsonl").read_text().splitlines()]
    values = json.loads((evaluated / "results.json").read_text())
    for rows in (lines, values["episodes"]):
        silent = [row for row in rows if row["task"] == SILENT]
        others = [row for row in rows if row["task"] == SAYS]
        assert len(silent) == len(others) == 4
        assert all(row["success_any"] is row["success_last"] is None for row in silent)
        assert all(type(row["success_any"]) is bool for row in others)
    measures = values["per_task"][SILENT]
    assert measures["success_any"] is None and measures["success_last"] is None
    for name in ("return", "length"):
        assert measures[name]["low"] <= measures[name]["mean"] <= measures[name]["high"]
    assert measures["return"]["low"] < measures["return"]["high"]
    assert values["aggregate"]["tasks_with_success"] == 1
    assert Result.load(evaluated).per_task[SILENT].keys() == {"return", "length"}


def test_unknown_episode_is_filmed_under_that_name(evaluated: Path) -> None:
    folder = evaluated / "videos" / SILENT.replace("/", "_")
    assert [path.name.partition("-")[0] for path in folder.glob("*.mp4")] == ["unknown"]


def test_second_call_reads_unknown_again(evaluated: Path) -> None:
    before = (evaluated / "results.json").read_bytes()
    evaluate_reference(
        "random", [SILENT, SAYS], output=evaluated, episodes=4, workers=1, videos=1, max_steps=10
    )
    assert (evaluated / "results.json").read_bytes() == before


def test_table_says_unknown_and_has_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    result = result_of(SILENT)
    print_result(result)
    (row,) = [line for line in capsys.readouterr().out.splitlines() if SILENT in line]
    assert row.split()[1:3] == ["unknown", "unknown"]
    estimate = result.per_task[SILENT]["return"]
    assert f"4.50 [{estimate.low:.2f}, {estimate.high:.2f}]" in row
    assert "20.0 [20.0, 20.0]" in row
    assert "success unknown" in repr(result) and "unknown" in result._repr_html_()


def test_mean_says_of_how_many_tasks_it_is() -> None:
    result = result_of(SILENT, SAYS)
    _, rows, mean = result.table()
    assert mean is not None and rows[0][1] == "unknown"
    assert mean[1].startswith("0.40 [") and mean[1].endswith("] of 1 task")
    assert result.known == (SAYS,)
    assert result.aggregate["return"].mean == 4.5, "returns are known of both"
    assert "success_any" not in result_of(SILENT).aggregate


def test_known_success_is_written_as_before() -> None:
    values = result_of(SAYS).to_dict()
    assert values["aggregate"].keys() == {
        *("success_any", "success_last", "return", "length", "episodes", "tasks")
    }
    assert result_of(SAYS).table()[1][0][-2:] == ("4.5", "20")


def test_report_table_says_unknown() -> None:
    page = success_table(result_of(SILENT, SAYS))
    assert page.count(">unknown</td>") == 2 and "NaN" not in page and "nan" not in page
    assert '4.5 <span class="interval">[' in page


def test_unknown_success_is_not_compared() -> None:
    a, b = result_of(SILENT, SAYS), result_of(SILENT, SAYS)
    with pytest.raises(UserError, match=r"success of gym:.*Silent-v0 is unknown, .*return, length"):
        compare(a, b)
    assert compare(a, b, measure="return").difference.mean == 0
    with pytest.raises(UserError, match=r"success of .* is unknown; choices: return, length"):
        a.values("success_any", SILENT)
    assert np.array_equal(a.values("return", SILENT), np.arange(10.0))


def test_expert_of_a_task_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Silent-v0 has no expert; choices: --policy random"):
        evaluate_reference("expert", [SILENT], output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_raising_environment_loses_no_episode(tmp_path: Path) -> None:
    task, output = f"gym:{gym_worlds.__name__}:Raising-v0", tmp_path / "out"
    with pytest.raises(UserError, match=r"Raising-v0 failed at step 8 of seed \d+: RuntimeError"):
        evaluate_reference("random", [task], output=output, episodes=30, workers=1)
    finished = (output / "episodes.jsonl").read_text().splitlines()
    assert finished and all(json.loads(line)["length"] == 20 for line in finished)
    assert not (output / "results.json").exists()


@pytest.mark.slow
def test_filming_episodes_that_do_not_come_again_is_refused(tmp_path: Path) -> None:
    task = f"gym:{gym_worlds.__name__}:Forgetful-v0"
    with (
        pytest.warns(match="Forgetful-v0: seeds 0, 1 gave another start"),
        pytest.raises(UserError, match="came out differently when it was filmed, so its seeds do"),
    ):
        evaluate_reference(
            "random", [task], output=tmp_path / "out", episodes=3, workers=1, videos=2
        )
    with pytest.warns(match="Forgetful-v0: seeds 0, 1 gave another start"):
        result = evaluate_reference(
            "random", [task], output=tmp_path / "out", episodes=3, workers=1
        )
    assert len(result.episodes) == 3, "without videos the same folder is finished"


@pytest.mark.slow
def test_command_prints_guess_and_unknown(tmp_path: Path) -> None:
    command = ["evaluate", "random", "--tasks", SILENT, "--episodes", "2", "--workers", "1"]
    ran = subprocess.run(
        [sys.executable, "-m", "manyparts", *command, "--output", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ran.returncode == 0, ran.stderr
    first, *rest = [line for line in ran.stdout.splitlines() if line.strip()]
    assert first.startswith(f"{SILENT}: guessed: cameras pixels/top; state position; success unkn")
    assert any(SILENT in line and "unknown" in line for line in rest)
