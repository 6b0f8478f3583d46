"""Model-predictive path integral control on the true simulator: an expert without a script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from manyparts.envs.rendering import load_mujoco

# From qpos (n, nq), qvel (n, nv), sensors (n, s) and controls (n, nu) to rewards (n,), possibly
# shaped.
Rewards = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class MppiConfig:
    """Settings of `Mppi`."""

    seconds: float
    """Length of a plan in seconds."""

    samples: int = 32
    """Plans per step."""

    knots: int = 6
    """Controls that are drawn per plan, evenly spaced in time; between them it is linear."""

    std: float = 0.5
    """Standard deviation of the plans' noise, in half-ranges of the controls."""

    sharpness: float = 5.0
    """Log weight that a plan gains per standard deviation of the plans' returns."""


class Mppi:
    """Plans from a simulator's current state, around its last plan (Williams et al. 2017)."""

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
        """Begin with a plan of zeros.

        Args:
            model: a `mujoco.MjModel`; its controls are the actions.
            rewards: of states that were reached, with the sensors there and the controls that led
                there.
            config: the settings.
            low: lower bounds of the controls, (nu,).
            high: upper bounds of the controls, (nu,).
            substeps: steps of the simulator per control step.
        """
        mujoco = load_mujoco()
        self._model, self._rewards, self.config, self._substeps = model, rewards, config, substeps
        self._data = mujoco.MjData(model)
        self._kind = mujoco.mjtState.mjSTATE_FULLPHYSICS.value
        self._horizon = max(2, round(config.seconds / (model.opt.timestep * substeps)))
        self._low, self._high = low, high
        knot_positions = np.linspace(0, config.knots - 1, self._horizon)
        knot_before = np.minimum(knot_positions.astype(int), config.knots - 2)
        # Linear interpolation as a matrix (horizon, knots): controls are this times the knots.
        self._between = np.zeros((self._horizon, config.knots))
        self._between[np.arange(self._horizon), knot_before] = 1 - (knot_positions - knot_before)
        self._between[np.arange(self._horizon), knot_before + 1] = knot_positions - knot_before
        self.begin(0)

    def begin(self, seed: int) -> None:
        """Forget the last plan, and draw from this seed."""
        self._generator = np.random.default_rng(seed)
        self._plan = np.zeros((self._horizon, self._model.nu))

    def action(self, data: Any, *, held: int = 1) -> np.ndarray:
        """The control (nu,) for the state in a `mujoco.MjData`; moves the plan on.

        Args:
            data: the state.
            held: control steps for which every control is held.
        """
        steps = np.arange(self._horizon)
        plans = self._draw_plans().take(steps // held * held, axis=1)
        returns = self._step_rewards(data, plans).sum(axis=1)
        # Returns are scaled by their std, so that one sharpness fits rewards of any scale.
        weights = np.exp(
            self.config.sharpness * (returns - returns.max()) / max(float(returns.std()), 1e-6)
        )
        self._plan = np.einsum("n,nta->ta", weights / weights.sum(), plans)
        action = self._plan[0].copy()
        self._plan = self._plan[np.minimum(steps + held, self._horizon - 1)]
        return action

    def _draw_plans(self) -> np.ndarray:
        """Plans (n, t, nu) around the last one, which is the first of them."""
        config, half = self.config, (self._high - self._low) / 2
        noise = self._generator.normal(
            0, config.std, (config.samples, config.knots, self._model.nu)
        )
        noise[0] = 0
        return np.clip(self._plan + (self._between @ noise) * half, self._low, self._high)

    def _step_rewards(self, data: Any, plans: np.ndarray) -> np.ndarray:
        """The rewards (n, t) of plans (n, t, nu) from the state in `data`."""
        # A step of the simulator reads its sensors before it moves. So the sensors of a state are
        # those of the next step of the simulator, and one more step follows the last state.
        from mujoco import rollout

        state = np.empty(load_mujoco().mj_stateSize(self._model, self._kind))
        load_mujoco().mj_getState(self._model, data, state, self._kind)
        count, steps, _ = plans.shape
        controls = np.repeat(plans, self._substeps, axis=1)
        results = rollout.rollout(
            self._model,
            self._data,
            np.tile(state, (count, 1)),
            np.concatenate([controls, controls[:, -1:]], axis=1),
            initial_warmstart=np.tile(data.qacc_warmstart, (count, 1)),
        )
        states, sensors = (np.asarray(part) for part in results)
        reached = states[:, self._substeps - 1 : -1 : self._substeps].reshape(count * steps, -1)
        read = sensors[:, self._substeps :: self._substeps].reshape(count * steps, -1)
        nq, nv = self._model.nq, self._model.nv
        # A full state begins with the time.
        position, velocity = reached[:, 1 : 1 + nq], reached[:, 1 + nq : 1 + nq + nv]
        rewards = self._rewards(position, velocity, read, plans.reshape(count * steps, -1))
        return rewards.reshape(count, steps)
