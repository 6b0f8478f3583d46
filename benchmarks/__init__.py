"""Speed claims by name. Each is a file with `measure()`, which measures both sides in one run and
yields rows."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from benchmarks.harness import Row, append

__all__ = ["BENCHMARKS", "append", "measure"]

BENCHMARKS = {
    "render": "frames a second of our renderer against Meta-World's own, 64 px, one core",
    "collect": "frames a second of collection on all cores, against the simulator's own pictures",
    "windows": "windows a second that are drawn, against those that a training step consumes",
    "windows-peers": "windows a second, against the loaders of LeRobot, robomimic and Minari, and HDF5 read by hand",
    "windows-scale": "windows a second and memory from 1M frames, against from 10 thousand",
    "open-formats": "seconds to open 1000 episodes of robomimic, Minari, npz, RLDS, against plain reading",
    "phase2-cached": "steps a second of phase II with cached visual tokens, against encoding images",
    "act": "decisions a second with `carry`, against encoding the whole context anew",
    "pretrain-step": "steps a second of inverse-dynamics pretraining, against the loop that one writes first",
    "finetune-stage": "tuning on a frozen encoder and evaluating, against encoding every batch and one environment",
    "plan-shared-cache": "imagined plans a second from one shared history, against encoding each candidate anew",
    "plan-parallel-decoding": "imagined plans a second, all numbers of a step at once against one after the other",
    "plan-control-step": "control steps a second of an agent that plans, against encoding each candidate anew",
    "plan-gpu": "control steps a second of an agent that plans on a GPU, against launching every kernel",
    "memory": "the most that training holds in memory, from 10 and from 100 thousand frames",
    "paper-size": "seconds of a step and of a decision at the paper's size, against the bare vision encoder",
    "gpu": "floating-point operations a second of training at the paper's size, against the GPU's matrix peak",
}


def measure(name: str) -> Iterator[Row]:
    """Run one benchmark; its rows as they come."""
    return importlib.import_module(f"benchmarks.{name.replace('-', '_')}").measure()
