"""Rendering: frames of a Meta-World task, against Meta-World's `env.render()`, on one core."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.harness import Row, in_turns, one_core, rate
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig, Environment

TASK, SIZE = "reach", 64


def measure() -> Iterator[Row]:
    """Measure one task, in one process."""
    with one_core():
        env = registry.make(f"metaworld/{TASK}", EnvConfig(image_size=SIZE))
        env.begin(0)
        original = as_shipped()
        value, baseline = in_turns(
            lambda: rate(lambda: _frame(env), calls=200), lambda: _original_rate(original), rounds=5
        )
        env.close()
        original.close()
    note = (
        f"images of metaworld/{TASK} at {SIZE} px, against Meta-World's env.render() at {SIZE} px"
    )
    yield Row("render", value, baseline, "frames/s", note, min_ratio=30)


def as_shipped() -> Any:
    """Return Meta-World's own environment with its own renderer."""
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    env = ALL_V3_ENVIRONMENTS[f"{TASK}-v3"](
        render_mode="rgb_array", camera_name="corner2", width=SIZE, height=SIZE
    )
    env._freeze_rand_vec, env._set_task_called = False, True
    env.reset()
    assert np.asarray(env.render()).shape == (SIZE, SIZE, 3)
    return env


def _original_rate(env: Any) -> float:
    """Return frames per second of Meta-World's renderer.

    It does not make its own OpenGL context current, so this does.
    """
    env.mujoco_renderer._get_viewer("rgb_array").make_context_current()
    return rate(env.render, calls=8)


def _frame(env: Environment) -> np.ndarray:
    return next(iter(env.observe()["images"].values()))
