"""Scales by which a run normalises numbers, where its data tells none: a number that never moved,
or hardly did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from manyparts.core.columns import ACTION, STATE
from manyparts.core.spec import Spec
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.embodiment.statistics import ROUNDING, FeatureStatistics, Statistics

FAR = 20.0  # stds of a state, beyond which a scale is no scale of these numbers
CLIPPED = 0.05  # half-ranges of an action, beyond its bounds
BEYOND = 3.0  # half-ranges of an action, beyond which bounds are no bounds of these actions


@dataclass(frozen=True)
class Scale:
    """What actions and states are normalised by: the bounds of the spec's action contract, means
    and stds."""

    spec: Spec
    statistics: Statistics


def fitted_to_data(frozen: Scale, data: Scale, origin: object) -> tuple[Scale, list[str]]:
    """A run's frozen scale for data of the same spec, and a line for each number whose scale comes
    from the data.

    The frozen scale stays, since weights expect it, but for two kinds of numbers. Those that never
    moved in the run's data, and do now: weights know nothing of them. And those of which the bulk
    lies so far away (`FAR`, `BEYOND`) that the scale can only be that of some noise, or of actions
    that hardly moved; of actions also those whose middle lies outside their bounds. Actions that
    exceed their bounds by less are clipped, which a line says where it is more than two samples of
    one behaviour differ by (`CLIPPED`). Bounds of actions that somebody wrote down are always kept.

    Args:
        frozen: of the run that training starts from.
        data: of the data that training goes on with.
        origin: what to call the run in the lines.
    """
    statistics = dict(frozen.statistics.features)
    spec, lines = frozen.spec, []
    if STATE in statistics and STATE in data.statistics.features:
        old, new = statistics[STATE], data.statistics[STATE]
        normaliser = StateNormaliser(old.mean, old.std)
        taken = _moves_now(old, new) | (_reach(new, np.asarray(old.mean), normaliser.scale) > FAR)
        statistics[STATE] = _mixed(old, new, taken)
        lines += _lines("state", spec.state_names, old, new, taken, origin)
    if spec.action.measured and data.spec.action.measured and ACTION in data.statistics.features:
        contract, new = spec.action, data.statistics[ACTION]
        old = statistics.get(ACTION) or _of_bounds(contract.low, contract.high)
        low, high = np.asarray(contract.low), np.asarray(contract.high)
        middle = np.add(new.q01, new.q99) / 2 if new.q01 and new.q99 else np.asarray(new.mean)
        outside = (middle < low) | (middle > high)
        taken = (
            _moves_now(old, new)
            | outside
            | (_reach(new, (low + high) / 2, (high - low) / 2) > BEYOND)
        )
        statistics[ACTION] = _mixed(old, new, taken)
        lowest = np.where(taken, np.minimum(old.min, data.spec.action.low), low)
        highest = np.where(taken, np.maximum(old.max, data.spec.action.high), high)
        bounds = {"low": tuple(lowest.tolist()), "high": tuple(highest.tolist())}
        spec = replace(spec, action=replace(contract, **bounds)) if taken.any() else spec
        lines += _lines("action", contract.names, old, new, taken, origin)
        lines += _lines_of_clipped(spec, new, origin)
    return (Scale(spec, Statistics(statistics)) if lines else frozen), lines


def still_actions(scale: Scale) -> list[str]:
    """A line for each action that is always the same in data which alone says what actions may
    be."""
    seen = scale.statistics.features.get(ACTION)
    if seen is None or not scale.spec.action.measured:
        return []
    return [
        f"action {scale.spec.action.names[number]} is {seen.min[number]:g} in all of this data: the agent will always "
        "do that"
        for number in np.flatnonzero(seen.still)
    ]


def _moves_now(old: FeatureStatistics, new: FeatureStatistics) -> np.ndarray:
    """bool (d,): numbers that never moved before and are not what they were."""
    was, low, high = np.asarray(old.mean), np.asarray(new.min), np.asarray(new.max)
    away = np.maximum(np.abs(low - was), np.abs(high - was))
    largest = np.maximum(np.abs(was), np.maximum(np.abs(low), np.abs(high)))
    return old.still & (away > ROUNDING * largest)


def _reach(new: FeatureStatistics, middle: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """(d,): how many units from the middle the bulk of the data reaches; of stored quantiles, a few
    outliers do not count."""
    low, high = (new.q01, new.q99) if new.q01 and new.q99 else (new.min, new.max)
    away = np.maximum(np.abs(np.subtract(low, middle)), np.abs(np.subtract(high, middle)))
    return away / np.where(unit > 0, unit, 1.0)


def _mixed(old: FeatureStatistics, new: FeatureStatistics, taken: np.ndarray) -> FeatureStatistics:
    """Numbers of `new` where `taken`, else of `old`; quantiles where both have them."""
    if not taken.any():
        return old
    mixed = {}
    for item in fields(FeatureStatistics):
        ours, theirs = getattr(old, item.name), getattr(new, item.name)
        if item.name != "count":
            both = len(ours) == len(theirs)
            mixed[item.name] = tuple(np.where(taken, theirs, ours).tolist()) if both else ()
    return FeatureStatistics(count=old.count, **mixed)


def _of_bounds(low: Sequence[float], high: Sequence[float]) -> FeatureStatistics:
    """What a checkpoint without statistics of actions knows of them."""
    middle = tuple((np.add(low, high) / 2).tolist())
    return FeatureStatistics(
        0, tuple(low), tuple(high), middle, tuple((np.subtract(high, low) / 2).tolist())
    )


def _lines(
    what: str,
    names: Sequence[str],
    old: FeatureStatistics,
    new: FeatureStatistics,
    taken: np.ndarray,
    origin: object,
) -> Iterator[str]:
    still = old.still
    for number in np.flatnonzero(taken):
        was = (
            f"always {old.mean[number]:g}"
            if still[number]
            else f"{old.min[number]:g} to {old.max[number]:g}"
        )
        yield (
            f"{what} {names[number]} is {new.min[number]:g} to {new.max[number]:g} here, but was {was} in the data of "
            f"{origin}: its scale is taken from this data"
        )


def _lines_of_clipped(spec: Spec, new: FeatureStatistics, origin: object) -> Iterator[str]:
    low, high = np.asarray(spec.action.low), np.asarray(spec.action.high)
    slack = CLIPPED * (high - low) / 2
    for number in np.flatnonzero(
        (np.asarray(new.min) < low - slack) | (np.asarray(new.max) > high + slack)
    ):
        yield (
            f"action {spec.action.names[number]} is {new.min[number]:g} to {new.max[number]:g} here; the agent of "
            f"{origin} acts within {low[number]:g} to {high[number]:g}, and what lies beyond is clipped"
        )
