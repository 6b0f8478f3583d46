"""Acting at batch 1: decisions with what `carry` remembers, against encoding prompt and whole
context anew."""

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
    """At the paper's size, where the encoder is what costs; and at the laptop's, whose encoder
    costs little."""
    for name, size, calls, promised in (("base", 224, 2, 3.0), ("laptop", 64, 40, 0.0)):
        with recorded(episodes=2, image_size=size) as (dataset, cache):
            value, baseline = _decisions_a_second(phase2(name), dataset, cache, calls)
        note = f"decisions of dualmind/phase2-{name} with carry, against prompt and all frames encoded anew"
        yield Row(
            "act" if promised else f"act-{name}",
            value,
            baseline,
            "decisions/s",
            note,
            min_ratio=promised,
        )


def _decisions_a_second(
    config: TrainConfig, dataset: EpisodeDataset, cache: FrameCache, calls: int
) -> list[float]:
    system, info = prepare(config, Sources((dataset,)), None, None)
    agent, prompt = PolicyAgent(system, info), Prompt(dataset.tasks[0].instruction)
    seen = observation(dataset)
    carry: Carry | None = None

    def decide() -> None:
        """One observation taken in and one chunk of actions planned; the rest of the chunk is
        executed for nothing."""
        nonlocal carry
        for _ in range(config.window.chunk):
            _, carry = agent.act(carry, seen, prompt, explore=False)

    batch = Windows(dataset, cache, config.window, seed=0).batch(0, 1)

    @torch.inference_mode()
    def decide_anew() -> None:
        policy = agent.policy
        policy.head.decode(policy.predict(Passes(agent.model, batch, torch.Generator()))[:, -1:])

    for _ in range(config.window.steps):
        decide()
    decide_anew()
    return in_turns(
        lambda: rate(decide, calls=calls), lambda: rate(decide_anew, calls=calls), rounds=3
    )
