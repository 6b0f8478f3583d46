"""Scales of numbers that never moved, or hardly did, in the data that a run starts from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from manyparts.core.columns import ACTION, STATE
from manyparts.core.spec import ActionContract, Spec
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.embodiment.statistics import ROUNDING, FeatureStatistics, Statistics

FAR = 20.0  # stds from a state's mean, beyond which its scale does not fit
BEYOND = 3.0  # half-ranges from the middle of an action, beyond which its bounds do not fit
CLIPPED = 0.05  # half-ranges beyond an action's bounds, from which on clipping is warned of


@dataclass(frozen=True)
class Scale:
    """By what states and actions are normalised."""

    spec: Spec
    """Its action contract has the bounds of actions."""

    statistics: Statistics
    """They have the means and stds of states."""


def fitted_to_data(frozen: Scale, data: Scale, origin: object) -> tuple[Scale, list[str]]:
    """The scale of a run, corrected for the data that training continues with.

    The frozen scale is kept, since weights expect it, except for two kinds of numbers:

    - Those that never moved in the run's data, and do now: the weights learned nothing of them.
    - Those of which most are so far away (`FAR`, `BEYOND`) that the scale can only be that of
      noise, or of actions that hardly moved. Of actions also those with a middle outside their
      bounds.

    Actions that exceed their bounds by less are clipped. A line says so if it is by more than two
    samples of one behaviour differ (`CLIPPED`). Bounds of actions that were not measured, but
    written down, are always kept.

    Args:
        frozen: of the run that training starts from.
        data: of the data that training continues with, of the same spec.
        origin: what to call the run in the lines.

    Returns:
        The scale, and a line for each number that is scaled by the data, or is clipped.
    """
    statistics = dict(frozen.statistics.features)
    spec, lines = frozen.spec, []
    if STATE in statistics and STATE in data.statistics.features:
        old, new = statistics[STATE], data.statistics[STATE]
        normaliser = StateNormaliser(old.mean, old.std)
        changes = _moves_now(old, new) | (_reach(new, np.asarray(old.mean), normaliser.scale) > FAR)
        statistics[STATE] = _mixed(old, new, changes)
        lines += _lines("state", spec.state_names, old, new, changes, origin)
    if spec.action.measured and data.spec.action.measured and ACTION in data.statistics.features:
        contract, new = spec.action, data.statistics[ACTION]
        old = statistics.get(ACTION) or _of_bounds(contract.low, contract.high)
        changes = _moves_now(old, new) | _does_not_fit(contract, new)
        statistics[ACTION] = _mixed(old, new, changes)
        if changes.any():
            spec = replace(spec, action=_widened(contract, old, data.spec.action, changes))
        lines += _lines("action", contract.names, old, new, changes, origin)
        lines += _lines_of_clipped(spec, new, origin)
    return (Scale(spec, Statistics(statistics)) if lines else frozen), lines


def still_actions(scale: Scale) -> list[str]:
    """A line for each action that never moved, if the bounds of actions were measured in the
    data."""
    statistics = scale.statistics.features.get(ACTION)
    if statistics is None or not scale.spec.action.measured:
        return []
    return [
        f"action {scale.spec.action.names[number]} is {statistics.min[number]:g} in all of this "
        "data: the agent will always do that"
        for number in np.flatnonzero(statistics.still)
    ]


def _does_not_fit(contract: ActionContract, new: FeatureStatistics) -> np.ndarray:
    """bool (d,): actions of which most are far beyond their bounds, or with a middle outside."""
    low, high = np.asarray(contract.low), np.asarray(contract.high)
    middle = np.add(new.q01, new.q99) / 2 if new.q01 and new.q99 else np.asarray(new.mean)
    is_outside = (middle < low) | (middle > high)
    return is_outside | (_reach(new, (low + high) / 2, (high - low) / 2) > BEYOND)


def _widened(
    contract: ActionContract, old: FeatureStatistics, data: ActionContract, changes: np.ndarray
) -> ActionContract:
    """The contract with bounds that contain old and new actions, where `changes`."""
    lowest = np.where(changes, np.minimum(old.min, data.low), contract.low)
    highest = np.where(changes, np.maximum(old.max, data.high), contract.high)
    return replace(contract, low=tuple(lowest.tolist()), high=tuple(highest.tolist()))


def _moves_now(old: FeatureStatistics, new: FeatureStatistics) -> np.ndarray:
    """bool (d,): numbers that never moved in the old data, and differ from it in the new one."""
    before, low, high = np.asarray(old.mean), np.asarray(new.min), np.asarray(new.max)
    change = np.maximum(np.abs(low - before), np.abs(high - before))
    largest = np.maximum(np.abs(before), np.maximum(np.abs(low), np.abs(high)))
    return old.still & (change > ROUNDING * largest)


def _reach(new: FeatureStatistics, middle: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """(d,): how many units from the middle the data reaches. Where quantiles are stored, a few
    outliers do not count."""
    low, high = (new.q01, new.q99) if new.q01 and new.q99 else (new.min, new.max)
    away = np.maximum(np.abs(np.subtract(low, middle)), np.abs(np.subtract(high, middle)))
    return away / np.where(unit > 0, unit, 1.0)


def _mixed(
    old: FeatureStatistics, new: FeatureStatistics, changes: np.ndarray
) -> FeatureStatistics:
    """Numbers of `new` where `changes`, else of `old`; quantiles only if both have them."""
    if not changes.any():
        return old
    mixed = {}
    for item in fields(FeatureStatistics):
        if item.name != "count":
            before, now = getattr(old, item.name), getattr(new, item.name)
            both = len(before) == len(now)
            mixed[item.name] = tuple(np.where(changes, now, before).tolist()) if both else ()
    return FeatureStatistics(count=old.count, **mixed)


def _of_bounds(low: Sequence[float], high: Sequence[float]) -> FeatureStatistics:
    """Statistics in place of those that a checkpoint of an early version lacks."""
    middle, half = np.add(low, high) / 2, np.subtract(high, low) / 2
    return FeatureStatistics(
        count=0,
        min=tuple(low),
        max=tuple(high),
        mean=tuple(middle.tolist()),
        std=tuple(half.tolist()),
    )


def _lines(
    feature: str,
    names: Sequence[str],
    old: FeatureStatistics,
    new: FeatureStatistics,
    changes: np.ndarray,
    origin: object,
) -> Iterator[str]:
    """A line for each number that is scaled by the new data."""
    still = old.still
    for number in np.flatnonzero(changes):
        before = f"{old.min[number]:g} to {old.max[number]:g}"
        if still[number]:
            before = f"always {old.mean[number]:g}"
        yield (
            f"{feature} {names[number]} is {new.min[number]:g} to {new.max[number]:g} here, but "
            f"was {before} in the data of {origin}: its scale is taken from this data"
        )


def _lines_of_clipped(spec: Spec, new: FeatureStatistics, origin: object) -> Iterator[str]:
    """A line for each action that is clipped."""
    low, high = np.asarray(spec.action.low), np.asarray(spec.action.high)
    slack = CLIPPED * (high - low) / 2
    is_clipped = (np.asarray(new.min) < low - slack) | (np.asarray(new.max) > high + slack)
    for number in np.flatnonzero(is_clipped):
        yield (
            f"action {spec.action.names[number]} is {new.min[number]:g} to {new.max[number]:g} "
            f"here; the agent of {origin} acts within {low[number]:g} to {high[number]:g}, and "
            "what lies beyond is clipped"
        )
