"""Static contrast: two crops of one frame belong together (SimCLR, Chen et al. 2020, arXiv
2002.05709)."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from manyparts.core.errors import UserError
from manyparts.core.records import Loss
from manyparts.models.representation import Representation
from manyparts.nn.image_augmentation import random_shift
from manyparts.objectives.base import Objective
from manyparts.objectives.configs import ContrastiveStaticConfig
from manyparts.objectives.representations.base import FramePasses, head, info_nce


class ContrastiveStatic(Objective, config=ContrastiveStaticConfig, model=Representation):
    """InfoNCE of h(phi(crop)) against h(phi(another crop)) among the batch's frames, without
    actions."""

    def __init__(self, config: ContrastiveStaticConfig, model: Representation):
        super().__init__()
        if model.config.sees != "images":
            raise UserError(
                f"static contrast compares images, but model.sees is {model.config.sees!r}; "
                "set it to 'images'"
            )
        self.config = config
        self.head = head(model.embedding_dimension, model.embedding_dimension)

    def predict(self, passes: FramePasses) -> tuple[Float[Tensor, "n e"], Float[Tensor, "n e"]]:
        """Projections of both crops of every frame."""
        return self._crop(passes), self._crop(passes)

    def forward(self, passes: FramePasses) -> Loss:
        real = passes.batch.mask
        queries, keys = self.predict(passes)
        losses = info_nce(queries, keys, real.flatten(), self.config.temperature)
        return Loss(losses.view(real.shape), real)

    def _crop(self, passes: FramePasses) -> Float[Tensor, "n e"]:
        """Project one random crop of every frame."""
        # Each call draws its own shifts, so two calls give the two crops of a pair. The shared
        # `passes.embedded` cannot be used: it is of the frames as they are.
        batch = passes.batch
        shifted = {
            name: self._shifted(images, passes.generator) for name, images in batch.images.items()
        }
        return self.head(passes.model.embed(replace(batch, images=shifted)).flatten(0, 1))

    def _shifted(
        self, images: UInt8[Tensor, "b t c h w"], generator: torch.Generator
    ) -> UInt8[Tensor, "b t c h w"]:
        """Shift every frame by its own random offset."""
        # `random_shift` draws one offset per window; each frame becomes a window of one step.
        frames = images.flatten(0, 1)[:, None]
        return random_shift(frames, self.config.shift_pixels, generator).view_as(images)
