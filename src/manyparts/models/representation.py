"""One vector per frame: what representation learning trains, and what a small policy then reads.

Dimensions: b rows, t steps, n frames, d numbers per camera, e numbers of all cameras together.
"""

from __future__ import annotations

import math

import torch
from einops import pack, rearrange, unpack
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from manyparts.core.errors import UserError
from manyparts.core.records import Batch
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.base import ImageModel
from manyparts.models.configs import RepresentationConfig
from manyparts.models.encoders import build_encoder
from manyparts.models.pretrained import load_encoders
from manyparts.nn.named import NamedModules


class Representation(nn.Module, ImageModel):
    """See the module.

    Args:
        config: Sizes.
        embodiments: One embodiment.
        chunk: Actions per step.
        steps: Observations per window.

    Attributes:
        embedding_dimension: Numbers of all cameras together, or of the state.
    """

    prompt_encoder = None
    encoder_names = ("encoders.", "read.")
    trunk = ()
    reward_limit = math.inf

    def __init__(
        self, config: RepresentationConfig, embodiments: EmbodimentSet, *, chunk: int, steps: int
    ):
        super().__init__()
        if len(embodiments.specs) > 1:
            raise UserError(
                f"a representation is of one embodiment, not of {', '.join(embodiments.names)}"
            )
        self.config, self.embodiments, self.chunk, self.steps = config, embodiments, chunk, steps
        # A representation of the state builds no encoders at all.
        slots = embodiments.slots if config.sees == "images" else {}
        name = embodiments.names[0]
        if config.sees == "images" and not slots:
            raise UserError(
                f"the embodiment {name!r} has no camera to learn a representation from; "
                "set model.sees to state"
            )
        if config.sees == "state" and not embodiments.state_dimension:
            raise UserError(f"the embodiment {name!r} has no state to learn from")
        self.cameras = tuple(slots)
        encoders = {name: build_encoder(config.encoder, size) for name, size in slots.items()}
        self.encoders = NamedModules(encoders)
        self.read = NamedModules(
            {name: _readout(each.width, config.width) for name, each in encoders.items()}
        )
        widths = [config.width or each.width for each in encoders.values()]
        self.embedding_dimension = sum(widths) if slots else embodiments.state_dimension

    def load_pretrained(self) -> tuple[str, ...]:
        """See `TrainableModel.load_pretrained`: weights of the image encoders."""
        return ("encoders.",) if load_encoders(self.config.encoder, self.encoders.values()) else ()

    def visual_features(
        self, images: UInt8[Tensor, "n c h w"], camera: str
    ) -> Float[Tensor, "n 1 d"]:
        """See `ImageModel.visual_features`: a camera's embedding, as one token."""
        # The mean over patches; a keypoint encoder has one token, which stays as it is.
        return self.read[camera](self.encoders[camera](images).mean(dim=1))[:, None]

    def embed(self, batch: Batch) -> Float[Tensor, "b t e"]:
        """Return every step's embedding. The batch may bring it as features."""
        if self.config.sees == "state":
            return batch.state
        if batch.features:
            # Cached features are in float16, as one token each.
            tokens = [batch.features[name][:, :, 0].float() for name in self.cameras]
        else:
            tokens = [self._of_camera(batch.images[name], name) for name in self.cameras]
        return torch.cat(tokens, dim=-1)

    def _of_camera(self, images: UInt8[Tensor, "b t c h w"], name: str) -> Float[Tensor, "b t d"]:
        """Return a camera's embedding of all steps."""
        frames, shape = pack([images], "* c h w")
        features = rearrange(self.visual_features(frames, name), "n 1 d -> n d")
        (embedding,) = unpack(features, shape, "* d")
        return embedding


def _readout(encoded: int, width: int) -> nn.Module:
    """Return the layers from the mean of the encoder's tokens to the embedding."""
    if not width:
        return nn.Identity()
    return nn.Sequential(nn.Linear(encoded, width), nn.LayerNorm(width), nn.Tanh())
