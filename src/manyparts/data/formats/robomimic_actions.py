"""Store actions in robomimic's files twice: scaled to [-1, 1], as robomimic wants them, and as they
were recorded.

If one outlier sets the bounds, scaling takes the last digits of all other numbers. float64 does not
help small ones, since robomimic converts it to float32. The arrays `*_recorded` are exact, and
robomimic ignores them.
"""

from __future__ import annotations

import numpy as np

from manyparts.core.spec import ActionContract

ACTIONS, EXPERT_ACTIONS = "actions", "actions_expert"
RECORDED = {name: f"{name}_recorded" for name in (ACTIONS, EXPERT_ACTIONS)}
_ROUNDING = 1e-6  # in units of half the distance of the bounds; float32 rounds to 6e-8


def to_store(name: str, action: np.ndarray, contract: ActionContract) -> dict[str, np.ndarray]:
    """The arrays to write for an episode's actions.

    Args:
        name: the name of the scaled ones, one of `RECORDED`.
        action: float32 (T, a), in the contract's units.
        contract: the meaning of the actions.

    Returns:
        Name to array (T, a): the actions scaled to [-1, 1], and as they are.
    """
    return {name: contract.normalise(action), RECORDED[name]: action}


def as_recorded(
    scaled: np.ndarray, recorded: np.ndarray | None, contract: ActionContract
) -> np.ndarray:
    """The actions of a file that manyparts wrote.

    Args:
        scaled: (T, a), in [-1, 1].
        recorded: (T, a), in the contract's units; None in files of early versions.
        contract: the meaning of the actions.

    Returns:
        float32 (T, a), in the contract's units.

    Raises:
        ValueError: if the two are not the same actions, since somebody changed one of them, or have
            another dimension than the contract.
    """
    if scaled.shape[1] != contract.dimension:
        raise ValueError(
            f"have {scaled.shape[1]} numbers per step; the action contract has {contract.dimension}"
        )
    if recorded is None:
        # Not clipped: recorded actions may lie beyond the bounds.
        actions = contract.unscale(scaled.astype(np.float64))
        return (np.rint(actions) if contract.choices else actions).astype(np.float32)
    if recorded.shape != scaled.shape:
        raise ValueError(f"have shape {scaled.shape}, those recorded {recorded.shape}")
    same = np.isclose(
        scaled, contract.normalise(recorded), rtol=_ROUNDING, atol=_ROUNDING, equal_nan=True
    )
    if not same.all():
        row, number = np.argwhere(~same)[0].tolist()
        raise ValueError(
            f"are not those recorded (row {row}, dimension {number}: {scaled[row, number]:g}, but "
            f"{recorded[row, number]:g} scaled is "
            f"{contract.normalise(recorded)[row, number]:g}); delete the array that is wrong"
        )
    return recorded.astype(np.float32)
