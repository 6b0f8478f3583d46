"""What a study is: measurements of methods in settings, the stages they need, and the claims they test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from understudy.studies.stages import Evaluate, Stage, with_needs


@dataclass(frozen=True)
class Measurement:
    """One seed of a method in a setting. evaluations: together its episodes, each task in one of them.

    demonstrations: of the evaluated tasks that the agent was tuned on, where that is what settings differ in.
    """

    method: str
    setting: str
    seed: int
    evaluations: tuple[Evaluate, ...]
    demonstrations: int | None = None


@dataclass(frozen=True)
class Claim:
    """What a paper says: `better` is above `worse`. It shows where the interval of their difference is above 0."""

    better: str
    worse: str
    words: str


@dataclass(frozen=True)
class Study:
    """name: for people and folders. reference: the method that every other one is compared with.

    measurements: those of a preset's name and a number of seeds, the most telling ones first. seeds: of each method,
    where no number is given. groups: a title to the methods whose learning curves share a chart, six at most. notes:
    what a reader of the results must know.
    """

    name: str
    description: str
    presets: tuple[str, ...]
    reference: str
    measurements: Callable[[str, int], list[Measurement]]
    seeds: int = 3
    claims: tuple[Claim, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def methods_of(measurements: Iterable[Measurement]) -> list[str]:
    """The methods, in the order in which they are measured."""
    return list(dict.fromkeys(measurement.method for measurement in measurements))


def stages_of(measurements: Iterable[Measurement]) -> list[Stage]:
    """Every stage once, those it needs before it, in the order of the measurements."""
    return with_needs(evaluation for measurement in measurements for evaluation in measurement.evaluations)
