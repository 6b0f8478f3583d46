"""A small dataset, small configs, and what a run left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from data.synthetic import make_episode, write

from manyparts.core.records import Episode
from manyparts.data.dataset import EpisodeDataset
from manyparts.methods import preset
from manyparts.models.checkpoint import WEIGHTS, read_weights, resolve
from manyparts.training.config import TrainConfig

_SCRIPT = """
import sys
from pathlib import Path
from training.runs import config_named
from manyparts.training.train import train

name, data, output, resume = sys.argv[1:]
train(config_named(name), data=data, output=output, resume=resume == "resume", device="cpu")
"""


def first(**changes: Any) -> TrainConfig:
    """Phase I in one or two seconds."""
    return replace(preset("dualmind/phase1-debug"), **{"steps": 12, "log_every_steps": 1} | changes)


def second(**changes: Any) -> TrainConfig:
    """Phase II in one or two seconds."""
    return replace(preset("dualmind/phase2-debug"), **{"steps": 6, "log_every_steps": 1} | changes)


def config_named(name: str) -> TrainConfig:
    """Configs of runs in a process of their own. endless: until stopped."""
    often = {
        "checkpoint_every_steps": 5,
        "validate_every_steps": 7,
        "log_every_steps": 3,
        "ema_decay": 0.9,
    }
    model = replace(first().model, dropout=0.1)
    return {
        "killed": first(steps=60, model=model, **often),
        "endless": first(steps=1_000_000),
        "endless-two": first(steps=1_000_000, processes=2),
        "compiled": first(compile=True),
    }[name]


def write_dataset(path: Path, episodes: int = 24, length: int = 20) -> EpisodeDataset:
    return write(path, [make_episode(seed, length) for seed in range(episodes)])


def with_bad_action(episode: Episode, frame: int) -> Episode:
    """The same episode with an action so large that its loss overflows."""
    action = episode.expert_action.copy()
    action[frame] = np.finfo(np.float32).max
    return replace(episode, expert_action=action)


def start(
    name: str, data: Path, output: Path, *, resume: bool = False, **options: Any
) -> subprocess.Popen[str]:
    """Train in another process."""
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join([str(tests), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [
        sys.executable,
        "-c",
        _SCRIPT,
        name,
        str(data),
        str(output),
        "resume" if resume else "new",
    ]
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **options)


def rows(run: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl but for their speed, which no two runs share."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in row.items() if key != "samples_per_second"} for row in lines
    ]


def weights(run: Path) -> dict[str, bytes]:
    """The last checkpoint's weights, to the bit."""
    return {
        name: value.numpy().tobytes()
        for name, value in read_weights(resolve(run) / WEIGHTS).items()
    }


def same_losses(one: Path, other: Path, *, since: int = 0) -> None:
    """All numbers of the rows after step `since` agree to 1e-5."""
    for row, other_row in zip(rows(one), rows(other), strict=True):
        assert row.keys() == other_row.keys()
        if row["step"] > since:
            np.testing.assert_allclose(
                list(row.values()), list(other_row.values()), rtol=1e-5, err_msg=str(row)
            )


def same_weights(one: Path, other: Path) -> None:
    """The last checkpoints agree up to rounding: sums have another order, and Adam divides by small
    numbers."""
    first_weights, other_weights = (read_weights(resolve(run) / WEIGHTS) for run in (one, other))
    assert first_weights.keys() == other_weights.keys()
    for name, tensor in first_weights.items():
        np.testing.assert_allclose(tensor, other_weights[name], atol=3e-4, err_msg=name)


def go_back(run: Path, step: int) -> None:
    """Let a run's last checkpoint be an earlier one."""
    last = run / "checkpoints" / "last"
    last.unlink()
    last.symlink_to(f"{step:06d}")


def children(process: int) -> list[int]:
    """Processes that `process` started, from Linux's /proc."""
    return [
        int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]


def wait_for_rows(run: Path, count: int, *, seconds: float = 300) -> None:
    """Until a run has logged that much; it fails the test if the run takes longer."""
    until = time.monotonic() + seconds
    while (
        not (run / "metrics.jsonl").exists()
        or len((run / "metrics.jsonl").read_text().splitlines()) < count
    ):
        assert time.monotonic() < until, "the run does not begin"
        time.sleep(0.01)
