"""A linear-Gaussian world is learned almost to the likelihood of the filter that is exact there.

x' = A x + B u + w, y = C x + v, of which only y and the actions u are seen. The Kalman filter's
log-likelihood of y is the best that there is. Our estimate of the model's is its evidence lower
bound, from the two terms that the objective itself logs: never more than the model's own
log-likelihood, so the test can only be too strict.

Three settings make the objective's gradient that of the bound:
- free nats of 0;
- a divergence of weight 2 with a balance of 0.5. Balancing detaches one side of each term, so that
  prior and posterior each get half of the weight. At weight 1 the posterior stays too narrow, and
  the bound 15 % below (measured);
- a std of observations around their prediction below that of the noise, 0.4 of it. The model's
  memory hears of an observation only through a drawn state, so what the decoder counts as noise is
  lost to later steps: 13 % of the likelihood at the noise's own std, 2 % at 0.4 of it (computed).
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from manyparts.core.records import Batch, Prompt
from manyparts.core.spec import ActionContract, Spec
from manyparts.data.sampling.config import WindowConfig
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.dynamics.configs import GaussianLatentConfig, LatentWorldConfig
from manyparts.objectives.configs import WorldConfig
from manyparts.objectives.system import System

STEPS = 16
SPEC = Spec("linear", {}, ("y",), ActionContract("force", "world", ("u",), (-1.0,), (1.0,), 10.0))


@dataclass(frozen=True)
class LinearWorld:
    """A damped rotation that an action pushes, seen along one axis, with noise."""

    process: float = 0.3
    noise: float = 0.3
    push: float = 0.5

    @property
    def dynamics(self) -> np.ndarray:
        cosine, sine = math.cos(0.4), math.sin(0.4)
        return 0.95 * np.array([[cosine, -sine], [sine, cosine]])

    @cached_property
    def start(self) -> np.ndarray:
        """The covariance of states when the world has run for long: that of its first states."""
        covariance = np.eye(2)
        for _ in range(1000):
            covariance = self._moved(covariance) + np.diag([0.0, self.push**2 / 3])
        return covariance

    @property
    def scale(self) -> float:
        """The std of observations."""
        return math.sqrt(self.start[0, 0] + self.noise**2)

    def simulate(self, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Observations of std 1 and actions, each (count, STEPS, 1)."""
        state = generator.multivariate_normal(np.zeros(2), self.start, size=count)
        observed, actions = [], []
        for _ in range(STEPS):
            observed.append(state[:, :1] + self.noise * generator.normal(size=(count, 1)))
            actions.append(generator.uniform(-1, 1, (count, 1)))
            state = state @ self.dynamics.T + self.process * generator.normal(size=(count, 2))
            state[:, 1:] += self.push * actions[-1]
        return np.stack(observed, axis=1) / self.scale, np.stack(actions, axis=1)

    def likelihood(self, observed: np.ndarray, actions: np.ndarray) -> float:
        """The mean log-likelihood of an observation given those before it, by the Kalman filter."""
        mean, covariance, total = np.zeros((len(observed), 2)), self.start, 0.0
        for step in range(STEPS):
            variance = covariance[0, 0] + self.noise**2
            surprise = observed[:, step, 0] * self.scale - mean[:, 0]
            total += normal(surprise, math.sqrt(variance)) + math.log(self.scale)
            gain = covariance[:, 0] / variance
            mean = (mean + surprise[:, None] * gain) @ self.dynamics.T
            mean[:, 1:] += self.push * actions[:, step]
            covariance = self._moved(covariance - np.outer(gain, covariance[0]))
        return total / STEPS

    def _moved(self, covariance: np.ndarray) -> np.ndarray:
        moved = self.dynamics @ covariance @ self.dynamics.T
        return moved + self.process**2 * np.eye(2)


def normal(values: np.ndarray, std: float) -> float:
    """The mean log density of values under a normal distribution of mean 0."""
    return float(np.mean(-0.5 * (values / std) ** 2) - math.log(std * math.sqrt(2 * math.pi)))


