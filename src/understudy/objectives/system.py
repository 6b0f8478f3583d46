"""A model with the objectives that train it: the module that is optimised, saved and acted with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from understudy.data.embodiments import JointSpec
from understudy.data.windows import WindowConfig
from understudy.models.control_transformer import ControlTransformer, ControlTransformerConfig
from understudy.objectives.base import Objective, Passes
from understudy.objectives.behaviour_cloning import BehaviourCloning, BehaviourCloningConfig
from understudy.objectives.forward_dynamics import ForwardDynamics, ForwardDynamicsConfig
from understudy.objectives.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from understudy.objectives.masked_hindsight import MaskedHindsight, MaskedHindsightConfig
from understudy.types import Batch, Loss

ObjectiveConfig = BehaviourCloningConfig | ForwardDynamicsConfig | InverseDynamicsConfig | MaskedHindsightConfig
OBJECTIVES: dict[type, Any] = {
    BehaviourCloningConfig: BehaviourCloning,
    ForwardDynamicsConfig: ForwardDynamics,
    InverseDynamicsConfig: InverseDynamics,
    MaskedHindsightConfig: MaskedHindsight,
}


class System(nn.Module):
    """model and objectives; the weights of the losses stand under the objectives' names."""

    def __init__(self, model: ControlTransformer, objectives: Mapping[str, Objective], weights: Mapping[str, float]):
        super().__init__()
        assert set(objectives) == set(weights), (set(objectives), set(weights))
        self.model = model
        self.objectives = nn.ModuleDict(dict(objectives))
        self.weights = dict(weights)

    @classmethod
    def build(
        cls,
        model: ControlTransformerConfig,
        objectives: Mapping[str, ObjectiveConfig],
        joint: JointSpec,
        window: WindowConfig,
    ) -> System:
        """Fresh weights for some embodiments, from the global torch generator."""
        transformer = ControlTransformer(
            model, joint, chunk=window.chunk, steps=window.steps, prompt_pictures=window.prompt_pictures
        )
        built = {name: OBJECTIVES[type(config)](config, transformer) for name, config in objectives.items()}
        return cls(transformer, built, {name: config.weight for name, config in objectives.items()})

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Loss]:
        """Every objective's loss, over shared passes of the model."""
        passes = Passes(self.model, batch, generator)
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
        """Prefixes of the parameters that `visual_features` depends on."""
        return tuple(f"model.embedding.{part}." for part in ("encoders", "token_learners", "projections"))

    def visual_features(self, images: UInt8[Tensor, "n c h w"], camera: str) -> Float[Tensor, "n v d"]:
        """The visual tokens of frames of a camera (or slot), which a `Batch` may bring as `features` while the encoders
        are frozen."""
        return self.model.embedding.visual(images, camera)

    def _objectives(self) -> list[Objective]:
        return [objective for objective in self.objectives.values() if isinstance(objective, Objective)]
