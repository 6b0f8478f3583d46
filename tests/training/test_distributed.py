"""Two processes train as one does on the same parts; a process that dies is reported."""

from __future__ import annotations

import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from training.runs import (
    children,
    first,
    go_back,
    rows,
    same_losses,
    same_weights,
    second,
    start,
    wait_for_rows,
    weights,
)

from manyparts.core.errors import UserError
from manyparts.training.distributed.ranks import launch
from manyparts.training.train import train


def alive(process: int) -> bool:
    """Whether a process runs (one that ended and was not waited for does not)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_two_processes_resume_ones_run(data, tmp_path, sharding):
    """Behaviour cloning without masks of its own, so that one process sees the very same loss."""
    config = second(train_only=(), cache_features=False, steps=6, checkpoint_every_steps=3)
    one = train(config, data=data, output=tmp_path / "one", device="cpu")
    together = replace(config, processes=2, sharding=sharding)
    two = train(together, data=data, output=tmp_path / "two", device="cpu")
    same_losses(one, two)
    same_weights(one, two)

    shutil.copytree(one, tmp_path / "resumed", symlinks=True)
    go_back(tmp_path / "resumed", 3)
    same_losses(
        one, train(together, data=data, output=tmp_path / "resumed", resume=True, device="cpu")
    )


@pytest.mark.slow
def test_sharding_keeps_averages_and_targets_equal(data, tmp_path):
    """Phase I decodes three times per step, and updates a target encoder and averaged weights after
    the trained ones."""
    config = first(
        steps=4, processes=2, ema_decay=0.9, checkpoint_every_steps=2, validate_every_steps=2
    )
    whole = train(config, data=data, output=tmp_path / "whole", device="cpu")
    shared = train(
        replace(config, sharding="fsdp"), data=data, output=tmp_path / "shared", device="cpu"
    )
    same_losses(whole, shared)
    same_weights(whole, shared)


@pytest.mark.slow
def test_two_processes_resume_to_the_bit(data, tmp_path):
    config = first(steps=6, processes=2, checkpoint_every_steps=3)
    whole = train(config, data=data, output=tmp_path / "whole", device="cpu")
    stopped = train(config, data=data, output=tmp_path / "run", device="cpu")
    go_back(stopped, 3)
    train(config, data=data, output=tmp_path / "run", resume=True, device="cpu")
    assert rows(stopped) == rows(whole) and weights(stopped) == weights(whole)


@pytest.mark.slow
def test_killed_workers_end_the_run(data, tmp_path):
    process = start("endless-two", data, tmp_path / "run")
    wait_for_rows(tmp_path / "run", 3)
    (worker,) = children(process.pid)
    os.kill(worker, signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0 and "another training process has died" in errors


@pytest.mark.slow
def test_workers_end_with_killed_rank_0(data, tmp_path):
    process = start("endless-two", data, tmp_path / "run")
    wait_for_rows(tmp_path / "run", 3)
    (worker,) = children(process.pid)
    process.kill()
    process.communicate(timeout=300)
    until = time.monotonic() + 60
    while alive(worker):
        assert time.monotonic() < until, "the worker is still there"
        time.sleep(0.01)


@pytest.mark.slow
def test_a_worker_that_fails_is_reported():
    nothing_to_train = {"config": {}, "data": "nowhere", "output": "nowhere", "origin": None}
    with (
        pytest.raises(
            UserError, match="a training process ended before it started to train: exit code 1"
        ),
        launch(2, nothing_to_train),
    ):
        pytest.fail("the worker started")
