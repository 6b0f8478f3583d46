"""An environment's scripted expert as an agent.

With correlated noise it makes lasting errors, so that its data also show how to recover.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from manyparts.agents.base import Described
from manyparts.core.records import Observation, Prompt
from manyparts.core.serialisation import require_types
from manyparts.envs.base import Environment

_BLOCK = 64  # steps


@dataclass(frozen=True)
class Noise:
    """Temporally correlated exploration of an expert: n(t) = c n(t-1) + sqrt(1 - c^2) d e(t).

    e is standard normal, d is `std` and c is `correlation`. For discrete actions every choice has a
    score, 1 for the expert's and 0 for the others; the noise is added to the scores and the best
    one is executed. With four choices and a std of 0.4, that differs from the expert's choice in
    9 % of the steps, for two or three steps in a row at a correlation of 0.9.
    """

    fraction: float = 0.5
    """Fraction of the tries that are noisy, from 0 to 1."""

    std: float = 0.4
    """Stationary std of the noise of every action dimension, in half-ranges of the action."""

    correlation: float = 0.9
    """Correlation of the noise of successive steps, from 0 to 1."""

    def __post_init__(self) -> None:
        require_types(self)


@dataclass(frozen=True)
class ExpertCarry:
    """The memory of an `ExpertAgent`."""

    step: int
    """Actions taken so far."""

    noise: np.ndarray
    """Noise of the last step: float64 (a,), or (choices,) for discrete actions."""

    expert_action: np.ndarray
    """Action of the last step before noise: float32 (a,)."""


class ExpertAgent(Described):
    """The scripted expert of an environment; with noise, it executes clip(expert + noise).

    The expert reads the true state of its own environment, so an agent belongs to one environment.
    The noise of step t is a pure function of (seed, t).

    Args:
        env: The environment.
        noise: What is added when the agent explores; None: nothing.
        seed: Seed of the noise.
    """

    prompted = False

    def __init__(self, env: Environment, noise: Noise | None = None, *, seed: int = 0) -> None:
        self.env = env
        self.spec = env.embodiment_spec
        self.noise = noise
        self.seed = seed

    def needs_observation(self, carry: ExpertCarry | None) -> bool:
        """Return False: the expert reads the simulator."""
        return False

    def act(
        self,
        carry: ExpertCarry | None,
        observation: Observation | None,
        prompt: Prompt | None,
        *,
        explore: bool,
    ) -> tuple[np.ndarray, ExpertCarry]:
        """Return the executed action, float32 (a,), and the new carry.

        The expert's own action is in the carry; without `explore` the two are equal.

        Args:
            carry: What `act` returned at the step before; None at an episode's start.
            observation: Not used.
            prompt: Not used.
            explore: Add the agent's noise, if it has any.
        """
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
        """Return the action that is executed instead of the expert's own."""
        contract = self.spec.action
        if contract.choices:
            # 1 for the expert's choice, 0 for the others.
            scores = noise + (np.arange(len(noise)) == clean[0])
            return np.array([scores.argmax()], np.float32)
        return contract.executed(clean + noise * contract.half_range)

    def _next_noise(self, noise: Noise, last: np.ndarray | None, step: int) -> np.ndarray:
        """Return the noise of a step, from that of the step before; see `Noise`."""
        block, row = divmod(step, _BLOCK)
        drawn = noise.std * _standard_normals(self.seed, block, self._noise_dimension)[row]
        # The first step's noise has the stationary std, too.
        if last is None:
            return drawn
        return noise.correlation * last + np.sqrt(1 - noise.correlation**2) * drawn


@lru_cache(maxsize=64)
def _standard_normals(seed: int, block: int, dimension: int) -> np.ndarray:
    """Return (_BLOCK, dimension) draws as a pure function of the arguments.

    By blocks, since a generator per step would cost ten times as much.
    """
    generator = np.random.Generator(np.random.Philox(key=seed, counter=block << 64))
    return generator.standard_normal((_BLOCK, dimension))
