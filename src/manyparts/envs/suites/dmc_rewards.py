"""Rewards of the DeepMind Control suite for many states at once, for an expert that plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from manyparts.envs.experts.mppi import MppiConfig, Rewards
from manyparts.envs.rendering import load_mujoco

# Settings of a domain's expert; the others plan half a second ahead.
PLANS: Mapping[str, MppiConfig] = {
    "cartpole": MppiConfig(seconds=0.8, samples=32, knots=8),
    "pendulum": MppiConfig(seconds=1.6, samples=32, knots=8),
    "reacher": MppiConfig(seconds=0.6, samples=32, knots=5),
    "walker": MppiConfig(seconds=0.5, samples=32, knots=6),
    "cheetah": MppiConfig(seconds=0.4, samples=40, knots=8),
    "ball_in_cup": MppiConfig(seconds=0.8, samples=32, knots=8),
    "hopper": MppiConfig(seconds=0.8, samples=32, knots=8),
    "fish": MppiConfig(seconds=1.0, samples=24, knots=6),
    "finger": MppiConfig(seconds=0.6, samples=32, knots=6),
}
USUAL_PLAN = MppiConfig(seconds=0.5)


def rewards_of(domain: str, task: str, physics: Any, suite_task: Any) -> Rewards:
    """The rewards of a task.

    Five domains have functions of arrays here. Others use the suite's own function, one state at a
    time, which is slower.

    Args:
        domain: the robot, such as "walker".
        task: what it does, such as "run".
        physics: the suite's physics of this task.
        suite_task: the suite's task, used for the other domains.

    Returns:
        A function from positions, velocities, sensors and controls of n states to float (n,), see
        `mppi.Rewards`. Where the suite's rewards are too sparse to plan with, terms are added.
    """
    vectorised = {
        "cartpole": _cartpole,
        "pendulum": _pendulum,
        "reacher": _reacher,
        "walker": _walker,
        "cheetah": _cheetah,
    }
    if domain in vectorised and task not in ("two_poles", "three_poles"):
        return vectorised[domain](task, physics)
    return _state_by_state(physics, suite_task, _SHAPING.get((domain, task)))


def _tolerance(values: np.ndarray, **arguments: Any) -> np.ndarray:
    from dm_control.utils.rewards import tolerance

    return np.asarray(tolerance(values, **arguments))


def _cartpole(task: str, physics: Any) -> Rewards:
    def rewards(
        position: np.ndarray, velocity: np.ndarray, sensors: np.ndarray, control: np.ndarray
    ) -> np.ndarray:
        cosine = np.cos(position[:, 1:])
        if task.endswith("_sparse"):
            near = _tolerance(position[:, 0], bounds=(-0.25, 0.25))
            up = _tolerance(cosine, bounds=(0.995, 1)).prod(axis=1)
            return near * up + 0.1 * (cosine.mean(axis=1) + _tolerance(position[:, 0], margin=2))
        upright = (cosine.mean(axis=1) + 1) / 2
        centred = (1 + _tolerance(position[:, 0], margin=2)) / 2
        gentle = (
            4 + _tolerance(control[:, 0], margin=1, value_at_margin=0, sigmoid="quadratic")
        ) / 5
        slow = (1 + _tolerance(velocity[:, 1:], margin=5).min(axis=1)) / 2
        return upright * gentle * slow * centred

    return rewards


def _pendulum(task: str, physics: Any) -> Rewards:
    """The suite's reward, 1 within 8 degrees of upright and else 0, plus a term for height."""

    def rewards(
        position: np.ndarray, velocity: np.ndarray, sensors: np.ndarray, control: np.ndarray
    ) -> np.ndarray:
        height = np.cos(position[:, 0])
        return _tolerance(height, bounds=(np.cos(np.deg2rad(8)), 1)) + 0.1 * height

    return rewards


