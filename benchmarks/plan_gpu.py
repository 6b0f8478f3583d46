"""Control steps of an agent that plans on a GPU, at the paper's size, with walker's dimensions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks.harness import Row, in_turns, seconds
from benchmarks.plan_control_step import Controlled
from benchmarks.plan_shared_cache import CANDIDATES, HORIZON, make_model
from manyparts.models.dynamics.configs import Decoding
from manyparts.planners import RandomShootingConfig

OBSERVED, ACTED = 24, 6  # walker's
_ROUNDS, _STEPS = 3, 5
_STEPS_PER_SECOND = 10.0
_USUAL = RandomShootingConfig(candidates=CANDIDATES, horizon=HORIZON)


def measure() -> Iterator[Row]:
    """Measure whole plans replayed, against kernels launched one by one; nothing without CUDA.

    Then more candidates and longer horizons, this machine's processor, and decoding number by
    number, against the first.
    """
    if not torch.cuda.is_available():
        print("plan-gpu: there is no CUDA device here, so nothing is measured", file=sys.stderr)
        return
    usual = _controlled("parallel", _USUAL)
    launched = _controlled("parallel", _USUAL, launched=True)
    value, baseline = in_turns(lambda: _rate(usual), lambda: _rate(launched), rounds=_ROUNDS)
    note = (
        f"control steps with random shooting, {CANDIDATES} x {HORIZON}, walker's size, the paper "
        f"preset, on {torch.cuda.get_device_name()}, {_peak(usual):.2f} GB; against its kernels "
        "launched one by one"
    )
    yield Row("plan-gpu", value, baseline, "steps/s", note, min_value=_STEPS_PER_SECOND)
    for name, config in (
        ("candidates-512", replace(_USUAL, candidates=4 * CANDIDATES)),
        ("candidates-2048", replace(_USUAL, candidates=16 * CANDIDATES)),
        ("horizon-50", replace(_USUAL, horizon=2 * HORIZON)),
        ("horizon-100", replace(_USUAL, horizon=4 * HORIZON)),
    ):
        larger = _controlled("parallel", config)
        value, baseline = in_turns(
            lambda larger=larger: 1 / _rate(larger), lambda: 1 / _rate(usual), rounds=_ROUNDS
        )
        note = (
            f"seconds per control step at {config.candidates} x {config.horizon}, "
            f"{_peak(larger):.2f} GB; against {CANDIDATES} x {HORIZON}, {_peak(usual):.2f} GB"
        )
        yield Row(f"plan-gpu-{name}", value, baseline, "s", note)
    on_processor = Controlled(
        make_model("parallel", "paper", observed=OBSERVED, acted=ACTED), _USUAL
    )
    value, baseline = in_turns(
        lambda: _rate(usual), lambda: 1 / seconds(on_processor.step), rounds=_ROUNDS
    )
    yield Row(
        "plan-gpu-processor",
        value,
        baseline,
        "steps/s",
        "against the same on this machine's processor",
    )
    sequential = _controlled("sequential", _USUAL)
    value, baseline = in_turns(
        lambda: _rate(sequential, calls=1), lambda: _rate(usual), rounds=_ROUNDS
    )
    note = f"number by number, {_peak(sequential):.2f} GB; against all at once"
    yield Row("plan-gpu-sequential", value, baseline, "steps/s", note)


def _controlled(
    decoding: Decoding, config: RandomShootingConfig, *, launched: bool = False
) -> Controlled:
    """Return an agent after two steps, in which a CUDA graph is recorded."""
    model = make_model(decoding, "paper", observed=OBSERVED, acted=ACTED).cuda()
    agent = Controlled(model, config, launched=launched)
    for _ in range(2):
        agent.step()
    return agent


def _rate(agent: Controlled, *, calls: int = _STEPS) -> float:
    """Return control steps per second.

    A step ends with its action on the host, so that the device has finished.
    """
    return 1 / seconds(agent.step, calls=calls)


def _peak(agent: Controlled) -> float:
    """Return the device's peak memory in a step, in gigabytes."""
    torch.cuda.reset_peak_memory_stats()
    agent.step()
    return torch.cuda.max_memory_allocated() / 1e9
