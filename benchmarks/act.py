"""Acting: decisions with the tokens in `carry`, against encoding prompt and context each time."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.harness import Row, in_turns, rate
from benchmarks.recorded import observation, phase2, recorded
from manyparts.agents.policy import Carry, PolicyAgent
from manyparts.core.records import Prompt
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.windows import Windows
from manyparts.objectives.base import Passes
from manyparts.training.config import TrainConfig
from manyparts.training.inputs import Sources
from manyparts.training.preparation import prepare


def measure() -> Iterator[Row]:
    """Measure at the paper's size, where the encoder costs most, and at the laptop's."""
    for name, size, calls, promised in (("base", 224, 2, 3.0), ("laptop", 64, 40, 0.0)):
        with recorded(episodes=2, image_size=size) as (dataset, cache):
            value, baseline = _decisions_per_second(phase2(name), dataset, cache, calls)
        note = (
            f"decisions of dualmind/phase2-{name} with carry, "
            "against encoding the prompt and all frames"
        )
        yield Row(
            "act" if promised else f"act-{name}",
            value,
            baseline,
            "decisions/s",
            note,
            min_ratio=promised,
        )


def _decisions_per_second(
    config: TrainConfig, dataset: EpisodeDataset, cache: FrameCache, calls: int
) -> list[float]:
    system, info = prepare(config, Sources((dataset,)), None, None)
    agent, prompt = PolicyAgent(system, info), Prompt(dataset.tasks[0].instruction)
    current = observation(dataset)
    carry: Carry | None = None

    def decide() -> None:
        """Encode one observation and predict a chunk; its other actions cost nothing."""
        nonlocal carry
        for _ in range(config.window.chunk):
            _, carry = agent.act(carry, current, prompt, explore=False)

    batch = Windows(dataset, cache, config.window, seed=0).batch(0, 1)

    @torch.inference_mode()
    def decide_without_carry() -> None:
        policy = agent.policy
        policy.head.decode(policy.predict(Passes(agent.model, batch, torch.Generator()))[:, -1:])

    for _ in range(config.window.steps):
        decide()
    decide_without_carry()
    return in_turns(
        lambda: rate(decide, calls=calls), lambda: rate(decide_without_carry, calls=calls), rounds=3
    )
