"""A model with the objectives that train it: the module that is optimised, saved and used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from manyparts.core.errors import UserError
from manyparts.core.records import Batch, Loss
from manyparts.data.sampling.config import WindowConfig
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.configs import ControlTransformerConfig, ModelConfig, RepresentationConfig
from manyparts.models.control_transformer import ControlTransformer
from manyparts.models.dynamics.configs import (
    DynamicsTransformerConfig,
    EnsembleDynamicsConfig,
    LatentWorldConfig,
    MlpDynamicsConfig,
    RecurrentDynamicsConfig,
    TaughtWorldConfig,
)
from manyparts.models.dynamics.ensemble import EnsembleDynamics
from manyparts.models.dynamics.latent_world import LatentWorld
from manyparts.models.dynamics.mlp import MlpDynamics
from manyparts.models.dynamics.recurrent import RecurrentDynamics
from manyparts.models.dynamics.taught_world import TaughtWorld
from manyparts.models.dynamics.transformer import DynamicsTransformer
from manyparts.models.representation import Representation
from manyparts.objectives.base import Objective, Passes, objectives_for
from manyparts.objectives.configs import NextActionConfig, ObjectiveConfig
from manyparts.objectives.representations.base import FramePasses
from manyparts.objectives.steps import StepPasses, TransformerPasses
from manyparts.objectives.taught import TaughtPasses
from manyparts.objectives.world import WorldPasses


class ModelKind(NamedTuple):
    """The classes that belong to a model's config."""

    model: Any
    """The model."""

    passes: Any
    """A batch's way through the model, which objectives read."""


MODELS: dict[type, ModelKind] = {
    ControlTransformerConfig: ModelKind(ControlTransformer, Passes),
    RepresentationConfig: ModelKind(Representation, FramePasses),
    DynamicsTransformerConfig: ModelKind(DynamicsTransformer, TransformerPasses),
    MlpDynamicsConfig: ModelKind(MlpDynamics, StepPasses),
    EnsembleDynamicsConfig: ModelKind(EnsembleDynamics, StepPasses),
    RecurrentDynamicsConfig: ModelKind(RecurrentDynamics, StepPasses),
    LatentWorldConfig: ModelKind(LatentWorld, WorldPasses),
    TaughtWorldConfig: ModelKind(TaughtWorld, TaughtPasses),
}


class System(nn.Module):
    """A model with its objectives, and the weights of their losses."""

    model: Any
    """One of the models in `MODELS`."""

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
        """A system with new weights, drawn from the global torch generator.

        Args:
            model: config of the model.
            objectives: name to config of each loss.
            embodiments: what the model observes and acts with.
            window: sizes of the windows that it is trained on.

        Raises:
            UserError: an objective does not train this model, or the model has a policy that no
                objective trains.
        """
        sizes = {"chunk": window.chunk, "steps": window.steps}
        if isinstance(model, ControlTransformerConfig):
            sizes["prompt_images"] = window.prompt_layout.count
        # The model is built before the objectives: weights are drawn from one generator, so the
        # order decides them. A model's weights do not depend on what it is trained with.
        new_model = MODELS[type(model)].model(model, embodiments, **sizes)
        names = [type(config).__name__ for config in objectives.values()]
        classes = objectives_for(type(new_model), names)
        for name, config in objectives.items():
            if type(config) not in classes:
                raise UserError(
                    f"objective {name!r} ({type(config).__name__}) does not train a "
                    f"{type(new_model).__name__}; choices: "
                    + ", ".join(each.__name__ for each in classes)
                )
        _require_trained_policy(model, objectives)
        built = {
            name: classes[type(config)](config, new_model) for name, config in objectives.items()
        }
        return cls(new_model, built, {name: config.weight for name, config in objectives.items()})

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Loss]:
        """Every objective's loss on a batch.

        Args:
            batch: the windows.
            generator: the only source of randomness.
        """
        # One `passes` for all objectives, so that what they share is computed once.
        passes = MODELS[type(self.model.config)].passes(self.model, batch, generator)
        return {name: objective(passes) for name, objective in self.objectives.items()}

    def require_learnable(self) -> None:
        """Raise UserError if an objective can learn nothing; see `Objective`."""
        for objective in self._objectives():
            objective.require_learnable(self.model)

    def after_step(self) -> None:
        """Update moving averages; call it after each optimiser step."""
        for objective in self._objectives():
            objective.after_step(self.model)

    def set_progress(self, fraction: float) -> None:
        """Pass the fraction of training that is done, in [0, 1], to the objectives."""
        for objective in self._objectives():
            objective.set_progress(fraction)

    @property
    def encoder_names(self) -> tuple[str, ...]:
        """Prefixes of the parameters that the model's `visual_features` depends on."""
        return tuple(f"model.{part}" for part in self.model.encoder_names)

    @property
    def reward_limit(self) -> float:
        """The largest absolute reward that the model can represent."""
        return getattr(self.model, "reward_limit", math.inf)

    def _objectives(self) -> list[Objective]:
        # For the type checker, to which a ModuleDict holds any modules.
        return [
            objective for objective in self.objectives.values() if isinstance(objective, Objective)
        ]


def _require_trained_policy(model: ModelConfig, objectives: Mapping[str, ObjectiveConfig]) -> None:
    """Raise UserError if a dynamics model has a policy that no objective trains."""
    if not isinstance(model, DynamicsTransformerConfig) or not model.policy:
        return
    if NextActionConfig not in {type(config) for config in objectives.values()}:
        raise UserError(
            "model.policy is set, but no objective trains the policy; add the objective "
            "NextActionConfig, or use a preset that has it, such as `dynamics/generalist-laptop`"
        )
