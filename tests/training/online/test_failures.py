"""What a run that acts keeps when it is killed, or when its environment fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training.online.test_train_online import run_tiny
from training.online.tiny import rows, tiny

from manyparts.core.errors import UserError
from manyparts.data.sampling.replay import Replay
from manyparts.envs.suites.pointmass import PointMass
from manyparts.models.run_files import resolve

Advance = Callable[[PointMass, np.ndarray], tuple[float, bool]]


def failing(split: str, count: int) -> Advance:
    """Steps of which the one with this number breaks, in environments of a split."""
    advance, taken = PointMass._advance, [0]

    def fail_once(env: PointMass, action: np.ndarray) -> tuple[float, bool]:
        taken[0] += env.split == split
        if taken[0] == count and env.split == split:
            raise RuntimeError("the simulator broke")
        return advance(env, action)

    return fail_once


def test_a_failing_environment_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 110 comes after 16 updates, which no checkpoint of every sixth one holds."""
    whole = run_tiny(tmp_path / "whole")
    monkeypatch.setattr(PointMass, "_advance", failing("train", 110))
    with pytest.raises(
        UserError, match=r"failed at step \d+ of an episode: Runt.* 16 optimiser ste"
    ):
        run_tiny(tmp_path / "run")
    monkeypatch.undo()
    assert resolve(tmp_path / "run").name.endswith("16")
    assert rows(run_tiny(tmp_path / "run", resume=True)) == rows(whole)


def test_an_episode_that_could_not_be_written_is_added_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is at its end then, and must not be moved beyond it."""
    whole, add, count = run_tiny(tmp_path / "whole"), Replay.add, [0]

    def full(replay: Replay, *arguments: Any, **changes: Any) -> Any:
        count[0] += 1
        if count[0] == 5:
            raise UserError("no space left")
        return add(replay, *arguments, **changes)

    monkeypatch.setattr(Replay, "add", full)
    with pytest.raises(UserError, match=r"no space left; \d+ optimiser steps are saved"):
        run_tiny(tmp_path / "run")
    monkeypatch.undo()
    assert rows(run_tiny(tmp_path / "run", resume=True)) == rows(whole)
    first, second = (tmp_path / name / "replay/index.jsonl" for name in ("whole", "run"))
    assert first.read_text() == second.read_text()


@pytest.mark.slow
def test_a_failing_validation_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_tiny(tmp_path / "whole")
    monkeypatch.setattr(PointMass, "_advance", failing("validation", 7))
    with pytest.raises(UserError, match=r"the simulator broke; 15 optimiser steps are saved"):
        run_tiny(tmp_path / "run")
    monkeypatch.undo()
    run = run_tiny(tmp_path / "run", resume=True)
    assert rows(run)[-1]["validation/return"] == rows(whole)[-1]["validation/return"]
    validated = [row["step"] for row in rows(run) if "validation/return" in row]
    assert validated == [21], "that of step 15 is missing"


def test_rewards_must_be_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PointMass, "_advance", lambda env, action: (float("nan"), False))
    with pytest.raises(UserError, match="reward of step 0 is nan"):
        run_tiny(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_killed_in_its_prefill_is_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from training.online.test_train_online import run_tiny\n"
        "from manyparts.data.sampling.replay import Replay\n"
        "add = Replay.add\n"
        "def killed(self, episode, **changes):\n"
        "    add(self, episode, **changes)\n"
        "    if self.num_added == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "Replay.add = killed\n"
        "run_tiny(Path(sys.argv[1]))\n"
    )
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), *sys.path]))
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "run"], env=os.environ | {"PYTHONPATH": path}
    )
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(UserError, match="is in use"):
        run_tiny(tmp_path / "run")
    assert rows(run_tiny(tmp_path / "run", resume=True))[-1]["step"] == 21
    assert "no checkpoint" in capsys.readouterr().err


def test_a_prefill_beyond_the_budget_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="whole episodes in 7 environments took 140 of 130 envi"):
        run_tiny(tmp_path / "run", config=tiny(environments=7))
    assert not (tmp_path / "run").exists()
