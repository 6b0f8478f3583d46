"""Rendering: our frames of a Meta-World task against `env.render()` as shipped, in one process on
one core."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.harness import Row, in_turns, one_core, rate
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig, Environment

TASK, SIZE = "reach", 64


def measure() -> Iterator[Row]:
    with one_core():
        ours = registry.make(f"metaworld/{TASK}", EnvConfig(image_size=SIZE))
        ours.begin(0)
        theirs = as_shipped()
        value, baseline = in_turns(
            lambda: rate(lambda: _frame(ours), calls=200), lambda: _their_rate(theirs), rounds=5
        )
        ours.close()
        theirs.close()
    note = (
        f"pictures of metaworld/{TASK} at {SIZE} px, against Meta-World's env.render() at {SIZE} px"
    )
    yield Row("render", value, baseline, "frames/s", note, min_ratio=30)


def as_shipped() -> Any:
    """Meta-World's own environment with its own renderer."""
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    env = ALL_V3_ENVIRONMENTS[f"{TASK}-v3"](
        render_mode="rgb_array", camera_name="corner2", width=SIZE, height=SIZE
    )
    env._freeze_rand_vec, env._set_task_called = False, True
    env.reset()
    assert np.asarray(env.render()).shape == (SIZE, SIZE, 3)
    return env


def _their_rate(env: Any) -> float:
    """Frames a second of Meta-World's renderer, which does not itself see to it that its own
    context is current."""
    env.mujoco_renderer._get_viewer("rgb_array").make_context_current()
    return rate(env.render, calls=8)


def _frame(env: Environment) -> np.ndarray:
    return next(iter(env.observe()["images"].values()))
