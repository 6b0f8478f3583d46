"""An environment's scripted expert as an agent, with lasting noise so that it errs and shows how to
recover."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from manyparts.agents.base import Described
from manyparts.core.records import Observation, Prompt
from manyparts.core.serialisation import require_types
from manyparts.envs.base import Environment

_BLOCK = 64


@dataclass(frozen=True)
class Noise:
    """Temporally correlated exploration of an expert: n(t) = c n(t-1) + sqrt(1 - c^2) d e(t), e
    standard normal.

    fraction: the share of attempts that are noisy. std: d, the stationary standard deviation of
    every action dimension, in half-ranges of the action contract. correlation: c, between
    successive steps.

    Of discrete actions every choice has a score, 1 for the expert's and 0 for the others; the noise
    is added to the scores and the best one is executed. Of four choices, at a std of 0.4, that is
    another one than the expert's in 9 % of the steps, two or three in a row at a correlation of
    0.9.
    """

    fraction: float = 0.5
    std: float = 0.4
    correlation: float = 0.9

    def __post_init__(self) -> None:
        require_types(self)


@dataclass(frozen=True)
class ExpertCarry:
    """step: actions taken so far. noise: float64, the last step's, (a,) or (choices,).
    expert_action: float32 (a,), before noise."""

    step: int
    noise: np.ndarray
    expert_action: np.ndarray


class ExpertAgent(Described):
    """The scripted expert of `env`; with `noise`, what it executes is clip(expert + noise), or see
    `Noise`.

    The expert reads the true state of its own environment, so an agent belongs to one environment.
    The noise of step t is a pure function of (seed, t).
    """

    prompted = False

    def __init__(self, env: Environment, noise: Noise | None = None, *, seed: int = 0) -> None:
        self.env = env
        self.spec = env.embodiment_spec
        self.noise = noise
        self.seed = seed

    def needs_observation(self, carry: ExpertCarry | None) -> bool:
        return False

    def act(
        self,
        carry: ExpertCarry | None,
        observation: Observation | None,
        prompt: Prompt | None,
        *,
        explore: bool,
    ) -> tuple[np.ndarray, ExpertCarry]:
        """The executed action, float32 (a,). The clean one is in the carry; without `explore` the
        two are equal."""
        step = 0 if carry is None else carry.step
        clean = self.env.expert_action()
        if self.noise is None or not explore:
            return clean, ExpertCarry(step + 1, np.zeros(self._noise_dimension), clean)
        noise = self._next_noise(self.noise, None if carry is None else carry.noise, step)
        return self._disturbed(clean, noise), ExpertCarry(step + 1, noise, clean)

    @property
    def _noise_dimension(self) -> int:
        contract = self.spec.action
        return len(contract.choices) or contract.dimension

    def _disturbed(self, clean: np.ndarray, noise: np.ndarray) -> np.ndarray:
        contract = self.spec.action
        if contract.choices:
            scores = noise + (np.arange(len(noise)) == clean[0])
            return np.array([scores.argmax()], np.float32)
        return contract.executed(
            clean + noise * (np.asarray(contract.high) - np.asarray(contract.low)) / 2
        )

    def _next_noise(self, noise: Noise, last: np.ndarray | None, step: int) -> np.ndarray:
        block, row = divmod(step, _BLOCK)
        drawn = noise.std * _standard_normals(self.seed, block, self._noise_dimension)[row]
        if last is None:
            return drawn
        return noise.correlation * last + np.sqrt(1 - noise.correlation**2) * drawn


@lru_cache(maxsize=64)
def _standard_normals(seed: int, block: int, dimension: int) -> np.ndarray:
    """(_BLOCK, dimension) draws, a pure function of its arguments: a generator a step would cost
    ten times as much."""
    generator = np.random.Generator(np.random.Philox(key=seed, counter=block << 64))
    return generator.standard_normal((_BLOCK, dimension))
