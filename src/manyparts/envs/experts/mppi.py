"""Model-predictive path integral control on the true simulator: an expert where nobody wrote
one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from manyparts.envs.rendering import load_mujoco

# qpos (n, nq), qvel (n, nv), sensors (n, s) and controls (n, nu) to rewards (n,), or to something
# that leads to them.
Rewards = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class MppiConfig:
    """seconds: how far it looks. samples: plans a step. knots: how many controls a plan has, evenly
    spaced in time and joined by straight lines. std: of their noise, in half-ranges of the
    controls. sharpness: how strongly better plans weigh, in standard deviation of the plans'
    returns."""

    seconds: float
    samples: int = 32
    knots: int = 6
    std: float = 0.5
    sharpness: float = 5.0


class Mppi:
    """Plans from the present state of a simulator and goes on from its last plan (Williams et al.
    2017).

    model: `mujoco.MjModel`, whose controls are the actions. rewards: of states that are reached,
    with the sensors of positions and velocities there and the control that led there. low, high:
    (nu,), bounds of the controls. substeps: of the simulator in a control step.
    """

    def __init__(
        self,
        model: Any,
        rewards: Rewards,
        config: MppiConfig,
        low: np.ndarray,
        high: np.ndarray,
        *,
        substeps: int,
    ) -> None:
        mujoco = load_mujoco()
        self._model, self._rewards, self.config, self._substeps = model, rewards, config, substeps
        self._data = mujoco.MjData(model)
        self._kind = mujoco.mjtState.mjSTATE_FULLPHYSICS.value
        self._horizon = max(2, round(config.seconds / (model.opt.timestep * substeps)))
        self._low, self._high = low, high
        knot_positions = np.linspace(0, config.knots - 1, self._horizon)
        knot_before = np.minimum(knot_positions.astype(int), config.knots - 2)
        self._between = np.zeros((self._horizon, config.knots))  # controls are this times the knots
        self._between[np.arange(self._horizon), knot_before] = 1 - (knot_positions - knot_before)
        self._between[np.arange(self._horizon), knot_before + 1] = knot_positions - knot_before
        self.begin(0)

    def begin(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self._plan = np.zeros((self._horizon, self._model.nu))

    def action(self, data: Any) -> np.ndarray:
        """The control for the state in `data` (`mujoco.MjData`), (nu,); the plan is moved on by a
        step."""
        plans = self._draw_plans()
        returns = self._step_rewards(data, plans).sum(axis=1)
        weights = np.exp(
            self.config.sharpness * (returns - returns.max()) / max(float(returns.std()), 1e-6)
        )
        self._plan = np.einsum("n,nta->ta", weights / weights.sum(), plans)
        action = self._plan[0].copy()
        self._plan = np.concatenate([self._plan[1:], self._plan[-1:]])
        return action

    def _draw_plans(self) -> np.ndarray:
        """Plans around the last one, which is the first of them: (n, t, nu)."""
        config, half = self.config, (self._high - self._low) / 2
        noise = self._generator.normal(
            0, config.std, (config.samples, config.knots, self._model.nu)
        )
        noise[0] = 0
        return np.clip(self._plan + (self._between @ noise) * half, self._low, self._high)

    def _step_rewards(self, data: Any, plans: np.ndarray) -> np.ndarray:
        """The reward of each step of plans (n, t, nu) from the state in `data`, (n, t).

        A step of the simulator reads its sensors before it moves, so what they say of a state is
        read one step of the simulator later, and after the last state one more step is taken.
        """
        from mujoco import rollout

        state = np.empty(load_mujoco().mj_stateSize(self._model, self._kind))
        load_mujoco().mj_getState(self._model, data, state, self._kind)
        count, steps, _ = plans.shape
        controls = np.repeat(plans, self._substeps, axis=1)
        found = rollout.rollout(
            self._model,
            self._data,
            np.tile(state, (count, 1)),
            np.concatenate([controls, controls[:, -1:]], axis=1),
            initial_warmstart=np.tile(data.qacc_warmstart, (count, 1)),
        )
        states, sensors = (np.asarray(part) for part in found)
        reached = states[:, self._substeps - 1 : -1 : self._substeps].reshape(count * steps, -1)
        read = sensors[:, self._substeps :: self._substeps].reshape(count * steps, -1)
        nq, nv = self._model.nq, self._model.nv
        position, velocity = reached[:, 1 : 1 + nq], reached[:, 1 + nq : 1 + nq + nv]
        rewards = self._rewards(position, velocity, read, plans.reshape(count * steps, -1))
        return rewards.reshape(count, steps)
