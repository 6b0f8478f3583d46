"""Benchmarks by name: speed claims that are measured.

Each is a module with `measure()`, which measures both sides of a claim in one run and yields rows.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from benchmarks.harness import Row, append

__all__ = ["BENCHMARKS", "append", "measure"]

BENCHMARKS = {
    "render": "frames per second of this renderer, against Meta-World's own, 64 px, one core",
    "collect": "frames per second of collection on all cores, against the simulator's own images",
    "windows": "windows drawn per second, against those that a training step consumes",
    "view": "training steps on 480x640 images through a view, against images of 64 px",
    "windows-peers": "windows per second, against the loaders of LeRobot, robomimic and Minari",
    "windows-scale": "windows per second and memory from 1M frames, against from 10 thousand",
    "open-formats": "seconds to open 1000 episodes of other formats, against plain reading",
    "phase2-cached": "steps per second of phase II with cached tokens, against encoding images",
    "act": "decisions per second with `carry`, against encoding the whole context each time",
    "exported-act": "decisions per second of an exported policy, against the agent",
    "pretrain-step": "steps per second of inverse-dynamics pretraining, against a plain loop",
    "finetune-stage": "tuning on a frozen encoder and evaluating, against a plain loop",
    "plan-shared-cache": "imagined plans per second from a shared context, against none shared",
    "plan-parallel-decoding": "imagined plans per second, a step at once, against number by number",
    "plan-control-step": "control steps per second of planning, against sharing no context",
    "plan-gpu": "control steps per second of planning on a GPU, against launching every kernel",
    "memory": "peak memory of training, from 10 and from 100 thousand frames",
    "dreamer-update": "optimiser steps of model, actor and critic, against sheeprl's Dreamer",
    "replay": "batches and decisions per second of a run's replay, against sheeprl's buffer",
    "online-step": "environment steps per second of acting and writing, against the simulator",
    "paper-size": "seconds per step and decision at the paper's size, against its encoder alone",
    "gpu": "FLOP/s of training at the paper's size, against the GPU's peak for matrices",
}


def measure(name: str) -> Iterator[Row]:
    """Run one benchmark and yield its rows as they come."""
    return importlib.import_module(f"benchmarks.{name.replace('-', '_')}").measure()
