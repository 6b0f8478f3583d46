"""`manyparts train` with presets that learn by acting."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyparts.cli import main
from manyparts.cli.parsing import flags
from manyparts.cli.train_online import options_with
from manyparts.methods import preset

SMALL = "--environment-steps 130 --prefill-steps 45 --train-ratio 2 --evaluation-episodes 1"
SMALL += " --evaluate-every-steps 100 --final-episodes 2 --max-steps 20"
SMALL += " --batch-size 2 --window.steps 4 --model.width 8 --model.latent.variables 3"


def test_schedule_and_sight_are_flags() -> None:
    kind = options_with(preset("dreamer/laptop"))
    assert {
        "--environment",
        "--action-repeat",
        "--replay-frames",
        "--train-ratio",
        "--image-size",
        "--cameras",
        "--state",
        "--max-steps",
        "--sources",
        "--teachers",
        "--from",
        "--prefill",
        "--model.sees",
        "--objectives.actor-critic.horizon",
    } <= set(flags(kind))


@pytest.mark.slow
def test_a_preset_acts_from_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "dreamer/debug", "--environment", "pointmass/reach"]
    command += ["--output", str(tmp_path / "run"), *SMALL.split(), "--device", "cpu"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "130 environment steps, 21 optimiser steps" in printed.err
    assert "pointmass/reach" in printed.out and f"trained: {tmp_path / 'run'}" in printed.out
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "What it imagines" in page and page.count("<video") == 3  # one is of an evaluation


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "missing --environment, --output; see manyparts train dreamer/debug --help"),
        (["--steps", "5"], "--steps follows from --environment-steps"),
        (["--environmnt", "x"], "unknown flag --environmnt; did you mean --environment"),
        (
            ["--environment", "pointmass/reech", "--output", "run"],
            "unknown task 'pointmass/reech'",
        ),
        (
            ["--environment", "pointmass/reach", "--output", "run", "--teachers", "nowhere"],
            "no run or checkpoint at nowhere",
        ),
    ],
)
def test_bad_flags_are_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "dreamer/debug", *arguments]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert message in line
    assert not (tmp_path / "run").exists()


def test_a_preset_for_datasets_names_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "dreamer/debug", "--data", "data/x", "--output", str(tmp_path)]) == 2
    assert "unknown flag --data" in capsys.readouterr().err
