"""Control steps of an agent that plans on a GPU, at the paper's size for a body like walker's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks.harness import Row, in_turns, seconds
from benchmarks.plan_control_step import Controlled
from benchmarks.plan_shared_cache import CANDIDATES, HORIZON, make_model
from manyparts.models.dynamics.step_transformer import Decoding
from manyparts.planners import RandomShootingConfig

OBSERVED, ACTED = 24, 6  # walker's
_ROUNDS, _STEPS = 3, 5
_STEPS_A_SECOND = 10.0
_USUAL = RandomShootingConfig(candidates=CANDIDATES, horizon=HORIZON)


def measure() -> Iterator[Row]:
    """Whole plans replayed against kernels launched one by one; more candidates and a longer
    horizon against the first; then this machine's processor, and decoding number by number. Nothing
    where there is no CUDA device."""
    if not torch.cuda.is_available():
        print("plan-gpu: there is no CUDA device here, so nothing is measured", file=sys.stderr)
        return
    usual, launched = (
        _controlled("parallel", _USUAL),
        _controlled("parallel", _USUAL, launched=True),
    )
    value, baseline = in_turns(lambda: _rate(usual), lambda: _rate(launched), rounds=_ROUNDS)
    note = (
        f"control steps with random shooting, {CANDIDATES} x {HORIZON}, walker's size, the paper preset, on "
        f"{torch.cuda.get_device_name()}, {_peak(usual):.2f} GB; against its kernels launched one by one"
    )
    yield Row("plan-gpu", value, baseline, "steps/s", note, min_value=_STEPS_A_SECOND)
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
            f"seconds of a control step at {config.candidates} x {config.horizon}, {_peak(larger):.2f} GB; against "
            f"{CANDIDATES} x {HORIZON}, {_peak(usual):.2f} GB"
        )
        yield Row(f"plan-gpu-{name}", value, baseline, "s", note)
    beside = Controlled(make_model("parallel", "paper", observed=OBSERVED, acted=ACTED), _USUAL)
    value, baseline = in_turns(
        lambda: _rate(usual), lambda: 1 / seconds(beside.step), rounds=_ROUNDS
    )
    yield Row(
        "plan-gpu-processor",
        value,
        baseline,
        "steps/s",
        "against the same on this machine's processor",
    )
    apart = _controlled("sequential", _USUAL)
    value, baseline = in_turns(lambda: _rate(apart, calls=1), lambda: _rate(usual), rounds=_ROUNDS)
    note = f"one number of a step after the other, {_peak(apart):.2f} GB; against all at once"
    yield Row("plan-gpu-sequential", value, baseline, "steps/s", note)


def _controlled(
    decoding: Decoding, config: RandomShootingConfig, *, launched: bool = False
) -> Controlled:
    """After two steps, in which a graph is recorded."""
    model = make_model(decoding, "paper", observed=OBSERVED, acted=ACTED).cuda()
    found = Controlled(model, config, launched=launched)
    for _ in range(2):
        found.step()
    return found


def _rate(agent: Controlled, *, calls: int = _STEPS) -> float:
    """Control steps a second. Each ends with its action on the host, so nothing is left under
    way."""
    return 1 / seconds(agent.step, calls=calls)


def _peak(agent: Controlled) -> float:
    """Gigabytes that the device held at most in a step."""
    torch.cuda.reset_peak_memory_stats()
    agent.step()
    return torch.cuda.max_memory_allocated() / 1e9
