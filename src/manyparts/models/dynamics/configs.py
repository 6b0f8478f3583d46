"""Configs of the dynamics models.

They stand apart from the models because those import torch. A preset's help, the list of presets
and a machine that only schedules runs do without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from manyparts.core.errors import UserError

Decoding = Literal["parallel", "sequential"]
Continuation = Literal["expectation", "sample"]
Propagation = Literal["expectation", "ts1", "tsinf"]
_PROPAGATIONS = ("expectation", "ts1", "tsinf")
# mu and limit of `Bins`. "mu-law" is Gato's; "uniform" reaches to five stds.
TOKENISERS = {"mu-law": (100.0, 256.0), "uniform": (0.0, 5.0)}


@dataclass(frozen=True)
class DynamicsTransformerConfig:
    """Sizes of a dynamics transformer, and how it represents and predicts numbers."""

    width: int = 128
    """Numbers per token; a multiple of twice `heads`."""

    layers: int = 4
    """Number of transformer layers; at least 1."""

    heads: int = 4
    """Attention heads per layer; at least 1."""

    dropout: float = 0.0
    """Dropout probability, from 0 to less than 1."""

    decoding: Decoding = "parallel"
    """How numbers of a step are predicted: "sequential", one after the other, as in the paper, or
    "parallel", all at once in one pass."""

    tokeniser: Literal["mu-law", "uniform"] = "mu-law"
    """Bins of values that are counted in stds: "mu-law" (Gato's, finer near zero) or "uniform"."""

    bins: int = 1024
    """Number of bins per predicted number; at least 8."""

    soft: bool = True
    """Whether a value between two bins counts for both of them: in targets, and, if decoding is
    sequential, in inputs."""

    policy: bool = False
    """Whether the model also learns which action to take; needs the objective NextActionConfig."""

    next: Continuation = "expectation"
    """How an imagination goes on: with the "expectation" of what is predicted, or with a "sample".
    No weight depends on it."""

    def __post_init__(self) -> None:
        for name, choices in (
            ("decoding", ("parallel", "sequential")),
            ("tokeniser", tuple(TOKENISERS)),
            ("next", ("expectation", "sample")),
        ):
            if getattr(self, name) not in choices:
                raise UserError(
                    f"model.{name} is {getattr(self, name)!r}; choices: {', '.join(choices)}"
                )
        for name, minimum in (("width", 1), ("layers", 1), ("heads", 1), ("bins", 8)):
            if getattr(self, name) < minimum:
                raise UserError(
                    f"model.{name} is {getattr(self, name)}; expected at least {minimum}"
                )
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout is {self.dropout}; expected at least 0 and less than 1")
        if self.width % (2 * self.heads):
            raise UserError(
                f"model.width {self.width} is not a multiple of twice model.heads, {self.heads}"
            )


@dataclass(frozen=True)
class MlpDynamicsConfig:
    """Sizes of an MLP dynamics model."""

    width: int = 200
    """Width of each hidden layer; at least 1."""

    layers: int = 4
    """Number of hidden layers; at least 1."""

    def __post_init__(self) -> None:
        for name in ("width", "layers"):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name} is {getattr(self, name)}; expected at least 1")


@dataclass(frozen=True)
class EnsembleDynamicsConfig:
    """Sizes of an ensemble, and how its imagination goes on.

    Expectation is the default: it costs a quarter of 20 particles, and no draw decides which plan
    is the best.
    """

    members: int = 7
    """Number of networks that are trained."""

    elites: int = 5
    """Number of members that predict, those with the smallest held-out errors; 1 to `members`."""

    width: int = 200
    """Width of each hidden layer; at least 1."""

    layers: int = 4
    """Number of hidden layers; at least 1."""

    log_variance: tuple[float, float] = (-10.0, 0.5)
    """Initial lower and upper bound of the predicted log variances; both bounds are trained."""

    propagation: Propagation = "expectation"
    """How an imagination goes on. "expectation": from the mean of all elites' means, one state per
    candidate. "ts1", "tsinf": by trajectory sampling, from `particles` states per candidate, each
    drawn from the Gaussian of one elite: another elite at every step, or the same for ever."""

    particles: int = 20
    """States per candidate of trajectory sampling, of which the mean is predicted; a multiple of
    `elites`."""

    seed: int = 0
    """Seed of the particles, where `Context.imagine` gets no generator."""

    def __post_init__(self) -> None:
        for name in ("elites", "width", "layers", "particles"):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name} is {getattr(self, name)}; expected at least 1")
        if self.elites > self.members:
            raise UserError(
                f"model.elites is {self.elites}; expected at most model.members, {self.members}"
            )
        if self.propagation not in _PROPAGATIONS:
            raise UserError(
                f"model.propagation is {self.propagation!r}; choices: {', '.join(_PROPAGATIONS)}"
            )
        if self.particles % self.elites:
            raise UserError(
                f"model.particles is {self.particles}; "
                f"expected a multiple of model.elites, {self.elites}"
            )
        if self.log_variance[0] >= self.log_variance[1]:
            raise UserError(
                f"model.log_variance is {self.log_variance}; expected the lower bound first"
            )


