"""How fast a simulator runs on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from manyparts.core.errors import UserError
from manyparts.envs import registry
from manyparts.envs.base import NO_CAMERA, EnvConfig, Environment


@dataclass(frozen=True)
class SimulatorPace:
    """How fast a task is simulated under random actions."""

    episode_steps: int
    """Steps of its longest episode."""

    steps_per_second: float
    """Steps from states."""

    images_per_second: float | None
    """Steps with an image of 64 pixels; None if nothing can draw here."""


def simulator_pace(task: str, *, seconds: float = 0.3) -> SimulatorPace:
    """Measure how fast a task is simulated.

    Args:
        task: "suite/task".
        seconds: how long each kind of observation is measured.

    Raises:
        UserError: its simulator is missing.
    """
    with closing(registry.make(task, EnvConfig(state="full", cameras=(NO_CAMERA,)))) as env:
        steps, episode = rate(_stepping(env), seconds), env.max_steps
    try:
        with closing(registry.make(task, EnvConfig(image_size=64))) as env:
            images = rate(_stepping(env), seconds)
    except UserError:
        images = None
    return SimulatorPace(episode, steps, images)


def rate(work: Callable[[int], object], seconds: float) -> float:
    """How often per second work is done.

    Args:
        work: what is done, given its number, from 0. The first one does not count.
        seconds: how long is measured.
    """
    work(0)
    count, began = 0, time.monotonic()
    while time.monotonic() < began + seconds:
        count += 1
        work(count)
    return count / (time.monotonic() - began)


def _stepping(env: Environment) -> Callable[[int], None]:
    """Takes a step of an environment with a random action, and observes it."""
    generator = np.random.default_rng(0)
    action = env.embodiment_spec.action

    def step(number: int) -> None:
        if number % env.max_steps == 0:
            env.begin(number)
        env.advance(generator.uniform(action.low, action.high).astype(np.float32))
        env.observe()

    return step
