"""An environment's scripted expert as an agent, with lasting noise so that it errs and shows how to recover."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from understudy.envs.base import Environment
from understudy.types import Observation, Prompt

_BLOCK = 64


@dataclass(frozen=True)
class Noise:
    """Temporally correlated exploration of an expert: n(t) = c n(t-1) + sqrt(1 - c^2) d e(t), e standard normal.

    fraction: the share of attempts that are noisy. deviation: d, the stationary standard deviation of every action
    dimension, in half-ranges of the action contract. correlation: c, between successive steps.
    """

    fraction: float = 0.5
    deviation: float = 0.4
    correlation: float = 0.9


@dataclass(frozen=True)
class ExpertCarry:
    """step: actions taken so far. noise: float64 (a,), the last step's. expert_action: float32 (a,), before noise."""

    step: int
    noise: np.ndarray
    expert_action: np.ndarray


class ExpertAgent:
    """The scripted expert of `env`; with `noise`, what it executes is clip(expert + noise).

    The expert reads the true state of its own environment, so an agent belongs to one environment. The noise of
    step t is a pure function of (seed, t).
    """

    prompted = False

    def __init__(self, env: Environment, noise: Noise | None = None, *, seed: int = 0) -> None:
        self.env = env
        self.interface = env.interface
        self.noise = noise
        self.seed = seed

    def needs_observation(self, carry: ExpertCarry | None) -> bool:
        return False

    def act(
        self, carry: ExpertCarry | None, observation: Observation | None, prompt: Prompt | None, *, explore: bool
    ) -> tuple[np.ndarray, ExpertCarry]:
        """The executed action, float32 (a,). The clean one is in the carry; without `explore` the two are equal."""
        step = 0 if carry is None else carry.step
        clean = self.env.expert_action()
        if self.noise is None or not explore:
            return clean, ExpertCarry(step + 1, np.zeros(len(clean)), clean)
        noise = self._next_noise(self.noise, None if carry is None else carry.noise, step)
        low, high = np.asarray(self.interface.action.low), np.asarray(self.interface.action.high)
        executed = np.clip(clean + noise * (high - low) / 2, low, high).astype(np.float32)
        return executed, ExpertCarry(step + 1, noise, clean)

    def _next_noise(self, noise: Noise, last: np.ndarray | None, step: int) -> np.ndarray:
        block, row = divmod(step, _BLOCK)
        drawn = noise.deviation * _standard_normals(self.seed, block, self.interface.action.dimension)[row]
        if last is None:
            return drawn
        return noise.correlation * last + np.sqrt(1 - noise.correlation**2) * drawn


@lru_cache(maxsize=64)
def _standard_normals(seed: int, block: int, dimension: int) -> np.ndarray:
    """(_BLOCK, dimension) draws, a pure function of its arguments: a generator a step would cost ten times as much."""
    generator = np.random.Generator(np.random.Philox(key=seed, counter=block << 64))
    return generator.standard_normal((_BLOCK, dimension))