def _reacher(task: str, physics: Any) -> Rewards:
    """The suite's own is 1 on the target and 0 elsewhere, so nearness is added."""
    arm, hand = 0.12, 0.12

    def rewards(
        position: np.ndarray, velocity: np.ndarray, sensors: np.ndarray, control: np.ndarray
    ) -> np.ndarray:
        first, both = position[:, 0], position[:, :2].sum(axis=1)
        finger = np.stack(
            [arm * np.cos(first) + hand * np.cos(both), arm * np.sin(first) + hand * np.sin(both)],
            axis=1,
        )
        target = physics.named.model.geom_pos["target", :2]
        radii = physics.named.model.geom_size[["target", "finger"], 0].sum()
        distance = np.linalg.norm(finger - target, axis=1)
        slow = 0.002 * np.square(velocity).sum(axis=1)
        return _tolerance(distance, bounds=(0, radii)) - distance - slow

    return rewards


def _walker(task: str, physics: Any) -> Rewards:
    speed = {"stand": 0.0, "walk": 1.0, "run": 8.0}[task]
    root = float(physics.named.model.body_pos["torso", "z"])

    def rewards(
        position: np.ndarray, velocity: np.ndarray, sensors: np.ndarray, control: np.ndarray
    ) -> np.ndarray:
        standing = _tolerance(root + position[:, 0], bounds=(1.2, np.inf), margin=0.6)
        stands = (3 * standing + (1 + np.cos(position[:, 2])) / 2) / 4
        if not speed:
            return stands
        moves = _tolerance(
            sensors[:, 0],
            bounds=(speed, np.inf),
            margin=speed / 2,
            value_at_margin=0.5,
            sigmoid="linear",
        )
        return stands * (5 * moves + 1) / 6

    return rewards


def _cheetah(task: str, physics: Any) -> Rewards:
    def rewards(
        position: np.ndarray, velocity: np.ndarray, sensors: np.ndarray, control: np.ndarray
    ) -> np.ndarray:
        return _tolerance(
            sensors[:, 0], bounds=(10, np.inf), margin=10, value_at_margin=0, sigmoid="linear"
        )

    return rewards


def _away(vector: np.ndarray) -> float:
    return -float(np.linalg.norm(vector))


def _hopper(physics: Any) -> float:
    return min(physics.height(), 0.8) + 0.1 * min(physics.speed(), 2.0)


# Terms that are added to the suite's rewards where these are too sparse to plan with: functions of
# a physics.
_SHAPING: Mapping[tuple[str, str], Callable[[Any], float]] = {
    ("point_mass", "easy"): lambda physics: -physics.mass_to_target_dist(),
    ("point_mass", "hard"): lambda physics: -physics.mass_to_target_dist(),
    ("ball_in_cup", "catch"): lambda physics: _away(physics.ball_to_target()),
    ("hopper", "stand"): _hopper,
    ("hopper", "hop"): _hopper,
    ("fish", "upright"): lambda physics: 0.2 * physics.upright(),
    ("fish", "swim"): lambda physics: 0.2 * physics.upright() + _away(physics.mouth_to_target()),
    ("finger", "spin"): lambda physics: -0.02 * float(np.clip(physics.hinge_velocity(), -20, 20)),
}


def _state_by_state(
    physics: Any, suite_task: Any, shaping: Callable[[Any], float] | None = None
) -> Rewards:
    """The suite's own rewards plus `shaping`, from a scratch copy that is set to each state."""
    mujoco, scratch = load_mujoco(), physics.copy(share_model=True)

    def rewards(
        position: np.ndarray, velocity: np.ndarray, sensors: np.ndarray, control: np.ndarray
    ) -> np.ndarray:
        values = np.empty(len(position))
        for index in range(len(position)):
            scratch.data.qpos[:], scratch.data.qvel[:] = position[index], velocity[index]
            scratch.data.ctrl[:] = control[index]
            mujoco.mj_forward(scratch.model.ptr, scratch.data.ptr)
            extra = shaping(scratch) if shaping else 0
            values[index] = suite_task.get_reward(scratch) + extra
        return values

    return rewards
