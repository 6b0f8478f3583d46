"""The paper's size: a step of each phase and a decision, against the vision encoder alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import torch
from einops import rearrange
from torch import Tensor

from benchmarks.harness import CLONE, Row, in_turns, seconds
from benchmarks.recorded import Steps, observation, phase2, recorded
from manyparts.agents.policy import Carry, PolicyAgent
from manyparts.core.records import Prompt
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.windows import Windows
from manyparts.methods import preset
from manyparts.methods.dualmind import transformer
from manyparts.objectives.system import System
from manyparts.training.config import TrainConfig
from manyparts.training.frozen_features import frozen_features
from manyparts.training.inputs import Sources
from manyparts.training.preparation import prepare

_ROUNDS, _WINDOWS = 3, 8  # a batch of 48 frames, so that phase I fits into 12 GB
# Keep memory instead of returning it to the system.
_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}


def measure() -> Iterator[Row]:
    """Measure seconds in a process of its own; the ratio counts passes of the encoder."""
    command = [sys.executable, "-m", "benchmarks.paper_size"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | _MEMORY, cwd=CLONE
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield Row(**json.loads(line))
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def _rows() -> Iterator[Row]:
    with recorded(episodes=1, image_size=224) as (dataset, cache):
        for precision in ("fp32", "bf16"):
            first = replace(
                preset("dualmind/phase1-base"),
                precision=precision,
                batch_size=_WINDOWS,
                compile=False,
            )
            second = replace(phase2("base"), precision=precision, batch_size=_WINDOWS)
            for name, max_ratio, what, (value, baseline) in (
                (
                    "phase1",
                    4.5,
                    "a step of dualmind/phase1-base",
                    _first_phase(first, dataset, cache),
                ),
                (
                    "phase2",
                    0.3,
                    "a step of dualmind/phase2-base on cached tokens",
                    _second_phase(second, dataset, cache),
                ),
                (
                    "act",
                    1.3,
                    "a decision of dualmind/phase2-base with carry",
                    _acting(second, dataset),
                ),
            ):
                note = (
                    f"{what} in {precision}, against its vision encoder's forward pass over the "
                    "same frames"
                )
                row_name = f"paper-{name}-{precision}"
                yield Row(row_name, value, baseline, "s", note, max_ratio=max_ratio)


def _first_phase(config: TrainConfig, dataset: EpisodeDataset, cache: FrameCache) -> list[float]:
    windows = Windows(dataset, cache, config.window, seed=0)
    step = Steps(config, dataset, windows)
    return _against_encoder(step, step.system, _frames(windows, config), config.precision)


def _second_phase(config: TrainConfig, dataset: EpisodeDataset, cache: FrameCache) -> list[float]:
    system, _ = prepare(config, Sources((dataset,)), None, None)
    with tempfile.TemporaryDirectory() as folder:
        features = frozen_features(
            system,
            dataset,
            cache,
            encoder=transformer(config).encoder,
            precision=config.precision,
            cache_dir=folder,
        )
        step = Steps(
            config, dataset, Windows(dataset, cache, config.window, seed=0, features=features)
        )
        frames = _frames(Windows(dataset, cache, config.window, seed=0), config)
        return _against_encoder(step, step.system, frames, config.precision)


def _acting(config: TrainConfig, dataset: EpisodeDataset) -> list[float]:
    system, info = prepare(
        replace(config, train_only=(), cache_features=False), Sources((dataset,)), None, None
    )
    agent = PolicyAgent(system, info, precision=config.precision)
    prompt, current = Prompt(dataset.tasks[0].instruction), observation(dataset)
    carry: Carry | None = None

    def decide() -> None:
        nonlocal carry
        _, carry = agent.act(carry, current, prompt, explore=False)

    frame = rearrange(torch.from_numpy(next(iter(current["images"].values()))), "h w c -> 1 c h w")
    for _ in range(config.window.steps):  # from here on the window is full
        decide()
    return _against_encoder(decide, system, frame, config.precision, calls=10)


def _against_encoder(
    work: Callable[[], object], system: System, frames: Tensor, precision: str, *, calls: int = 1
) -> list[float]:
    """Return seconds of `work`, and of the encoder over uint8 frames (n, 3, h, w)."""
    encoder = system.model.embedding.encoders[system.model.embedding.cameras[0]]

    @torch.inference_mode()
    def encode() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            encoder(frames)

    for side in (work, encode):
        side()
    return in_turns(
        lambda: seconds(work, calls=calls), lambda: seconds(encode, calls=calls), rounds=_ROUNDS
    )


def _frames(windows: Windows, config: TrainConfig) -> Tensor:
    (frames,) = windows.batch(0, config.batch_size).images.values()
    return rearrange(frames, "b t c h w -> (b t) c h w")


if __name__ == "__main__":
    for row in _rows():
        print(json.dumps(asdict(row)), flush=True)
