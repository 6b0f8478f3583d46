"""World models that are known exactly: a mass on a line, whose best plan is known too, and one that
explodes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from manyparts.models.dynamics.world_model import Prediction

SECONDS = 0.2  # of a step
MOTION = torch.tensor([[1.0, SECONDS], [0.0, 1.0]])  # position and velocity
PUSH = torch.tensor([[SECONDS**2 / 2], [SECONDS]])
STATE_COST, ACTION_COST = torch.diag(torch.tensor([1.0, 0.1])), 0.05


@dataclass
class Line:
    """A mass on a line that the action pushes; the reward is lost by standing off 0, by speed and
    by pushing.

    explodes_above: actions from which on predictions are nan. dreamed: the sizes of imaginations so
    far, in their order.
    """

    explodes_above: float = float("inf")
    dreamed: list[int] = field(default_factory=list)

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
        self.world.dreamed.append(count)
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
    """One that knows what to do. advice: always this; None: what `regulated` does."""

    advice: float | None = None


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
        advice = self.world.advice
        return (
            regulated(self.state).clamp(-1, 1)
            if advice is None
            else torch.full((len(self.state), 1), advice)
        )


def seen(*state: float, world: Line | None = None) -> LineContext:
    """A context of one observation."""
    return (world or Line()).encode(torch.tensor([state]), torch.zeros(0, 1), torch.zeros(0))


def best_return(state: Tensor, horizon: int) -> float:
    """Of the linear-quadratic regulator with so many steps to go (the last state's cost is not
    counted)."""
    cost = torch.zeros(2, 2)
    for _ in range(horizon):
        gain = torch.linalg.solve(
            PUSH.T @ cost @ PUSH + ACTION_COST * torch.eye(1), PUSH.T @ cost @ MOTION
        )
        cost = STATE_COST + MOTION.T @ cost @ (MOTION - PUSH @ gain)
    return -(state @ cost @ state).item()


def regulated(state: Tensor) -> Tensor:
    """A good policy for a long way to go: (n, 2) to (n, 1)."""
    return -(state * torch.tensor([1.5, 1.5])).sum(dim=1, keepdim=True)
