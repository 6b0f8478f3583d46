"""Acting by an exported policy, against the agent that it was made of."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Row, in_turns, processor_rate
from manyparts.agents.exported import load_exported
from manyparts.agents.loading import load
from manyparts.core.records import Observation
from manyparts.core.spec import Spec
from manyparts.exporting.export import export_policy

_AGENT, _INSTRUCTION = "manyparts/metaworld45-small", "open the drawer"
_CALLS, _ROUNDS = 120, 61  # a turn is long, as its first call finds the other side's cache


def measure() -> Iterator[Row]:
    """Measure the shipped agent at batch 1, on one thread each: a decision, and a step of an
    episode, of which a chunk's later ones decide nothing."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            export_policy(_AGENT, Path(folder) / "exported")
            agent, exported = load(_AGENT), load_exported(Path(folder) / "exported", threads=1)
            for name, what, side, promised in (
                ("decision", "decisions", _deciding, 4.0),
                ("step", "calls of act over a chunk", _acting, 0.0),
            ):
                value, own = in_turns(side(exported), side(agent), rounds=_ROUNDS)
                yield Row(
                    f"exported-act-{name}",
                    value,
                    own,
                    f"{'decisions' if promised else 'steps'}/s",
                    f"{what} of {_AGENT} per processor second, one thread, against the agent",
                    min_ratio=promised,
                )
    finally:
        torch.set_num_threads(threads)


def _deciding(agent: Any) -> Callable[[], float]:
    """Return a function that decides at every step."""
    observation = _observation(agent.spec)
    _, carry = agent.act(None, observation, _INSTRUCTION, explore=False)
    carry = agent.replanned(carry)

    def decide() -> None:
        agent.act(carry, observation, _INSTRUCTION, explore=False)

    decide()
    return lambda: processor_rate(decide, calls=_CALLS)


def _acting(agent: Any) -> Callable[[], float]:
    """Return a function that acts as in an episode."""
    observation = _observation(agent.spec)
    carry: Any = None

    def act() -> None:
        nonlocal carry
        _, carry = agent.act(carry, observation, _INSTRUCTION, explore=False)

    act()
    return lambda: processor_rate(act, calls=4 * _CALLS)


def _observation(spec: Spec) -> Observation:
    generator = np.random.default_rng(0)
    return {
        "images": {
            name: generator.integers(0, 256, (*size, 3), dtype=np.uint8)
            for name, size in spec.cameras.items()
        },
        "state": np.zeros(spec.state_dimension, np.float32),
    }
