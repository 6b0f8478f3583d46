"""Training at the paper's size on a GPU: FLOP/s against its peak, samples per second, memory."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import Row
from benchmarks.recorded import Steps, phase2, recorded
from manyparts.data.sampling.windows import Windows
from manyparts.methods import preset
from manyparts.methods.dualmind import transformer
from manyparts.methods.inverse_dynamics import pretrain
from manyparts.training.config import TrainConfig
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.frozen_features import frozen_features
from manyparts.training.inputs import Sources
from manyparts.training.loop import TrainContext, drawn_ahead
from manyparts.training.preparation import prepare
from manyparts.training.run import Run

_WARM_UP, _STEPS, _PEAK_SIZE = 20, 60, 8192


def measure() -> Iterator[Row]:
    """Measure four configs; nothing without a CUDA device."""
    if not torch.cuda.is_available():
        print("gpu: there is no CUDA device here, so nothing is measured", file=sys.stderr)
        return
    peak = _matrix_peak()
    for name, config, image_size in (
        ("phase1", preset("dualmind/phase1-base"), 224),
        ("phase2", phase2("base"), 224),
        ("pretrain-84", pretrain("inverse-dynamics", "paper"), 84),
        ("pretrain-120", pretrain("inverse-dynamics", "paper"), 120),
    ):
        speed = _train(replace(config, compile=True), image_size)
        note = (
            f"{config.method} {config.phase}, {image_size} px, batch {config.batch_size}, bf16, "
            f"compiled, on {torch.cuda.get_device_name()}: {speed.samples:.0f} samples/s, "
            f"{speed.gigabytes:.1f} GB; against the device's bf16 product of {_PEAK_SIZE}-square "
            "matrices"
        )
        yield Row(f"gpu-{name}", speed.samples * speed.operations / 1e12, peak, "TFLOP/s", note)


@dataclass(frozen=True)
class _Speed:
    """How fast training is."""

    samples: float
    """Samples per second."""
    operations: float
    """Floating-point operations of matrix products per sample."""
    gigabytes: float
    """Peak memory of the device."""


def _train(config: TrainConfig, image_size: int) -> _Speed:
    """Measure steps of the training loop, without logging and saving."""
    with (
        tempfile.TemporaryDirectory() as name,
        recorded(episodes=4, image_size=image_size) as (dataset, cache),
    ):
        features = None
        if config.cache_features:
            system = prepare(config, Sources((dataset,)), None, None)[0].cuda()
            features = frozen_features(
                system,
                dataset,
                cache,
                encoder=transformer(config).encoder,
                precision=config.precision,
                cache_dir=name,
            )
        frames = cache.on(torch.device("cuda")) if features is None else None
        windows = Windows(dataset, cache, config.window, seed=0, features=features, frames=frames)
        with FlopCounterMode(display=False) as counter:
            Steps(replace(config, compile=False), dataset, windows, "cuda")()
        torch.cuda.reset_peak_memory_stats()
        steps = Steps(replace(config, steps=_WARM_UP + _STEPS), dataset, windows, "cuda")
        run = Run(
            steps.config, Sources((dataset,)), Path(name), None, torch.device("cuda"), Ranks()
        )
        context = TrainContext(run, steps.learner, windows, None, steps.info)
        start = 0.0
        for step, parts in drawn_ahead(context, 0):
            if step == _WARM_UP:
                torch.cuda.synchronize()
                start = time.perf_counter()
            steps.learner.step(step, parts)
        torch.cuda.synchronize()
        samples = _STEPS * config.batch_size / (time.perf_counter() - start)
    return _Speed(
        samples,
        counter.get_total_flops() / config.batch_size,
        torch.cuda.max_memory_allocated() / 1e9,
    )


def _matrix_peak(calls: int = 30) -> float:
    """Return TFLOP/s of large bf16 matrix products, which no training exceeds."""
    left, right = torch.randn(2, _PEAK_SIZE, _PEAK_SIZE, device="cuda", dtype=torch.bfloat16)
    torch.matmul(left, right)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        torch.matmul(left, right)
    torch.cuda.synchronize()
    return calls * 2 * _PEAK_SIZE**3 / (time.perf_counter() - start) / 1e12
