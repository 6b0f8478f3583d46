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
from manyparts.objectives.base import Objective, ObjectiveConfig, Passes, objectives_for
from manyparts.objectives.next_action import NextActionConfig
from manyparts.objectives.representations.base import FramePasses
from manyparts.objectives.steps import StepPasses, TransformerPasses

DynamicsConfig = (
    DynamicsTransformerConfig | MlpDynamicsConfig | EnsembleDynamicsConfig | RecurrentDynamicsConfig
)
ModelConfig = ControlTransformerConfig | RepresentationConfig | DynamicsConfig


class ModelKind(NamedTuple):
    """What a model's config stands for: the model, and a batch's way through it."""

    model: Any
    passes: Any


MODELS: dict[type, ModelKind] = {
    ControlTransformerConfig: ModelKind(ControlTransformer, Passes),
    RepresentationConfig: ModelKind(Representation, FramePasses),
    DynamicsTransformerConfig: ModelKind(DynamicsTransformer, TransformerPasses),
    MlpDynamicsConfig: ModelKind(MlpDynamics, StepPasses),
    EnsembleDynamicsConfig: ModelKind(EnsembleDynamics, StepPasses),
    RecurrentDynamicsConfig: ModelKind(RecurrentDynamics, StepPasses),
}


def sees_images(model: ModelConfig) -> bool:
    """Whether a model reads pictures; for one that does not, none are loaded."""
    if isinstance(model, RepresentationConfig):
        return model.sees == "images"
    return not isinstance(model, DynamicsConfig)


class System(nn.Module):
    """model, one of `MODELS`, and objectives; the weights of the losses stand under the objectives'
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
        sizes = {"chunk": window.chunk, "steps": window.steps}
        if isinstance(model, ControlTransformerConfig):
            sizes["prompt_images"] = window.prompt_images
        fresh = MODELS[type(model)].model(model, embodiments, **sizes)
        kinds = objectives_for(type(fresh))
        for name, config in objectives.items():
            if type(config) not in kinds:
                raise UserError(
                    f"objective {name!r} ({type(config).__name__}) is not for a {type(fresh).__name__}; choices: "
                    + ", ".join(each.__name__ for each in kinds)
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
        built = {name: kinds[type(config)](config, fresh) for name, config in objectives.items()}
        return cls(fresh, built, {name: config.weight for name, config in objectives.items()})

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Loss]:
        """Every objective's loss, over shared passes of the model."""
        passes = MODELS[type(self.model.config)].passes(self.model, batch, generator)
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
