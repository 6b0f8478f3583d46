"""Actions in robomimic's files: robomimic wants them in [-1, 1], and ours stand beside them as they
were recorded.

Scaled to bounds that one far number has set, all others lose their last digits; in float64, which
robomimic makes float32 again, small ones still do. `*_recorded` are exact, and robomimic skips
them.
"""

from __future__ import annotations

import numpy as np

from manyparts.core.spec import ActionContract

ACTIONS, EXPERT_ACTIONS = "actions", "actions_expert"
RECORDED = {name: f"{name}_recorded" for name in (ACTIONS, EXPERT_ACTIONS)}
_ROUNDING = 1e-6  # of half the distance of the bounds; float32 keeps 6e-8


def to_store(name: str, action: np.ndarray, contract: ActionContract) -> dict[str, np.ndarray]:
    """The arrays that hold actions float32 (T, a). name: of the scaled ones."""
    return {name: contract.normalise(action), RECORDED[name]: action}


def as_recorded(
    scaled: np.ndarray, recorded: np.ndarray | None, contract: ActionContract
) -> np.ndarray:
    """float32 (T, a) of what a file of ours holds.

    Args:
        scaled: (T, a), in [-1, 1].
        recorded: (T, a), in the contract's units; None in files from before they were written.

    Raises:
        ValueError: the two are not the same actions, since somebody changed one of them; or they
        are not as many
            numbers as the contract has.
    """
    if scaled.shape[1] != contract.dimension:
        raise ValueError(
            f"have {scaled.shape[1]} numbers a step; the action contract has {contract.dimension}"
        )
    if recorded is None:
        low, high = np.asarray(contract.low), np.asarray(contract.high)
        actions = low + (scaled.astype(np.float64) + 1) / 2 * (
            high - low
        )  # not clipped: some lie beyond the bounds
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
            f"{recorded[row, number]:g} scaled is {contract.normalise(recorded)[row, number]:g}); delete the one that "
            "does not hold"
        )
    return recorded.astype(np.float32)
