"""What a study is: measurements of methods in settings, and the claims that they test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from manyparts.evaluation.statistics import Difference
from manyparts.studies.engine.stages import Evaluate, EvaluateReference, Probe, Stage, with_needs

Score = Literal["success", "reward a step", "return while learning"]  # files hold these words
"""What a study compares: whether an episode was solved, the mean reward per step, or the mean
return over the checks of a run that acts while it learns, as in `Curves`."""


@dataclass(frozen=True)
class Measurement:
    """One seed of a method in a setting.

    `demonstrations`, `pretraining` and `environment` are set where the settings differ in them.
    """

    method: str
    setting: str
    seed: int
    """The training seed."""
    evaluations: tuple[Evaluate | EvaluateReference, ...]
    """Its episodes, each task in one of them; of one agent, or of references, which learned
    nothing."""
    demonstrations: int | None = None
    """Demonstrations of the evaluated tasks that the agent was tuned on."""
    pretraining: int | None = None
    """Trajectories that it was pretrained on."""
    environment: str = ""
    """A name for the environments of the setting."""
    probe: Probe | None = None
    """The probe of the agent's representation."""


@dataclass(frozen=True)
class Claim:
    """What a paper says: a method is better than another by more than a margin.

    The verdict is "shows" where the whole interval of the difference is above the margin, and
    "opposite" where the whole interval is below it.
    """

    better: str
    """The method that is said to be better."""
    worse: str
    """The method that it is compared with."""
    words: str
    """The claim in words."""
    margin: float = 0.0
    """In units of the score: 0.1 is ten points of success. With -0.1 the claim is that `better`
    falls behind by less than ten points."""
    largest_pretraining: bool = False
    """Whether the claim is only about settings with the largest number of pretraining trajectories
    of their environment."""

    def verdict(self, difference: Difference) -> str:
        """Return "shows", "opposite" or "not told apart". difference: `better` minus `worse`."""
        if difference.low > self.margin:
            return "shows"
        return "opposite" if difference.high < self.margin else "not told apart"


@dataclass(frozen=True)
class Curves:
    """How the learning curves of runs that act are read.

    A curve has the returns of a run's checks on validation starts, over environment steps. Its area
    is their mean over these steps.
    """

    full: Mapping[str, float]
    """Task to the return that counts as 1, such as that of its scripted expert."""
    reached: float = 0.5
    """The return, as a fraction of the full one, up to which environment steps are counted."""
    solved: float = 0.8
    """The success up to which environment steps are counted."""


@dataclass(frozen=True)
class Study:
    """A comparison of methods: what is measured, and how it is reported."""

    name: str
    """For people and for folders."""
    description: str
    """What the study asks, and its presets."""
    presets: tuple[str, ...]
    """Names of its sizes."""
    reference: str
    """The method that every other one is compared with."""
    measurements: Callable[[str, int], list[Measurement]]
    """The measurements of a preset and a number of seeds, the most important ones first."""
    seeds: int = 3
    """Seeds of each method, if the user names no number."""
    score: Score = "success"
    """What methods are compared by."""
    curves: Curves | None = None
    """How learning curves are read; None: there are none."""
    claims: tuple[Claim, ...] = ()
    """What is tested."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Title to the methods that share a chart, at most six."""
    published: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(method, setting) to the score that the paper reports."""
    published_pretraining: Mapping[str, int] = field(default_factory=dict)
    """Setting to the number of trajectories that the paper pretrained on."""
    notes: tuple[str, ...] = ()
    """What a reader of the results must know."""


def methods_of(measurements: Iterable[Measurement]) -> list[str]:
    """Return the methods, in the order in which they are measured."""
    return list(dict.fromkeys(measurement.method for measurement in measurements))


def stages_of(measurements: Iterable[Measurement]) -> list[Stage]:
    """Return all stages of measurements, each once, and after those that it needs."""
    stages: list[Stage] = []
    for measurement in measurements:
        stages += measurement.evaluations
        if measurement.probe is not None:
            stages.append(measurement.probe)
    return with_needs(stages)
