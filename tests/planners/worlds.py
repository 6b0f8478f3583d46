"""World models for tests: a mass on a line, of which the best plan is known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from manyparts.models.dynamics.world_model import Prediction

SECONDS_PER_STEP = 0.2
MOTION = torch.tensor([[1.0, SECONDS_PER_STEP], [0.0, 1.0]])  # position and velocity
PUSH = torch.tensor([[SECONDS_PER_STEP**2 / 2], [SECONDS_PER_STEP]])
STATE_COST, ACTION_COST = torch.diag(torch.tensor([1.0, 0.1])), 0.05


@dataclass
class Line:
    """A mass on a line that the action pushes.

    Distance from 0, speed and pushing reduce the reward.
    """

    explodes_above: float = float("inf")
    """Actions above this make predictions nan."""

    counts: list[int] = field(default_factory=list)
    """Number of candidates of each imagination so far."""

    def encode(self, observation: Tensor, action: Tensor, reward: Tensor) -> LineContext:
        return LineContext(self, observation, action, reward)


@dataclass(frozen=True)
class LineContext:
    """All that was seen, so that tests can look at it."""

    world: Line
    observation: Tensor
    action: Tensor
    reward: Tensor

    def imagine(self, count: int, generator: torch.Generator | None = None) -> LineImagination:
        self.world.counts.append(count)
        kind = ProposingImagination if isinstance(self.world, ProposingLine) else LineImagination
        return kind(self.world, self.observation[-1].expand(count, -1))

    def extended(self, action: Tensor, reward: Tensor, observation: Tensor) -> LineContext:
        return replace(
            self,
            observation=torch.cat([self.observation, observation[None]]),
            action=torch.cat([self.action, action[None]]),
            reward=torch.cat([self.reward, reward[None]]),
        )


@dataclass
class ProposingLine(Line):
    """A line with a policy."""

    fixed_action: float | None = None
    """The policy's action; None: that of `regulated`."""


class LineImagination:
    def __init__(self, world: Line, state: Tensor) -> None:
        self.world, self.state = world, state

    def step(self, action: Tensor) -> Prediction:
        reward = (
            -(self.state**2 * STATE_COST.diagonal()).sum(dim=1) - ACTION_COST * action[:, 0] ** 2
        )
        state = (
            self.state[:, :1] * MOTION[:, 0]
            + self.state[:, 1:] * MOTION[:, 1]
            + action * PUSH[:, 0]
        )
        self.state = torch.where(action > self.world.explodes_above, torch.nan, state)
        return Prediction(self.state, reward)


class ProposingImagination(LineImagination):
    def policy(self) -> Tensor:
        assert isinstance(self.world, ProposingLine)
        if self.world.fixed_action is None:
            return regulated(self.state).clamp(-1, 1)
        return torch.full((len(self.state), 1), self.world.fixed_action)


def seen(*state: float, world: Line | None = None) -> LineContext:
    """Return a context of one observation."""
    return (world or Line()).encode(torch.tensor([state]), torch.zeros(0, 1), torch.zeros(0))


def best_return(state: Tensor, horizon: int) -> float:
    """Return that of the linear-quadratic regulator, without the cost of the last state."""
    cost = torch.zeros(2, 2)
    for _ in range(horizon):
        gain = torch.linalg.solve(
            PUSH.T @ cost @ PUSH + ACTION_COST * torch.eye(1), PUSH.T @ cost @ MOTION
        )
        cost = STATE_COST + MOTION.T @ cost @ (MOTION - PUSH @ gain)
    return -(state @ cost @ state).item()


def regulated(state: Tensor) -> Tensor:
    """Return the actions (n, 1) of a good policy for long horizons, from states (n, 2)."""
    return -(state * torch.tensor([1.5, 1.5])).sum(dim=1, keepdim=True)
