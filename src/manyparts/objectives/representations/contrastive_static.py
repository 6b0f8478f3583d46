"""Static contrast: two crops of one frame belong together (SimCLR, Chen et al. 2020, arXiv
2002.05709)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from manyparts.core.errors import UserError
from manyparts.core.records import Loss
from manyparts.models.representation import Representation
from manyparts.nn.image_augmentation import random_shift
from manyparts.objectives.base import Objective, ObjectiveConfig
from manyparts.objectives.representations.base import FramePasses, head, info_nce


@dataclass(frozen=True)
class ContrastiveStaticConfig(ObjectiveConfig):
    """Settings of `ContrastiveStatic`."""

    shift_pixels: int = 8
    """Largest shift of each crop in pixels; the data should not be shifted before."""

    temperature: float = 1.0
    """Temperature of InfoNCE; 1 is the paper's, at which the loss can hardly fall, 0.1 is usual."""


class ContrastiveStatic(Objective, config=ContrastiveStaticConfig, model=Representation):
    """InfoNCE of h(phi(crop)) against h(phi(another crop)) among all frames of the batch; actions
    are not used."""

    def __init__(self, config: ContrastiveStaticConfig, model: Representation):
        super().__init__()
        if model.config.sees != "images":
            raise UserError("static contrast is of images, but the model sees the state alone")
        self.config = config
        self.head = head(model.embedding_dimension, model.embedding_dimension)

    def predict(self, passes: FramePasses) -> tuple[Float[Tensor, "n e"], Float[Tensor, "n e"]]:
        """Projections of both crops of every frame."""
        return self._crop(passes), self._crop(passes)

    def forward(self, passes: FramePasses) -> Loss:
        real = passes.batch.mask
        one, other = self.predict(passes)
        return Loss(
            info_nce(one, other, real.flatten(), self.config.temperature).view(real.shape), real
        )

    def _crop(self, passes: FramePasses) -> Float[Tensor, "n e"]:
        batch = passes.batch
        moved = {
            name: self._moved(images, passes.generator) for name, images in batch.images.items()
        }
        return self.head(passes.model.embed(replace(batch, images=moved)).flatten(0, 1))

    def _moved(
        self, images: UInt8[Tensor, "b t c h w"], generator: torch.Generator
    ) -> UInt8[Tensor, "b t c h w"]:
        """Every frame shifted in its own way."""
        frames = images.flatten(0, 1)[:, None]
        return random_shift(frames, self.config.shift_pixels, generator).view_as(images)
