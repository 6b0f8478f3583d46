"""The action that keeps a robot where it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from manyparts.core.spec import ActionContract, Spec

_STILL = ("delta", "velocity", "joint_velocity", "force", "torque", "effort", "control")
_STILL_CHOICES = ("noop", "no-op", "stay", "stop", "none", "wait", "done")


def rests_at_zero(contract: ActionContract) -> bool:
    """Return whether zeros keep a robot where it is: actions are differences, velocities, forces.

    Args:
        contract: Of its actions.
    """
    return contract.representation.startswith(_STILL)


def holding_action(
    spec: Spec, state: np.ndarray | None, before: np.ndarray | None
) -> np.ndarray | None:
    """Return the action that keeps a robot where it is, float32 (a,); None if nobody knows.

    Differences and velocities become 0. Targets become the state's numbers of the same name, or
    else the last target. Grippers stay as they are.

    Args:
        spec: The robot.
        state: Its state, (s,); None if it is not known.
        before: The last action, (a,); None if there was none.
    """
    contract = spec.action
    if contract.choices:
        still = [name for name in contract.choices if name.lower() in _STILL_CHOICES]
        return np.array([contract.choices.index(still[0])], np.float32) if still else None
    if rests_at_zero(contract):
        held = np.zeros(contract.dimension)
    elif (here := _targets(spec, state)) is not None:
        held = here
    elif before is not None:
        held = before.astype(np.float64)
    else:
        return None
    if before is not None:
        grips = np.array(["grip" in name.lower() for name in contract.names], bool)
        held = np.where(grips, before, held)
    return contract.executed(held)


def _targets(spec: Spec, state: np.ndarray | None) -> np.ndarray | None:
    """The state's numbers that have the names of actions, (a,); None if one is missing."""
    names: Sequence[str] = spec.state_names
    missing = [name for name in spec.action.names if name not in names]
    if state is None or missing or not np.isfinite(state).all():
        return None
    return np.array([state[names.index(name)] for name in spec.action.names])
