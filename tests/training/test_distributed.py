"""Two processes train as one does on the same parts; a process that dies is told of."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from training.runs import first, rows, second, start, wait_for_rows, weights

from understudy.training.distributed import launch
from understudy.training.train import train
from understudy.types import UserError


def children(process: int) -> list[int]:
    """Processes that `process` started, as Linux tells."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def alive(process: int) -> bool:
    """Whether a process runs (one that ended and was not waited for does not)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_two_processes_give_the_losses_of_one(data, tmp_path):
    """Behaviour cloning without masks of its own, so that one process sees the very same loss."""
    changes = {"train_only": (), "cache_features": False, "steps": 6}
    one = train(second(**changes), data=data, output=tmp_path / "one", device="cpu")
    two = train(second(processes=2, **changes), data=data, output=tmp_path / "two", device="cpu")
    for name in ("loss", "gradient_norm", "validation/behaviour_cloning"):
        ours, theirs = ([row[name] for row in rows(run) if name in row] for run in (one, two))
        np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    assert [row["step"] for row in rows(two)] == list(range(1, 7))


def test_two_processes_resume_to_the_bit(data, tmp_path):
    config = first(steps=6, processes=2, checkpoint_every_steps=3)
    whole = train(config, data=data, output=tmp_path / "whole", device="cpu")
    stopped = train(config, data=data, output=tmp_path / "run", device="cpu")
    last = stopped / "checkpoints" / "last"
    last.unlink()
    last.symlink_to("000003")
    train(config, data=data, output=tmp_path / "run", resume=True, device="cpu")
    assert rows(stopped) == rows(whole) and weights(stopped) == weights(whole)


def test_a_worker_that_is_killed_ends_the_run_with_a_line(data, tmp_path):
    process = start("endless-two", data, tmp_path / "run")
    wait_for_rows(tmp_path / "run", 3)
    (worker,) = children(process.pid)
    os.kill(worker, signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode != 0 and "another training process has died" in said


def test_workers_end_when_the_first_process_is_killed(data, tmp_path):
    process = start("endless-two", data, tmp_path / "run")
    wait_for_rows(tmp_path / "run", 3)
    (worker,) = children(process.pid)
    process.kill()
    process.communicate(timeout=300)
    until = time.monotonic() + 60
    while alive(worker):
        assert time.monotonic() < until, "the worker is still there"
        time.sleep(0.01)


def test_a_worker_that_cannot_begin_is_told_of():
    nothing_to_train = {"config": {}, "data": "nowhere", "output": "nowhere", "origin": None}
    with (
        pytest.raises(UserError, match="a training process ended with code 1 before it began"),
        launch(2, nothing_to_train),
    ):
        pytest.fail("it began")
