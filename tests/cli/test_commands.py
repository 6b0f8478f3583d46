"""The main job on the point mass from end to end, by its commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli.running import EVALUATION, TASKS, command, one_line, run

from manyparts import cli
from manyparts.core import progress
from manyparts.evaluation.results import Result

LISTED = {
    "presets": "dualmind/tune-metaworld45",
    "tasks": "metaworld/door-open",
    "studies": "embodiments",
    "methods": "inverse_dynamics",
    "planners": "mppi",
    "benchmarks": "open-formats",
}


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    page = capsys.readouterr().out
    assert all(re.search(rf"^  {name} ", page, re.MULTILINE) for name in cli.COMMANDS)


@pytest.mark.parametrize("command", [*cli.COMMANDS, "data info", "train dualmind/phase2-debug"])
def test_every_command_documents_its_flags(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        assert run(*command.split(), "--help") == 0
    except SystemExit as stop:
        assert stop.code == 0
    page = capsys.readouterr().out
    assert page.startswith("usage: manyparts")
    bare = re.findall(r"^ +(--[\w-]+) *(?:\S+ +)?\(default", page, re.MULTILINE)
    assert not bare, f"flags without a word: {bare}"


@pytest.mark.parametrize(("kind", "name"), LISTED.items())
def test_every_kind_is_listed(kind: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", kind) == 0
    every = capsys.readouterr().out
    assert run("list", kind, name) == 0
    few = capsys.readouterr().out
    assert name in every and name in few and len(few) < len(every) and "…" not in every


def test_help_comes_before_or_after(capsys: pytest.CaptureFixture[str]) -> None:
    pages = []
    for words in (["help", "collect"], ["collect", "--help"]):
        with pytest.raises(SystemExit):
            run(*words)
        pages.append(capsys.readouterr().out)
    assert pages[0] == pages[1] and "--episodes" in pages[0]


def test_preset_may_follow_its_flags(folders: Path, tmp_path: Path) -> None:
    words = [
        "--data",
        folders / "data",
        "dualmind/phase1-debug",
        "--steps",
        "1",
        "--output",
        tmp_path / "run",
    ]
    assert run("train", *words) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["phase"] == "phase1"


def test_flags_reach_the_run(folders: Path) -> None:
    config = json.loads((folders / "phase2" / "config.json").read_text())
    assert config["optimizer"]["learning_rate"] == 2e-3
    assert config["steps"] == 6
    assert config["start_from"] == str(folders / "phase1")
    assert config["provenance"]["arguments"][:3] == ["manyparts", "train", "dualmind/phase2-debug"]


def test_data_info_summarises_a_dataset(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "info", folders / "data", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["episodes"] == 6
    assert run("data", "info", folders / "data") == 0
    page = capsys.readouterr().out
    assert all(task in page for task in TASKS)


def test_second_evaluation_repeats_the_result(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folders / "phase2" / "evaluation" / "results.json").read_bytes()
    assert run("evaluate", folders / "phase2", *EVALUATION) == 0
    page = capsys.readouterr().out
    result = Result.load(folders / "phase2")
    for task in TASKS:
        assert task in page
        assert f"{result.per_task[task]['success_any'].mean:.2f} [" in page
    assert (folders / "phase2" / "evaluation" / "results.json").read_bytes() == before


def test_results_are_compared_and_reported(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", "--compare", folders / "phase2", folders / "phase2") == 0
    page = capsys.readouterr().out
    assert "+0.00 [" in page and "not over training seeds" in page
    assert run("report", folders / "phase2") == 0
    assert "report.html" in capsys.readouterr().out
    page = (folders / "phase2" / "report.html").read_text()
    assert (
        page.count("<video")
        == len(list((folders / "phase2" / "evaluation" / "videos").glob("*/*.mp4")))
        > 0
    )
    assert "manyparts collect pointmass/reach-red" in page
    assert "--action-repeat" not in page, "earlier commits know no such flag"
    assert "manyparts train dualmind/phase1-debug" in page


@pytest.mark.slow
def test_progress_says_what_is_done(
    folders: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BEFORE_LINES", 0.0)
    words = ["--episodes", "1", "--max-steps", "2", "--output", tmp_path / "results"]
    assert run("evaluate", folders / "phase2", *words) == 0
    assert "evaluating episodes of 2 tasks: 1 of 2" in capsys.readouterr().err
    data = ["--data", folders / "data"]
    assert run("train", "dualmind/phase1-debug", *data, "--output", tmp_path / "run") == 0
    assert "training phase1 of dualmind: 1 of" in capsys.readouterr().err
    # Far goals are not reached in so few steps.
    words = ["--episodes", "4", "--max-steps", "16", "--image-size", "16", "--workers", "1"]
    assert run("collect", TASKS[0], *words, "--output", tmp_path / "data") == 0
    page = capsys.readouterr().err
    assert "recording demonstrations: 0 of 4" in page
    assert re.search(r"\d+ of \d+ tries failed: left out, and others made instead", page)


@pytest.mark.slow
def test_compare_refuses_other_conditions(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = folders / "other-seed"
    arguments = ["--episodes", "2", "--max-steps", "12", "--seed", "5", "--output", other]
    assert run("evaluate", folders / "phase2", *arguments) == 0
    capsys.readouterr()
    assert run("evaluate", "--compare", folders / "phase2", other) == 2
    assert "seeds.evaluation" in one_line(capsys)
    assert run("evaluate", "--compare", folders / "phase2", other, "--allow-mismatch") == 0


def test_quickstart_skips_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = [
        "--tasks",
        TASKS[0],
        "--demonstrations",
        "2",
        "--preset",
        "debug",
        "--episodes",
        "2",
        "--videos",
        "1",
    ]
    assert run("quickstart", *small) == 0
    first = capsys.readouterr()
    report = tmp_path / "runs" / "quickstart" / "phase2" / "report.html"
    assert f"report: {report.relative_to(tmp_path)}" in first.out
    assert "phase II" in first.out.splitlines()[-1]
    results = report.with_name("evaluation") / "results.json"
    before = results.read_bytes()
    assert run("quickstart", *small) == 0
    assert "done before" in capsys.readouterr().err
    assert results.read_bytes() == before
    assert run("quickstart", *small, "--seed", "1") == 2
    assert "seed was 0, is 1" in one_line(capsys)


@pytest.mark.slow
def test_doctor_checks_the_main_job(capsys: pytest.CaptureFixture[str]) -> None:
    code = run("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert {"python", "torch", "metaworld", "renderer", "video encoder"} <= checks.keys()
    assert code == (
        0 if all(check["works"] for check in checks.values() if check["required"]) else 1
    )
    assert all(check["works"] or check["mend"] for check in checks.values())
    assert "updates/s" in checks["learning by acting"]["detail"]
    for task in ("pointmass/reach", "metaworld/door-open"):
        detail = checks[f"acting in {task}"]["detail"]
        assert re.fullmatch(
            r"\d.* steps/s from states, \d.*/s with images of 64 pixels; 30000 steps of "
            r"dreamer/laptop take about \d+(\.\d)? (s|min|h)",
            detail,
        ), detail


def test_letters_a_locale_lacks_are_escaped(tmp_path: Path) -> None:
    code = "from manyparts import cli; cli._print_any_text(); print('打开')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout == "\\u6253\\u5f00\n", result.stderr


def test_doctor_says_how_to_repair(tmp_path: Path) -> None:
    variables = {"MUJOCO_GL": "glfw", "DISPLAY": "", "WAYLAND_DISPLAY": "", "PYOPENGL_PLATFORM": ""}
    result = command(
        ["doctor", "--no-pace"],
        tmp_path,
        **variables,
        WORLD_SIZE="2",
        MANYPARTS_CACHE="/dev/null/caches",
    )
    assert result.returncode == 1
    assert "cannot run: renderer, caches, processes" in result.stdout
    assert "renderer: unset MUJOCO_GL" in result.stdout
    assert (
        "caches: name a folder that you can write: export MANYPARTS_CACHE=FOLDER" in result.stdout
    )
    assert "processes: for one process alone: unset WORLD_SIZE RANK" in result.stdout