def batch_of(observed: np.ndarray, actions: np.ndarray) -> Batch:
    count = len(observed)
    action = torch.tensor(actions, dtype=torch.float32)[:, :, None]
    mask = torch.ones(count, STEPS, dtype=torch.bool)
    return Batch(
        images={},
        features={},
        state=torch.tensor(observed, dtype=torch.float32),
        action=action,
        expert_action=action,
        reward=torch.zeros(count, STEPS),
        timestep=torch.arange(STEPS).expand(count, STEPS),
        mask=mask,
        chunk_mask=mask[..., None],
        state_mask=torch.ones(count, 1, dtype=torch.bool),
        action_mask=torch.ones(count, 1, dtype=torch.bool),
        prompt=(Prompt(None),) * count,
        window=torch.arange(count),
    )


def trained(world: LinearWorld, updates: int) -> System:
    """A latent world after so many updates, each of 64 fresh sequences."""
    torch.manual_seed(0)
    config = LatentWorldConfig(width=32, latent=GaussianLatentConfig(2), head_layers=1)
    objective = WorldConfig(
        free_nats=0.0,
        divergence=2.0,
        balance=0.5,
        state_std=0.4 * world.noise / world.scale,
        reward=0.0,
        continuation=0.0,
    )
    window = WindowConfig(steps=STEPS, chunk=1)
    system = System.build(config, {"world": objective}, EmbodimentSet((SPEC,)), window)
    optimizer: Any = torch.optim.Adam(system.parameters(), lr=6e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    draws, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    for _ in range(updates):
        optimizer.zero_grad()
        batch = batch_of(*world.simulate(64, draws))
        system.losses(batch, generator)["world"].mean().backward()
        torch.nn.utils.clip_grad_norm_(system.parameters(), 100.0)
        optimizer.step()
        schedule.step()
    return system


@torch.no_grad()
def lower_bound(system: System, batch: Batch) -> float:
    """The evidence lower bound per observation, a mean over four draws of states."""
    config, generator = system.objectives["world"].config, torch.Generator().manual_seed(0)
    constant = math.log(config.state_std * math.sqrt(2 * math.pi))
    bounds = []
    for _ in range(4):
        parts = system.losses(batch, generator)["world"].metrics
        bounds.append(-parts["state"] - constant - parts["divergence"] / config.divergence)
    return float(torch.stack(bounds).mean())


def test_filter_agrees_with_the_joint_density() -> None:
    """All observations of a sequence together are normal, with a covariance of its own."""
    world = LinearWorld()
    observed, actions = world.simulate(200, np.random.default_rng(1))
    powers = [np.linalg.matrix_power(world.dynamics, step)[0] for step in range(STEPS)]
    # Row t: what the state at 0, and then each step's noise, adds to the observation t.
    first = np.stack(powers)
    later = np.zeros((STEPS, STEPS, 2))
    for step in range(1, STEPS):
        later[step, :step] = powers[step - 1 :: -1] if step > 1 else powers[:1]
    noise = np.einsum("tki,ski->ts", later, later)
    covariance = first @ world.start @ first.T + world.process**2 * noise
    covariance += world.noise**2 * np.eye(STEPS)
    mean = world.push * np.einsum("tk,nk->nt", later[..., 1], actions[..., 0])
    surprise = observed[..., 0] * world.scale - mean
    exponent = np.einsum("nt,ts,ns->n", surprise, np.linalg.inv(covariance), surprise)
    _, size = np.linalg.slogdet(2 * math.pi * covariance)
    density = float(np.mean(-0.5 * (exponent + size))) / STEPS + math.log(world.scale)
    assert world.likelihood(observed, actions) == pytest.approx(density, abs=1e-9)


def measured() -> tuple[float, float, float]:
    """The trained model's bound, the filter's likelihood, and that without memory."""
    world = LinearWorld()
    observed, actions = world.simulate(512, np.random.default_rng(99))
    bound = lower_bound(trained(world, 1250), batch_of(observed, actions))
    return bound, world.likelihood(observed, actions), normal(observed, 1.0)


@pytest.mark.slow
def test_latent_world_comes_near_the_kalman_filter() -> None:
    """26 s of one core. Measured: -0.718 nats an observation, of -0.691: 3.9 % below.

    In a process of its own, without the checks of shapes under which tests take four times as long.
    """
    program = "from objectives.test_kalman import measured; print(*measured())"
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    bound, exact, memoryless = map(float, answer.stdout.split())
    assert bound < exact + 0.01, "no model knows more than the filter"
    assert exact - bound < 0.05 * abs(exact)
    assert exact - bound < 0.05 * (exact - memoryless)
