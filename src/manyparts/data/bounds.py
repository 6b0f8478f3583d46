"""Numbers that cannot be learned from: not finite, or actions that their contract does not allow."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.reader import ACTION, EXPERT_ACTION, REWARD, STATE
from manyparts.types import ActionContract, DatasetWarning, UserError

FAR = 5.0  # widths of the range that all but a hundredth of the actions keep to: what lies beyond is far from the rest
_ROUNDING = 1e-4  # beyond the bounds, of their distance
_ROWS = 150  # of fewer, one row moves the quantiles too
_SHOWN = 5


def beyond(contract: ActionContract, action: np.ndarray) -> np.ndarray:
    """bool (..., a): of actions (..., a) the numbers outside the bounds by more than rounding, or no numbers at all."""
    low, high = np.asarray(contract.low), np.asarray(contract.high)
    slack = _ROUNDING * (high - low)
    return ~((action >= low - slack) & (action <= high + slack))


def require_learnable(dataset: EpisodeDataset, *, dynamics: bool) -> None:
    """Raises UserError naming the first number that cannot be learned from.

    That is an action that is not finite; for a dynamics model also a state or a reward that is not finite, and an
    executed action outside the contract, which it would take for one at the bounds (a policy learns it as it is, and
    clips what it does). All rows' numbers are read, but no pictures. Of a dataset that lies elsewhere nothing is read,
    since that would fetch all of it. Warns of bounds that few actions far from the rest have set.
    """
    if dataset.is_remote:
        return
    if far := _far_bounds(dataset):
        some = ", ".join(far[:_SHOWN]) + (f" and {len(far) - _SHOWN} more" if len(far) > _SHOWN else "")
        text = f"few actions, far from the rest, set the bounds of {some}, and all actions are scaled with them"
        warnings.warn(
            f"{dataset.path}: {text}; `manyparts data check {dataset.path}` names the rows",
            DatasetWarning,
            stacklevel=2,
        )
    spec = dataset.spec
    names = {ACTION: spec.action.names, EXPERT_ACTION: spec.action.names}
    if dynamics:
        names |= {STATE: spec.state_names, REWARD: ("",)}
    for episode in range(dataset.num_episodes):
        columns = dataset.columns(episode)
        if dynamics:
            columns |= {REWARD: dataset.rewards(episode, columns)}
        for column, dimensions in names.items():
            if column in columns and dimensions:
                values = columns[column].reshape(len(columns[column]), -1)
                bounded = spec.action if dynamics and column == ACTION else None
                _require(dataset, episode, column, values, dimensions, bounded)


def _far_bounds(dataset: EpisodeDataset) -> list[str]:
    """The dimensions of actions in which a measured bound is far from where nearly all actions are."""
    seen, contract = dataset.statistics.features.get(ACTION), dataset.spec.action
    if seen is None or not contract.measured or not seen.q99 or seen.count < _ROWS:
        return []
    low, high = np.asarray(seen.q01), np.asarray(seen.q99)
    width = high - low
    far = (width > 0) & ((np.asarray(seen.max) > high + FAR * width) | (np.asarray(seen.min) < low - FAR * width))
    return [contract.names[number] for number in np.flatnonzero(far)]


def _require(
    dataset: EpisodeDataset,
    episode: int,
    column: str,
    values: np.ndarray,
    names: Sequence[str],
    bounded: ActionContract | None,
) -> None:
    """Of values (T, d) of one column. bounded: the contract that they are to keep, if they are."""
    broken = ~np.isfinite(values)
    outside = beyond(bounded, values) if bounded else broken
    if not outside.any():
        return
    step, number = np.argwhere(broken if broken.any() else outside)[0].tolist()
    where = f"{dataset.path}: episode {episode}, step {step}: {column} {names[number]}".rstrip()
    mended = f"manyparts data check {dataset.path} --fix COPY"
    if bounded is None or broken.any():
        raise UserError(
            f"{where} is {values[step, number]}, which nothing can be learned from; choices: mend the dataset, or "
            f"leave such episodes out ({mended})"
        )
    raise UserError(
        f"{where} is {values[step, number]:g}, but the action contract allows {bounded.low[number]:g} to "
        f"{bounded.high[number]:g}, and a dynamics model knows no others; choices: clip the actions ({mended}), mend "
        "the contract, or train a policy, which takes them as they are"
    )
