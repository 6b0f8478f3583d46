"""Configs of all objectives of this package.

They stand apart from the objectives because those import torch. A preset's help, the list of
presets and a machine that only schedules runs do without it. The config of an objective that no
preset has may stand in the objective's own file instead.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal

from manyparts.core.arguments import expect
from manyparts.core.errors import UserError
from manyparts.core.serialisation import require_own_name, require_types
from manyparts.nn.patterns import AttentionPattern


@dataclass(frozen=True)
class ObjectiveConfig:
    """Settings of one objective, which an `Objective` declares as its own."""

    weight: float = 1.0
    """Factor of this loss in the sum that training minimises."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        require_own_name(cls, ObjectiveConfig)

    @classmethod
    def declared_kinds(cls, name: str) -> tuple[type[ObjectiveConfig], ...]:
        """The config classes of all objectives, from which JSON's "type" chooses one.

        Args:
            name: That "type". A plug-in is loaded if it adds this one.
        """
        # By name and on call: `base` imports this module, and torch, which configs do without.
        return tuple(importlib.import_module("manyparts.objectives.base").every_objective([name]))


@dataclass(frozen=True)
class ForwardDynamicsConfig(ObjectiveConfig):
    """Settings of `ForwardDynamics`."""

    target_rate: float = 0.005
    """Fraction of the way that the target encoder moves towards the encoder per optimiser step."""

    target: Literal["ema", "online"] = "ema"
    """What encodes the targets: "ema" for a moving average of the encoder, without gradient;
    "online" for the encoder itself, with gradient, as in the released code. With "online", constant
    tokens minimise the loss; it is kept so that this can be measured."""

    hidden: int | None = None
    """Width of the head's hidden layer; none for a linear head."""

    attention: AttentionPattern = "visual"
    """Attention pattern of the decoder; objectives with the same pattern share one pass. "full"
    would show the next observation, and is refused."""

    def __post_init__(self) -> None:
        require_types(self)
        rate = self.target_rate
        expect("objectives.forward_dynamics.target_rate", rate, 0 <= rate <= 1, "in [0, 1]")


@dataclass(frozen=True)
class InverseDynamicsConfig(ObjectiveConfig):
    """Settings of `InverseDynamics`."""

    attention: Literal["visual", "inverse"] = "visual"
    """What the action is predicted from: "visual" for image tokens only, because proprioception
    makes it trivial (the hand's displacement); "inverse" for image and state tokens, as in the
    paper."""

    hidden: int = 256
    """Width of the action head's hidden layer."""

    def __post_init__(self) -> None:
        require_types(self)


@dataclass(frozen=True)
class MaskedHindsightConfig(ObjectiveConfig):
    """Settings of `MaskedHindsight`."""

    hidden_from: float = 0.0
    """Fraction of a window's actions that is hidden at the start of training, at least one."""

    hidden_to: float = 1.0
    """Fraction of a window's actions that is hidden at the end of training, at least one."""

    observations: float = 0.5
    """Observations hidden per hidden action."""

    hidden: int = 256
    """Width of the action head's hidden layer."""

    def __post_init__(self) -> None:
        for name in ("hidden_from", "hidden_to", "observations"):
            value = getattr(self, name)
            expect(f"objectives.masked_hindsight.{name}", value, 0 <= value <= 1, "in [0, 1]")


@dataclass(frozen=True)
class BehaviourCloningConfig(ObjectiveConfig):
    """Imitation of `expert_action`, which differs from the executed action where noise was added.

    Past observations reveal the expert's direction so well that a policy need not look at a small
    goal in the image. When it acts, such a policy follows its own motion instead of the goal, which
    is why `attention` can hide the past.
    """

    attention: Literal["causal", "present"] = "causal"
    """What the policy sees: "causal" for its window so far, "present" for the current step only."""

    hidden: int = 256
    """Width of the action head's hidden layer."""


@dataclass(frozen=True)
class NextStateConfig(ObjectiveConfig):
    """Settings of `NextState`."""


