"""Reports of what there is: of shipped agents, of checkpoints alone, of prompts alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli.running import one_line, run
from evaluation.evaluating import TASKS, evaluate_small, make_run

from manyparts.evaluation.prompt_study import study_prompts


@pytest.mark.slow
def test_prompts_alone_make_a_report(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    study_prompts(folder, tasks=TASKS, episodes=1, workers=1, max_steps=2)
    assert run("report", folder) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "What the prompt changes" in page and "Success by task</h2>" not in page
    assert f"manyparts evaluate {folder}" in page
    assert f"manyparts prompts {folder} --tasks {' '.join(TASKS)} --episodes 1" in page


def test_checkpoint_alone_makes_a_report(tmp_path: Path) -> None:
    """Copied out of its run, which alone knows data and metrics."""
    checkpoint = shutil.copytree(make_run(tmp_path / "run") / "checkpoints/last", tmp_path / "copy")
    evaluate_small(checkpoint, checkpoint / "evaluation", episodes=1, workers=1)
    assert run("report", checkpoint) == 0
    page = (checkpoint / "report.html").read_text(encoding="utf-8")
    assert TASKS[1].partition("/")[2] in page and "Learning curves" not in page


@pytest.mark.slow
def test_shipped_agent_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "manyparts/metaworld45-small"
    assert run("report", name) == 2
    assert f"first: manyparts evaluate {name}" in one_line(capsys)
    assert run("report", "manyparts/metaworld54") == 2
    assert "choices: metaworld45-small" in one_line(capsys)
    assert list(tmp_path.iterdir()) == []
    settings = ["--episodes", "1", "--max-steps", "2", "--workers", "1"]
    assert run("evaluate", name, "--tasks", "metaworld/button-press", *settings) == 0
    assert run("report", name, "--evaluation", "runs/metaworld45-small/evaluation") == 0
    page = Path("runs/metaworld45-small/report.html").read_text(encoding="utf-8")
    assert "button-press" in page and f"manyparts report {name}" in page
