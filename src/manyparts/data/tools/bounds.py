"""Numbers that cannot be learned from: not finite, or actions that their contract does not
allow."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from manyparts.core.columns import ACTION, EXPERT_ACTION, REWARD, STATE
from manyparts.core.errors import DatasetWarning, UserError
from manyparts.core.spec import ActionContract
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.arrays import observed_bounds
from manyparts.data.tools.outliers import Outliers
from manyparts.embodiment.statistics import RunningStatistics, Statistics

_ROUNDING = 1e-4  # beyond the bounds, of their distance
_SHOWN = 5


def beyond(contract: ActionContract, action: np.ndarray) -> np.ndarray:
    """bool (..., a): of actions (..., a) the numbers outside the bounds by more than rounding, or
    no numbers at all; of choices those that are none."""
    if contract.choices:
        return ~np.isin(action, np.arange(len(contract.choices)))
    low, high = np.asarray(contract.low), np.asarray(contract.high)
    slack = _ROUNDING * (high - low)
    return ~((action >= low - slack) & (action <= high + slack))


def measured_bounds(
    dataset: EpisodeDataset,
    episodes: Iterable[int],
    columns: Sequence[str] = (ACTION, EXPERT_ACTION),
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The least and greatest actions (a,) in some columns of some episodes, of which all numbers
    are read."""
    running: dict[str, RunningStatistics] = {}
    for episode in episodes:
        for name, values in dataset.columns(episode).items():
            if name in columns:
                rows = values.reshape(len(values), -1)
                running.setdefault(name, RunningStatistics(rows.shape[1])).update(rows)
    return observed_bounds(
        Statistics({name: each.finish() for name, each in running.items()}), columns
    )


def require_learnable(dataset: EpisodeDataset, *, dynamics: bool) -> None:
    """Raises UserError naming the first number that cannot be learned from.

    That is an action that is not finite, or none of the choices; for a dynamics model also a state
    or a reward that is not finite, and an executed action outside the contract, which it would take
    for one at the bounds (a policy learns it as it is, and clips what it does). All rows' numbers
    are read, but no pictures. Of a dataset that lies elsewhere nothing is read, since that would
    fetch all of it. Warns of numbers far from the rest, which set how all are scaled.
    """
    if dataset.is_remote:
        return
    spec = dataset.spec
    names = {ACTION: spec.action.names, EXPERT_ACTION: spec.action.names}
    scaled = {STATE: spec.state_names} | (names if spec.action.measured else {})
    outliers = {
        name: Outliers(len(dimensions)) for name, dimensions in scaled.items() if dimensions
    }
    if dynamics:
        names |= {STATE: spec.state_names, REWARD: ("",)}
    for episode in range(dataset.num_episodes):
        columns = dataset.columns(episode)
        for column in outliers.keys() & columns.keys():
            outliers[column].add(episode, finite_rows(columns[column]))
        if dynamics:
            columns |= {REWARD: dataset.rewards(episode, columns)}
        for column, dimensions in names.items():
            if column in columns and dimensions:
                values = columns[column].reshape(len(columns[column]), -1)
                actions = column in (ACTION, EXPERT_ACTION)
                bounded = actions and (spec.action.choices or (dynamics and column == ACTION))
                _require(
                    dataset, episode, column, values, dimensions, spec.action if bounded else None
                )
    if far := list(_far(dataset, outliers, scaled)):
        some = ", ".join(far[:_SHOWN]) + (
            f" and {len(far) - _SHOWN} more" if len(far) > _SHOWN else ""
        )
        text = f"few rows, far from the rest, set how all numbers of {some} are scaled"
        warnings.warn(
            f"{dataset.path}: {text}; `manyparts data check {dataset.path}` names the rows",
            DatasetWarning,
            stacklevel=2,
        )


def finite_rows(values: np.ndarray) -> np.ndarray:
    """(n, d) of a column (T,) or (T, d)."""
    rows = values.reshape(len(values), -1)
    return rows[np.isfinite(rows).all(axis=1)]


def _far(
    dataset: EpisodeDataset, outliers: dict[str, Outliers], names: dict[str, tuple[str, ...]]
) -> Iterator[str]:
    """The columns and dimensions in which few rows are far from the rest."""
    for column, gathered in outliers.items():
        far = gathered.find(
            lambda episode, name=column: finite_rows(dataset.columns(episode)[name])
        )
        for dimension in sorted({dimension for each in far for dimension in each.numbers}):
            yield f"{column} {names[column][dimension]}"


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
    if bounded.choices:
        raise UserError(
            f"{where} is {values[step, number]:g}, which is none of the choices 0 to {len(bounded.choices) - 1}; "
            f"choices: mend the dataset, or leave such episodes out ({mended})"
        )
    raise UserError(
        f"{where} is {values[step, number]:g}, but the action contract allows {bounded.low[number]:g} to "
        f"{bounded.high[number]:g}, and a dynamics model knows no others; choices: clip the actions ({mended}), mend "
        "the contract, or train a policy, which takes them as they are"
    )