@dataclass(frozen=True)
class NextStateLikelihoodConfig(ObjectiveConfig):
    """Settings of `NextStateLikelihood`."""

    bound: float = 0.01
    """Weight of the distance between the bounds of log variances, which pulls them together."""

    memory: float = 0.99
    """Decay of members' held-out errors per optimiser step, in [0, 1)."""

    def __post_init__(self) -> None:
        if self.bound < 0:
            raise UserError(f"bound is {self.bound}; expected a weight of at least 0")
        if not 0 <= self.memory < 1:
            raise UserError(f"memory is {self.memory}; expected a number from 0 to below 1")


@dataclass(frozen=True)
class LatentStateConfig(ObjectiveConfig):
    """Settings of `LatentState`."""

    std: float = 0.1
    """Standard deviation of normalised observations and rewards around their prediction."""

    divergence: float = 1.0
    """Weight of the Kullback-Leibler divergence between posterior and prior."""

    balance: float = 0.8
    """Fraction of the divergence that trains the prior; the rest trains the posterior; 0 to 1."""

    def __post_init__(self) -> None:
        if self.std <= 0:
            raise UserError(f"std is {self.std}; expected a positive number")
        if self.divergence < 0:
            raise UserError(f"divergence is {self.divergence}; expected a weight of at least 0")
        if not 0 <= self.balance <= 1:
            raise UserError(f"balance is {self.balance}; expected a number in [0, 1]")


@dataclass(frozen=True)
class NextStepConfig(ObjectiveConfig):
    """Settings of `NextStep`."""

    std: float = 1.0
    """Standard deviation, in bins, of targets spread over neighbouring bins; used if the model is
    soft."""

    def __post_init__(self) -> None:
        if self.std <= 0:
            raise UserError(f"std is {self.std}; expected a positive number")


@dataclass(frozen=True)
class NextActionConfig(ObjectiveConfig):
    """Settings of `NextAction`."""


@dataclass(frozen=True)
class EmbeddingInverseDynamicsConfig(ObjectiveConfig):
    """Settings of `EmbeddingInverseDynamics`.

    The two frames are as many environment steps apart as a chunk has actions: 1 in the paper.
    """


@dataclass(frozen=True)
class EmbeddingCloningConfig(ObjectiveConfig):
    """Imitation of `expert_action`, which differs from the executed action under noise."""


@dataclass(frozen=True)
class PixelDynamicsConfig(ObjectiveConfig):
    """Settings of `PixelDynamics`."""

    channels: tuple[int, ...] = (64, 32, 16)
    """Channels of the decoder's maps, coarsest first; each map has twice the side of the last."""


@dataclass(frozen=True)
class ContrastiveDynamicsConfig(ObjectiveConfig):
    """Settings of `ContrastiveDynamics`."""

    temperature: float = 1.0
    """Temperature of InfoNCE; 1 is the paper's, at which the loss can hardly fall, 0.1 is usual."""

    def __post_init__(self) -> None:
        temperature = self.temperature
        expect(
            "objectives.contrastive_dynamics.temperature", temperature, temperature > 0, "above 0"
        )


@dataclass(frozen=True)
class ContrastiveStaticConfig(ObjectiveConfig):
    """Settings of `ContrastiveStatic`."""

    shift_pixels: int = 8
    """Largest shift of each crop in pixels; the data should not be shifted before."""

    temperature: float = 1.0
    """Temperature of InfoNCE; 1 is the paper's, at which the loss can hardly fall, 0.1 is usual."""

    def __post_init__(self) -> None:
        temperature = self.temperature
        expect("objectives.contrastive_static.temperature", temperature, temperature > 0, "above 0")