@dataclass(frozen=True)
class RecurrentDynamicsConfig:
    """Sizes of a recurrent state-space model."""

    width: int = 200
    """Width of the recurrent state and of hidden layers; at least 1."""

    variables: int = 16
    """Number of categorical variables of a state; at least 1."""

    categories: int = 16
    """Number of categories of each variable; at least 2."""

    uniform: float = 0.01
    """Fraction of a uniform distribution that is mixed into that of each variable, so that no
    category is impossible (DreamerV3; Hafner et al. 2023); between 0 and 1."""

    def __post_init__(self) -> None:
        for name, minimum in (("width", 1), ("variables", 1), ("categories", 2)):
            if getattr(self, name) < minimum:
                raise UserError(
                    f"model.{name} is {getattr(self, name)}; expected at least {minimum}"
                )
        if not 0 < self.uniform < 1:
            raise UserError(
                f"model.uniform is {self.uniform}; expected more than 0 and less than 1"
            )


@dataclass(frozen=True)
class GaussianLatentConfig:
    """Independent normal variables; `--model.latent categorical` chooses categorical ones."""

    variables: int = 30
    """Number of variables of a state; at least 1."""

    min_std: float = 0.1
    """The smallest std; above 0."""

    def __post_init__(self) -> None:
        if self.variables < 1:
            raise UserError(f"model.latent.variables is {self.variables}; expected at least 1")
        if self.min_std <= 0:
            raise UserError(f"model.latent.min_std is {self.min_std}; expected a number above 0")


@dataclass(frozen=True)
class CategoricalLatentConfig:
    """Independent categorical variables; `--model.latent gaussian` chooses normal ones."""

    variables: int = 16
    """Number of variables of a state; at least 1."""

    categories: int = 16
    """Number of categories of each variable; at least 2."""

    uniform: float = 0.01
    """Fraction of a uniform distribution that is mixed into that of each variable, so that no
    category is impossible (DreamerV3; Hafner et al. 2023); between 0 and 1."""

    def __post_init__(self) -> None:
        for name, minimum in (("variables", 1), ("categories", 2)):
            if getattr(self, name) < minimum:
                raise UserError(
                    f"model.latent.{name} is {getattr(self, name)}; expected at least {minimum}"
                )
        if not 0 < self.uniform < 1:
            raise UserError(
                f"model.latent.uniform is {self.uniform}; expected more than 0 and less than 1"
            )


ALL_SOURCES = -1  # as many sources as a run has datasets
LatentConfig = GaussianLatentConfig | CategoricalLatentConfig
Sees = Literal["state", "images", "both"]
TakenActions = Literal["own", "none"]


@dataclass(frozen=True)
class LatentWorldConfig:
    """Sizes of a world model, and what it sees."""

    sees: Sees = "state"
    """What is observed and predicted: the normalised "state", the "images" of every camera, or
    "both"."""

    latent: LatentConfig = GaussianLatentConfig()
    """The random variables of a state."""

    width: int = 128
    """Width of the recurrent state and of hidden layers; at least 1."""

    depth: int = 16
    """Channels after the first convolution of an image encoder; they double with each halving."""

    head_layers: int = 2
    """Hidden layers of the heads of states, rewards and continuation; at least 1."""

    sources: int = 0
    """Datasets that the model tells apart, for teachers that share one model; 0: it does not; -1:
    all that it is trained on."""

    actions: TakenActions = "own"
    """What the model reads of actions: its "own" data's, or "none", zeros, as of videos without
    actions. No policy is learned in a world without actions."""

    def __post_init__(self) -> None:
        minima = {"width": 1, "depth": 1, "head_layers": 1, "sources": ALL_SOURCES}
        for name, minimum in minima.items():
            if getattr(self, name) < minimum:
                raise UserError(
                    f"model.{name} is {getattr(self, name)}; expected at least {minimum}"
                )
        if self.sees not in ("state", "images", "both"):
            raise UserError(f"model.sees is {self.sees!r}; choices: state, images, both")
        if self.actions not in ("own", "none"):
            raise UserError(f"model.actions is {self.actions!r}; choices: own, none")


