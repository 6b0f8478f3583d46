"""Training under torchrun: the same losses from any number of processes, whole checkpoints, one
rank that prints, a safe end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from training.runs import children, go_back, rows, same_losses, same_weights, second, wait_for_rows

from manyparts.models.checkpoint import resolve
from manyparts.training.train import train

STEPS = 6
SECONDS = 120


@contextlib.contextmanager
def torchrun(
    data: Path, output: Path, *flags: str, preset: str = "phase2-debug"
) -> Iterator[subprocess.Popen[str]]:
    """`torchrun -m manyparts train ...` with two processes on the CPU, all of which are gone after
    the block."""
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
    ]
    command = [
        "manyparts",
        "train",
        f"dualmind/{preset}",
        "--data",
        str(data),
        "--output",
        str(output),
    ]
    often = [
        "--device",
        "cpu",
        "--log-every-steps",
        "1",
        "--checkpoint-every-steps",
        "3",
        "--freeze-untrained",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*launcher, *command, *often, *flags],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            for group in (*children(process.pid), process.pid):  # a rank has a group of its own
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
            process.communicate()


def finished(process: subprocess.Popen[str]) -> str:
    """What a run that went well printed."""
    printed, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    return printed


@pytest.mark.slow
def test_one_process_resumes_sharded_ones(data, tmp_path):
    config = second(steps=STEPS, checkpoint_every_steps=3, freeze_untrained=True)
    alone = train(config, data=data, output=tmp_path / "alone", device="cpu")
    with torchrun(data, tmp_path / "run", "--steps", str(STEPS), "--sharding", "fsdp") as process:
        printed = finished(process)
    assert printed.count("trained:") == 1, "only rank 0 speaks"
    same_losses(alone, tmp_path / "run")
    same_weights(alone, tmp_path / "run")

    go_back(tmp_path / "run", 3)
    train(config, data=data, output=tmp_path / "run", resume=True, device="cpu")
    same_losses(alone, tmp_path / "run", since=3)


@pytest.mark.slow
def test_interrupts_end_all_processes_with_checkpoints(data, tmp_path):
    endless = ("--steps", "1000000", "--checkpoint-every-steps", "1000000")
    with torchrun(data, tmp_path / "run", *endless) as process:
        wait_for_rows(tmp_path / "run", 3, seconds=SECONDS)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode != 0 and errors.count("--resume continues from") == 1
    done = int(resolve(tmp_path / "run").name)
    assert done == rows(tmp_path / "run")[-1]["step"]


@pytest.mark.slow
def test_killed_processes_end_the_others(data, tmp_path):
    with torchrun(data, tmp_path / "run", "--steps", "1000000") as process:
        wait_for_rows(tmp_path / "run", 3, seconds=SECONDS)
        ranks = {
            Path(f"/proc/{child}/environ").read_text().split("\0RANK=")[1][0]: child
            for child in children(process.pid)
        }
        os.kill(ranks["1"], signal.SIGKILL)
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode != 0 and errors.count("error: another training process has died") == 1


@pytest.mark.slow
def test_bad_input_is_printed_once(data, tmp_path):
    with torchrun(data, tmp_path / "run", "--batch-size", "7") as process:
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode != 0 and not (tmp_path / "run").exists()
    assert errors.count("batch_size is 7; expected a multiple of processes x accumulation = 2") == 1
