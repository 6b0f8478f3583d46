"""Training under torchrun: the same losses from any number of processes, whole checkpoints, one voice, a safe end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training.runs import first, rows, second, wait_for_rows, weights
from training.test_distributed import children

from understudy.models.checkpoint import WEIGHTS, read_weights, resolve
from understudy.training.train import train

STEPS = 6


def torchrun(data: Path, output: Path, *flags: str, preset: str = "phase2-debug") -> subprocess.Popen[str]:
    """`torchrun -m understudy train ...` with two processes on the CPU."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command = ["understudy", "train", f"dualmind/{preset}", "--data", str(data), "--output", str(output)]
    often = ["--device", "cpu", "--log-every-steps", "1", "--checkpoint-every-steps", "3"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*launcher, *command, *often, *flags],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finished(process: subprocess.Popen[str]) -> str:
    """What a run that went well printed."""
    printed, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return printed


def same_losses(one: Path, other: Path, *, since: int = 0) -> None:
    for row, other_row in zip(rows(one), rows(other), strict=True):
        assert row.keys() == other_row.keys()
        if row["step"] > since:
            np.testing.assert_allclose(list(row.values()), list(other_row.values()), rtol=1e-5, err_msg=str(row))


def go_back(run: Path, step: int) -> None:
    """Let a run's last checkpoint be an earlier one."""
    last = run / "checkpoints" / "last"
    last.unlink()
    last.symlink_to(f"{step:06d}")


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phase II by one process."""
    config = second(steps=STEPS, checkpoint_every_steps=3)
    return train(config, data=data, output=tmp_path_factory.mktemp("alone") / "run", device="cpu")


@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_two_processes_are_one_and_either_goes_on_from_the_other(alone, data, tmp_path, sharding):
    flags = ("--steps", str(STEPS), "--sharding", sharding)
    printed = finished(torchrun(data, tmp_path / "run", *flags))
    assert printed.count("trained:") == 1, "only rank 0 speaks"
    same_losses(alone, tmp_path / "run")
    for name, tensor in read_weights(resolve(alone) / WEIGHTS).items():
        np.testing.assert_allclose(read_weights(resolve(tmp_path / "run") / WEIGHTS)[name], tensor, atol=1e-5)

    go_back(tmp_path / "run", 3)
    config = second(steps=STEPS, checkpoint_every_steps=3)
    train(config, data=data, output=tmp_path / "run", resume=True, device="cpu")
    same_losses(alone, tmp_path / "run", since=3)

    go_back(tmp_path / "run", 3)  # written by two processes, taken to step 6 by one, now by two again
    finished(torchrun(data, tmp_path / "run", *flags, "--resume"))
    same_losses(alone, tmp_path / "run", since=3)


def test_sharded_weights_train_averages_targets_and_three_losses_alike(data, tmp_path):
    """Phase I decodes three times a step and moves a target encoder and averaged weights beside the trained ones."""
    changes: dict[str, Any] = {"steps": 4, "ema_decay": 0.9, "checkpoint_every_steps": 2, "validate_every_steps": 2}
    whole = train(first(processes=2, **changes), data=data, output=tmp_path / "whole", device="cpu")
    flags = ("--steps", "4", "--ema-decay", "0.9", "--checkpoint-every-steps", "2", "--validate-every-steps", "2")
    finished(torchrun(data, tmp_path / "run", *flags, "--sharding", "fsdp", preset="phase1-debug"))
    same_losses(whole, tmp_path / "run")
    assert weights(whole).keys() == weights(tmp_path / "run").keys()
    for name, tensor in read_weights(resolve(whole) / WEIGHTS).items():
        np.testing.assert_allclose(read_weights(resolve(tmp_path / "run") / WEIGHTS)[name], tensor, atol=1e-5)


def test_an_interrupt_ends_all_processes_with_a_checkpoint(data, tmp_path):
    process = torchrun(data, tmp_path / "run", "--steps", "1000000", "--checkpoint-every-steps", "1000000")
    wait_for_rows(tmp_path / "run", 3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode != 0 and said.count("--resume continues from") == 1
    done = int(resolve(tmp_path / "run").name)
    assert done == rows(tmp_path / "run")[-1]["step"]


def test_a_process_that_is_killed_ends_the_others_with_a_line(data, tmp_path):
    process = torchrun(data, tmp_path / "run", "--steps", "1000000")
    wait_for_rows(tmp_path / "run", 3)
    ranks = {
        Path(f"/proc/{child}/environ").read_text().split("\0RANK=")[1][0]: child for child in children(process.pid)
    }
    os.kill(ranks["1"], signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode != 0 and said.count("error: another training process has died") == 1


def test_bad_input_is_told_once(data, tmp_path):
    process = torchrun(data, tmp_path / "run", "--batch-size", "7")
    _, said = process.communicate(timeout=300)
    assert process.returncode != 0 and not (tmp_path / "run").exists()
    assert said.count("batch_size is 7; expected a multiple of processes x accumulation = 2") == 1
