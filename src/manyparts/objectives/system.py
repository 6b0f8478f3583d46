"""A model with the objectives that train it: the module that is optimised, saved and acted with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from manyparts.core.errors import UserError
from manyparts.core.records import Batch, Loss
from manyparts.data.sampling.windows import WindowConfig
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.control_transformer import ControlTransformer, ControlTransformerConfig
from manyparts.models.dynamics.ensemble import EnsembleDynamics, EnsembleDynamicsConfig
from manyparts.models.dynamics.mlp import MlpDynamics, MlpDynamicsConfig
from manyparts.models.dynamics.recurrent import RecurrentDynamics, RecurrentDynamicsConfig
from manyparts.models.dynamics.step_transformer import DynamicsTransformerConfig
from manyparts.models.dynamics.transformer import DynamicsTransformer
from manyparts.models.representation import Representation, RepresentationConfig
from manyparts.objectives.base import Objective, Passes
from manyparts.objectives.behaviour_cloning import BehaviourCloning, BehaviourCloningConfig
from manyparts.objectives.forward_dynamics import ForwardDynamics, ForwardDynamicsConfig
from manyparts.objectives.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from manyparts.objectives.latent_state import LatentState, LatentStateConfig
from manyparts.objectives.masked_hindsight import MaskedHindsight, MaskedHindsightConfig
from manyparts.objectives.next_action import NextAction, NextActionConfig
from manyparts.objectives.next_state import NextState, NextStateConfig
from manyparts.objectives.next_state_likelihood import (
    NextStateLikelihood,
    NextStateLikelihoodConfig,
)
from manyparts.objectives.next_step import NextStep, NextStepConfig
from manyparts.objectives.representations.base import FramePasses
from manyparts.objectives.representations.behaviour_cloning import (
    EmbeddingCloning,
    EmbeddingCloningConfig,
)
from manyparts.objectives.representations.contrastive_dynamics import (
    ContrastiveDynamics,
    ContrastiveDynamicsConfig,
)
from manyparts.objectives.representations.contrastive_static import (
    ContrastiveStatic,
    ContrastiveStaticConfig,
)
from manyparts.objectives.representations.inverse_dynamics import (
    EmbeddingInverseDynamics,
    EmbeddingInverseDynamicsConfig,
)
from manyparts.objectives.representations.pixel_dynamics import PixelDynamics, PixelDynamicsConfig
from manyparts.objectives.steps import StepPasses, TransformerPasses

DynamicsConfig = (
    DynamicsTransformerConfig | MlpDynamicsConfig | EnsembleDynamicsConfig | RecurrentDynamicsConfig
)
ModelConfig = ControlTransformerConfig | RepresentationConfig | DynamicsConfig
ObjectiveConfig = (
    BehaviourCloningConfig
    | ForwardDynamicsConfig
    | InverseDynamicsConfig
    | MaskedHindsightConfig
    | EmbeddingCloningConfig
    | EmbeddingInverseDynamicsConfig
    | ContrastiveDynamicsConfig
    | ContrastiveStaticConfig
    | PixelDynamicsConfig
    | NextStepConfig
    | NextActionConfig
    | NextStateConfig
    | NextStateLikelihoodConfig
    | LatentStateConfig
)
OBJECTIVES: dict[type, Any] = {  # of a control transformer
    BehaviourCloningConfig: BehaviourCloning,
    ForwardDynamicsConfig: ForwardDynamics,
    InverseDynamicsConfig: InverseDynamics,
    MaskedHindsightConfig: MaskedHindsight,
}
REPRESENTATION_OBJECTIVES: dict[type, Any] = {
    EmbeddingCloningConfig: EmbeddingCloning,
    EmbeddingInverseDynamicsConfig: EmbeddingInverseDynamics,
    ContrastiveDynamicsConfig: ContrastiveDynamics,
    ContrastiveStaticConfig: ContrastiveStatic,
    PixelDynamicsConfig: PixelDynamics,
}


class Kind(NamedTuple):
    """What a model's config stands for: the model, its objectives by their configs, and a batch's
    way through it."""

    model: Any
    objectives: Mapping[type, Any]
    passes: Any


KINDS: dict[type, Kind] = {
    ControlTransformerConfig: Kind(ControlTransformer, OBJECTIVES, Passes),
    RepresentationConfig: Kind(Representation, REPRESENTATION_OBJECTIVES, FramePasses),
    DynamicsTransformerConfig: Kind(
        DynamicsTransformer,
        {NextStepConfig: NextStep, NextActionConfig: NextAction},
        TransformerPasses,
    ),
    MlpDynamicsConfig: Kind(MlpDynamics, {NextStateConfig: NextState}, StepPasses),
    EnsembleDynamicsConfig: Kind(
        EnsembleDynamics, {NextStateLikelihoodConfig: NextStateLikelihood}, StepPasses
    ),
    RecurrentDynamicsConfig: Kind(RecurrentDynamics, {LatentStateConfig: LatentState}, StepPasses),
}


def sees_images(model: ModelConfig) -> bool:
    """Whether a model reads pictures; for one that does not, none are loaded."""
    if isinstance(model, RepresentationConfig):
        return model.sees == "images"
    return not isinstance(model, DynamicsConfig)


class System(nn.Module):
    """model, one of `KINDS`, and objectives; the weights of the losses stand under the objectives'
    names."""

    model: Any

    def __init__(
        self,
        model: nn.Module,
        objectives: Mapping[str, Objective],
        weights: Mapping[str, float],
    ):
        super().__init__()
        assert set(objectives) == set(weights), (set(objectives), set(weights))
        self.model = model
        self.objectives = nn.ModuleDict(dict(objectives))
        self.weights = dict(weights)

    @classmethod
    def build(
        cls,
        model: ModelConfig,
        objectives: Mapping[str, ObjectiveConfig],
        embodiments: EmbodimentSet,
        window: WindowConfig,
    ) -> System:
        """Fresh weights for some embodiments, from the global torch generator. Raises UserError for
        an objective that is not for this model, or a dynamics model's policy that none of them
        teaches."""
        kind, given = KINDS[type(model)], {"chunk": window.chunk, "steps": window.steps}
        if isinstance(model, ControlTransformerConfig):
            given["prompt_images"] = window.prompt_images
        fresh, known = kind.model(model, embodiments, **given), kind.objectives
        for name, config in objectives.items():
            if type(config) not in known:
                raise UserError(
                    f"objective {name!r} ({type(config).__name__}) is not for a {type(fresh).__name__}; choices: "
                    + ", ".join(each.__name__ for each in known)
                )
        learned = {type(config) for config in objectives.values()}
        if (
            isinstance(model, DynamicsTransformerConfig)
            and model.policy
            and NextActionConfig not in learned
        ):
            raise UserError(
                "model.policy is set, but no objective teaches the policy what to do; choices: a preset that has one, "
                "`dynamics/generalist-laptop` or another size of it, or the objective NextActionConfig"
            )
        built = {name: known[type(config)](config, fresh) for name, config in objectives.items()}
        return cls(fresh, built, {name: config.weight for name, config in objectives.items()})

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Loss]:
        """Every objective's loss, over shared passes of the model."""
        passes = KINDS[type(self.model.config)].passes(self.model, batch, generator)
        return {name: objective(passes) for name, objective in self.objectives.items()}

    def after_step(self) -> None:
        """Let averages move; call it after each optimiser step."""
        for objective in self._objectives():
            objective.after_step(self.model)

    def set_progress(self, fraction: float) -> None:
        """Tell objectives which part of training, in [0, 1], is done."""
        for objective in self._objectives():
            objective.set_progress(fraction)

    @property
    def encoder_names(self) -> tuple[str, ...]:
        """Prefixes of the parameters that the model's `visual_features` depends on."""
        return tuple(f"model.{part}" for part in self.model.encoder_names)

    @property
    def reward_limit(self) -> float:
        """The largest reward, of either sign, that the model can learn."""
        return getattr(self.model, "reward_limit", math.inf)

    def _objectives(self) -> list[Objective]:
        return [
            objective for objective in self.objectives.values() if isinstance(objective, Objective)
        ]