@dataclass(frozen=True)
class TeacherConfig:
    """A trained world model of one source or several, of which the filter is used."""

    world: LatentWorldConfig
    """Its sizes, and what it sees."""

    names: tuple[str, ...]
    """Names of its sources, each of which is one teacher."""

    cameras: Mapping[str, tuple[int, int]]
    """Slot to the (height, width) of its images."""

    state: int
    """Numbers of a state that it sees; 0 for images alone."""

    action: int
    """Numbers of its actions."""

    scale: tuple[float, ...] = ()
    """Factors from the student's normalised states to its own; empty: 1."""

    shift: tuple[float, ...] = ()
    """What is added after that; empty: 0."""

    actions: tuple[int, ...] = ()
    """Numbers of each source's own actions, of which a shared teacher's are the largest; empty:
    as many."""


@dataclass(frozen=True)
class TaughtWorldConfig(LatentWorldConfig):
    """A world model with teachers: world models of other tasks (Vid2Act)."""

    teachers: tuple[TeacherConfig, ...] = ()
    """The teachers; filled in from the runs that are named as teachers."""

    relevance: str = "learned"
    """How much each teacher counts in a state: "learned" by a layer, as in the paper; by the
    "distance" of its features from the student's; by its "prediction", how well it foresees what
    is seen; "uniform"; or "fixed:NAME", one teacher alone, by its name or its number from 0."""

    temperature: float = 1.0
    """Softness of relevance by distance or prediction; above 0."""

    source_input: bool = False
    """Whether the projection of teachers' features also gets the number of the teacher, one-hot."""

    teacher_actions: TakenActions = "own"
    """Which actions teachers take: the student's in the same places, or zeros."""

    random_teachers: bool = False
    """Whether teachers keep random weights instead of those that they learned, which shows how much
    of what they teach is knowledge."""

    guide: int = 50
    """Numbers of the guide that an actor may read, a hidden layer of the decoder of actions."""

    replay_width: int = 256
    """Width of the networks that model the sources' actions."""

    rehearse: bool = False
    """Whether the world is learned from windows of the sources, too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("guide", "replay_width"):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name} is {getattr(self, name)}; expected at least 1")
        if self.temperature <= 0:
            raise UserError(f"model.temperature is {self.temperature}; expected above 0")
        if self.teacher_actions not in ("own", "none"):
            raise UserError(
                f"model.teacher_actions is {self.teacher_actions!r}; choices: own, none"
            )
        kinds = ("learned", "distance", "prediction", "uniform")
        fixed = self.relevance.removeprefix("fixed:")
        is_fixed = fixed not in ("", self.relevance)
        if self.relevance not in kinds and not is_fixed:
            raise UserError(
                f"model.relevance is {self.relevance!r}; choices: {', '.join(kinds)}, fixed:NAME"
            )
        names = self.teacher_names
        is_known = fixed in names or (fixed.isdecimal() and int(fixed) < len(names))
        if is_fixed and names and not is_known:
            raise UserError(
                f"model.relevance is {self.relevance!r}, but the teachers are {', '.join(names)}"
            )

    @property
    def teacher_names(self) -> tuple[str, ...]:
        """Names of all teachers, in their order."""
        names: list[str] = []
        for teacher in self.teachers:
            names += teacher.names
        return tuple(names)

    @property
    def fixed_teacher(self) -> int | None:
        """The index of the one teacher that counts, if `relevance` fixes it."""
        name, names = self.relevance.removeprefix("fixed:"), self.teacher_names
        if name == self.relevance:
            return None
        return names.index(name) if name in names else int(name)


DynamicsConfig = (
    DynamicsTransformerConfig | MlpDynamicsConfig | EnsembleDynamicsConfig | RecurrentDynamicsConfig
)
