"""What a study is: measurements of methods in settings, the stages they need, and the claims they
test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from manyparts.studies.engine.stages import Evaluate, EvaluateReference, Probe, Stage, with_needs

Score = Literal["success", "reward a step"]
"""What a study compares: of every episode whether it was solved, or the mean reward of its
steps."""


@dataclass(frozen=True)
class Measurement:
    """One seed of a method in a setting. evaluations: together its episodes, each task in one of
    them; of one agent, or of references, which learned nothing.

    What settings differ in, where it is that: demonstrations: of the evaluated tasks that the agent
    was tuned on; pretraining: trajectories before that; place: an environment. probe: of the
    agent's representation.
    """

    method: str
    setting: str
    seed: int
    evaluations: tuple[Evaluate | EvaluateReference, ...]
    demonstrations: int | None = None
    pretraining: int | None = None
    place: str = ""
    probe: Probe | None = None


@dataclass(frozen=True)
class Claim:
    """What a paper says: `better` is above `worse` by more than `margin`. It shows where the
    interval of their difference is above the margin, and the opposite shows where it is below.

    margin: in the score's units, so that .1 is ten points of success; -.1: `better` falls behind by
    less than ten. largest_pretraining: the claim is only of settings with the largest number of
    pretraining trajectories of a place.
    """

    better: str
    worse: str
    words: str
    margin: float = 0.0
    largest_pretraining: bool = False


@dataclass(frozen=True)
class Study:
    """name: for people and folders. reference: the method that every other one is compared with.

    measurements: those of a preset's name and a number of seeds, the most telling ones first.
    seeds: of each method, where no number is given. score: what methods are compared by. groups: a
    title to the methods that share a chart, six at most. published: (method, setting) to the score
    that the paper reports; published_pretraining: setting to the number of trajectories that it
    pretrained on there. notes: what a reader of the results must know.
    """

    name: str
    description: str
    presets: tuple[str, ...]
    reference: str
    measurements: Callable[[str, int], list[Measurement]]
    seeds: int = 3
    score: Score = "success"
    claims: tuple[Claim, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    published: Mapping[tuple[str, str], float] = field(default_factory=dict)
    published_pretraining: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def methods_of(measurements: Iterable[Measurement]) -> list[str]:
    """The methods, in the order in which they are measured."""
    return list(dict.fromkeys(measurement.method for measurement in measurements))


def stages_of(measurements: Iterable[Measurement]) -> list[Stage]:
    """Every stage once, those it needs before it, in the order of the measurements."""
    return with_needs(
        stage
        for measurement in measurements
        for stage in (*measurement.evaluations, measurement.probe)
        if stage is not None
    )