@dataclass(frozen=True)
class WorldConfig(ObjectiveConfig):
    """Learn to predict observations, rewards and ends of episodes from a latent state."""

    divergence: float = 1.0
    """Weight of the Kullback-Leibler divergence between posterior and prior."""

    balance: float = 0.8
    """Fraction of the divergence that trains the prior; the rest trains the posterior; 0 to 1."""

    free_nats: float = 1.0
    """Divergence below which nothing is trained to reduce it, in nats per step."""

    state_std: float = 0.2
    """Std of normalised states around their prediction. At 1 the latent state says
    little about states of few numbers."""

    reward: float = 2.0
    """Weight of the squared error of rewards, which are predicted as signed logarithms."""

    continuation: float = 1.0
    """Weight of the error of whether episodes go on."""

    source_rewards: bool = True
    """Whether rewards of source data are learned, which is right where their task is the same."""

    decoded: float = 1.0
    """Fraction of the frames that are predicted in each step, drawn at random; less is faster;
    above 0, at most 1."""

    def __post_init__(self) -> None:
        if self.state_std <= 0:
            raise UserError(f"state_std is {self.state_std}; expected a positive number")
        if not 0 <= self.balance <= 1:
            raise UserError(f"balance is {self.balance}; expected a number in [0, 1]")
        if not 0 < self.decoded <= 1:
            raise UserError(f"decoded is {self.decoded}; expected more than 0 and at most 1")
        for name in ("divergence", "free_nats", "reward", "continuation"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; expected at least 0")


@dataclass(frozen=True)
class ActorCriticConfig(ObjectiveConfig):
    """Learn to act in what the model imagines."""

    horizon: int = 10
    """Imagined steps; at least 1."""

    starts: int = 128
    """States of a batch from which is imagined; of fewer real steps, all."""

    discount: float = 0.99
    """What a reward is worth one step later, in [0, 1]."""

    mixing: float = 0.95
    """Lambda of the returns, in [0, 1]; see `nn.returns`."""

    gradient: Literal["dynamics", "reinforce"] = "dynamics"
    """How the actor learns: by gradients through the model, or by the likelihood of actions that
    turned out better than expected."""

    entropy: float = 1e-3
    """Weight of the entropy of actions, which keeps the actor exploring; at least 0."""

    centring: float = 1e-3
    """Weight of the square of the mean before tanh, which keeps actors off their bounds; at least
    0."""

    normalise: bool = True
    """Divide returns by their range, from the 5 % to the 95 % quantile, if it is above 1
    (DreamerV3; Hafner et al. 2023)."""

    slow_rate: float = 0.02
    """How far the slow critic moves towards the critic after each update, in (0, 1]."""

    guide: Literal["none", "input", "prior"] = "none"
    """What the actor gets of the sources' actions: nothing; a guide that it reads, as in Vid2Act;
    or a prior, with an action towards which it is drawn."""

    guide_noise: float = 0.5
    """Bound of the normal noise from which a guide is decoded; 0: none."""

    guide_redraw: Literal["step", "start"] = "step"
    """How often that noise is drawn: at each step, as in Vid2Act, or at the start of an episode and
    of each imagination."""

    prior: float = 1.0
    """Weight of the squared distance from the prior's action, of returns of a range of 1."""

    prior_until: float = 0.3
    """Fraction of training after which the prior has faded to nothing, in (0, 1]."""

    layers: int = 2
    """Hidden layers of actor and critic; at least 1."""

    width: int = 128
    """Width of hidden layers; at least 1."""

    def __post_init__(self) -> None:
        for name in ("horizon", "starts", "layers", "width"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("discount", "mixing"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}; expected a number in [0, 1]")
        for name in ("entropy", "centring"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; expected at least 0")
        if not 0 < self.prior_until <= 1:
            raise UserError(f"prior_until is {self.prior_until}; expected more than 0, at most 1")
        if not 0 < self.slow_rate <= 1:
            raise UserError(f"slow_rate is {self.slow_rate}; expected more than 0, at most 1")


@dataclass(frozen=True)
class DistillationConfig(ObjectiveConfig):
    """Draw a student's states to those of the teachers that the weights choose (Vid2Act)."""

    weight: float = 100.0
    """Factor of this loss. At the paper's 1 its gradient is hundreds of times smaller than the
    world model's."""

    floor: float = 0.1
    """The least weight with which a teacher counts, as in the paper; in [0, 1). It draws the
    weights of all but one teacher up to itself."""

    teaches: bool = True
    """Whether the student moves towards its teachers. If not, only the projection of their
    features and the weights are learned."""

    def __post_init__(self) -> None:
        if not 0 <= self.floor < 1:
            raise UserError(f"floor is {self.floor}; expected a number in [0, 1)")


@dataclass(frozen=True)
class ActionReplayConfig(ObjectiveConfig):
    """Learn what was done in the sources in states like these (Vid2Act)."""

    divergence: float = 0.5
    """Weight of the Kullback-Leibler divergence of the latent actions from normal noise."""

    def __post_init__(self) -> None:
        if self.divergence < 0:
            raise UserError(f"divergence is {self.divergence}; expected at least 0")
