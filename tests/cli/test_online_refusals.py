"""Presets that act meet bad input, broken simulators and full disks: one line, and nothing lost."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.running import run
from cli.test_train_online import SMALL
from training.online.tiny import rows

from manyparts.core.records import Observation
from manyparts.envs.suites.pointmass import PointMass

TASK = ["--environment", "pointmass/reach"]
USUAL = [*SMALL.replace("--final-episodes 2", "--final-episodes 0").split(), "--device", "cpu"]
USUAL += ["--log-every-steps", "2", "--checkpoint-every-steps", "4", "--action-repeat", "1"]


def act(output: Path, *arguments: str, preset: str = "dreamer/debug") -> int:
    return run("train", preset, *TASK, "--output", output, *USUAL, *arguments)


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    """The only line of an error."""
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    assert act(output) == 0
    return output


def breaking(at: int, split: str, breaks: Callable[[], Any]) -> Callable[..., tuple[Any, bool]]:
    """A point mass on which something happens at one step of a split."""
    advance, taken = PointMass._advance, [0]

    def once(env: PointMass, action: np.ndarray) -> tuple[Any, bool]:
        taken[0] += env.split == split
        if env.split == split and taken[0] == at:
            return breaks(), False
        return advance(env, action)

    return once


def broken() -> float:
    raise RuntimeError("the simulator broke")


@pytest.mark.parametrize(
    ("split", "breaks", "message"),
    [
        pytest.param(
            *("train", broken, r"pointmass/reach failed at step \d+ of an episode: RuntimeError:"),
            marks=pytest.mark.slow,
        ),
        ("train", lambda: float("nan"), r"pointmass/reach: the reward of step \d+ is nan"),
        *(
            pytest.param(*values, marks=pytest.mark.slow)
            for values in (
                ("train", lambda: float("inf"), r"pointmass/reach: the reward of step \d+ is inf"),
                ("train", lambda: None, "pointmass/reach gives no reward, which every step"),
                (
                    "validation",
                    broken,
                    r"failed at step 4 of a validation episode: RuntimeError: the s",
                ),
            )
        ),
    ],
    ids=["raises", "nan", "infinite", "no reward", "validation raises"],
)
def test_a_broken_episode_loses_nothing(
    tmp_path: Path,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    split: str,
    breaks: Callable[[], Any],
    message: str,
) -> None:
    output = tmp_path / "run"
    # The prefill takes 60 steps, of which the checkpoint after 4 updates of 4 steps is no part.
    step = 110 if split == "train" else 5
    monkeypatch.setattr(PointMass, "_advance", breaking(step, split, breaks))
    assert act(output) == 2
    assert re.search(message, refusal(capsys))
    monkeypatch.undo()
    assert act(output, "--resume") == 0
    # The only validation is that after the last step, and its row is missing.
    assert rows(output) == rows(whole)[: None if split == "train" else -1]


def test_a_broken_prefill_leaves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(PointMass, "_advance", breaking(30, "train", broken))
    assert act(tmp_path / "run") == 2
    assert "pointmass/reach failed at step 9 of an episode" in refusal(capsys)
    assert not (tmp_path / "run").exists()


def test_states_must_be_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    observe, seen = PointMass.observe, [0]

    def lost(env: PointMass) -> Observation:
        seen[0] += 1
        observation = observe(env)
        if seen[0] == 8:
            observation["state"][1] = np.nan
        return observation

    monkeypatch.setattr(PointMass, "observe", lost)
    assert act(tmp_path / "run") == 2
    line = refusal(capsys)
    assert "pointmass/reach: the state y of step 7 is nan, in the episode of seed" in line
    assert not (tmp_path / "run").exists()


def test_replays_beyond_the_disk_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = ["--replay-frames", "1000000000000", "--environment-steps", "1000000000000"]
    assert act(tmp_path / "run", *many, "--model.sees", "images", "--image-size", "64") == 2
    line = refusal(capsys)
    assert "1000000000000 replayed steps and their sources need 12325000.0 GB" in line
    assert "or keep fewer steps with --replay-frames" in line
    assert not (tmp_path / "run").exists()


FULL = """
import sys
from pathlib import Path
from cli.test_online_refusals import act, breaking
from manyparts.envs.suites.pointmass import PointMass
from training.online.tiny import rows

folder, kept = Path(sys.argv[1]), int(sys.argv[2])
assert act(folder / "whole") == 0

def fill():
    try:
        with (folder / "other").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError:
        with (folder / "other").open("r+b") as file:
            file.truncate(file.seek(0, 2) - kept)
    return 0.5

advance = PointMass._advance
PointMass._advance = breaking(95, "train", fill)
assert act(folder / "run") == 2
(folder / "other").unlink()
PointMass._advance = advance
assert act(folder / "run", "--resume") == 0
assert rows(folder / "run") == rows(folder / "whole")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kept", "refused"), [(0, "replay/episodes/000004.rows"), (8192, "checkpoints/000016")]
)
def test_a_disk_that_fills_up_loses_nothing(tmp_path: Path, kept: int, refused: str) -> None:
    """Another program takes all but a few bytes of a disk of 3 MB, in the middle of an episode."""
    script = 'mount -t tmpfs -o size=3m none "$1" && shift && exec "$@"'
    own = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(tmp_path)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*own, "true"], capture_output=True).returncode
    ):
        pytest.skip("this machine lets nobody mount a small file system")
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    result = subprocess.run(
        [*own, sys.executable, "-c", FULL, str(tmp_path), str(kept)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert refused in line and ("disk full" in line or os.strerror(errno.ENOSPC) in line)
