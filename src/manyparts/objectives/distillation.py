"""Distillation: a student's states move towards those of the teachers that count (Vid2Act).

Pan et al. 2023, arXiv 2306.03360, equation 5.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from manyparts.core.records import Loss
from manyparts.models.dynamics.taught_world import TaughtWorld
from manyparts.objectives.base import Objective
from manyparts.objectives.configs import DistillationConfig
from manyparts.objectives.taught import TaughtPasses


class Distillation(Objective, config=DistillationConfig, model=TaughtWorld):
    """The squared distance from each teacher's projected features, by its weight.

    Learned weights are trained by this loss alone: they shrink where the distance is large.
    """

    def __init__(self, config: DistillationConfig, model: TaughtWorld):
        super().__init__()
        self.config = config
        self.names = model.teachers.names

    def predict(self, passes: TaughtPasses) -> Float[Tensor, "b t k g"]:
        """The teachers' features as the student's would be."""
        return passes.model.projected(passes.taught)

    def forward(self, passes: TaughtPasses) -> Loss:
        features = passes.filtered.features
        if not self.config.teaches:
            features = features.detach()
        distance = passes.model.distance(features, passes.taught)
        weights = passes.relevance
        value = (weights.clamp(min=self.config.floor) * distance).sum(dim=-1)
        mask = passes.batch.mask
        count = mask.sum().clamp(min=1)
        means = (weights.detach() * mask[..., None]).sum(dim=(0, 1)) / count
        metrics = {f"weight/{name}": weight for name, weight in zip(self.names, means, strict=True)}
        return Loss(value, mask, metrics)
