"""Find numbers that cannot be learned from: not finite, or actions outside their contract."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from manyparts.core.columns import ACTION, EXPERT_ACTION, REWARD, STATE
from manyparts.core.errors import DatasetWarning, UserError
from manyparts.core.printing import first_of
from manyparts.core.spec import ActionContract
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.arrays import observed_bounds
from manyparts.data.tools.outliers import Outliers
from manyparts.embodiment.statistics import RunningStatistics, Statistics

_ROUNDING = 1e-4  # outside the bounds, in units of their distance
_MAX_SHOWN = 5


def outside_bounds(contract: ActionContract, action: np.ndarray) -> np.ndarray:
    """Which numbers of actions are outside the bounds by more than rounding, or NaN.

    Args:
        contract: the bounds; or choices, of which the action has to be one.
        action: (..., a).

    Returns:
        bool (..., a).
    """
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
    """Lowest and highest actions in some columns of some episodes, reading all their rows.

    Args:
        dataset: the dataset.
        episodes: indices of the episodes, one at least.
        columns: the names of the columns of actions; the dataset has one of them at least.

    Returns:
        Low and high, a numbers each, see `observed_bounds`.
    """
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
    """Check all numbers of a dataset before training, but no images.

    An action has to be finite, or one of the choices. For a dynamics model, states and rewards have
    to be finite, too, and executed actions within the contract: the model would take others for
    actions at the bounds. (A policy learns them as they are, and clips its own.) Outliers, which
    set how all numbers are scaled, are a warning. A remote dataset is not checked, since that would
    fetch all of it.

    Args:
        dataset: the dataset.
        dynamics: whether a dynamics model is trained.

    Raises:
        UserError: naming the first number that cannot be learned from.
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
                is_action = column in (ACTION, EXPERT_ACTION)
                bounded = is_action and (spec.action.choices or (dynamics and column == ACTION))
                contract = spec.action if bounded else None
                _require(dataset, episode, column, values, dimensions, contract)
    if with_outliers := list(_dimensions_with_outliers(dataset, outliers, scaled)):
        text = (
            "few rows, far from the rest, set how all numbers of "
            f"{first_of(with_outliers, _MAX_SHOWN)} are scaled"
        )
        warnings.warn(
            f"{dataset.path}: {text}; `manyparts data check {dataset.path}` names the rows",
            DatasetWarning,
            stacklevel=2,
        )


def finite_rows(values: np.ndarray) -> np.ndarray:
    """The finite rows (n, d) of a column (T,) or (T, d)."""
    rows = values.reshape(len(values), -1)
    return rows[np.isfinite(rows).all(axis=1)]


def _dimensions_with_outliers(
    dataset: EpisodeDataset, outliers: dict[str, Outliers], names: dict[str, tuple[str, ...]]
) -> Iterator[str]:
    """The columns and dimensions in which few rows are far from the rest."""
    for column, of_column in outliers.items():

        def read(episode: int, column: str = column) -> np.ndarray:
            return finite_rows(dataset.columns(episode)[column])

        dimensions: set[int] = set()
        for rows in of_column.find(read):
            dimensions |= set(rows.numbers)
        for dimension in sorted(dimensions):
            yield f"{column} {names[column][dimension]}"


def _require(
    dataset: EpisodeDataset,
    episode: int,
    column: str,
    values: np.ndarray,
    names: Sequence[str],
    contract: ActionContract | None,
) -> None:
    """Check an episode's values (T, d) of one column; contract: the bounds, if they apply."""
    not_finite = ~np.isfinite(values)
    outside = outside_bounds(contract, values) if contract else not_finite
    if not outside.any():
        return
    step, number = np.argwhere(not_finite if not_finite.any() else outside)[0].tolist()
    where = f"{dataset.path}: episode {episode}, step {step}: {column} {names[number]}".rstrip()
    command = f"manyparts data check {dataset.path} --fix COPY"
    if contract is None or not_finite.any():
        raise UserError(
            f"{where} is {values[step, number]}, which nothing can be learned from; "
            f"choices: correct the dataset, or leave such episodes out ({command})"
        )
    if contract.choices:
        raise UserError(
            f"{where} is {values[step, number]:g}, which is none of the choices 0 to "
            f"{len(contract.choices) - 1}; choices: correct the dataset, or leave such episodes "
            f"out ({command})"
        )
    raise UserError(
        f"{where} is {values[step, number]:g}, but the action contract allows "
        f"{contract.low[number]:g} to {contract.high[number]:g}, and a dynamics model knows no "
        f"others; choices: clip the actions ({command}), correct the contract, or train a policy, "
        "which takes them as they are"
    )
