"""One vector a frame: what representation learning trains, and what a small policy then reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from einops import pack, rearrange, unpack
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from manyparts.core.errors import UserError
from manyparts.core.records import Batch
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.encoders import EncoderConfig, KeypointEncoderConfig, build_encoder
from manyparts.models.pretrained import load_encoders
from manyparts.nn.named import NamedModules


@dataclass(frozen=True)
class RepresentationConfig:
    """encoder: of every camera. width: of a camera's embedding, a linear map of the mean of the
    encoder's tokens, then LayerNorm and tanh; 0: that mean itself, for encoders that come trained.

    sees: "images"; "state": the embedding is the normalised state, which no picture can tell better
    (a ceiling).
    """

    encoder: EncoderConfig = KeypointEncoderConfig()
    width: int = 64
    sees: Literal["images", "state"] = "images"

    def __post_init__(self) -> None:
        if self.sees not in ("images", "state"):
            raise UserError(f"model.sees is {self.sees!r}; choices: images, state")
        if self.width < 0:
            raise UserError(f"model.width is {self.width}; expected at least 0")


class Representation(nn.Module):
    """See the module. embodiments: one embodiment; chunk: actions a step; steps: observations a
    window.

    embedding_dimension: of all cameras together, or of the state. encoder_names: prefixes of the
    parameters that `visual_features` depends on.
    """

    prompt_encoder = None
    encoder_names = ("encoders.", "read.")

    def __init__(
        self, config: RepresentationConfig, embodiments: EmbodimentSet, *, chunk: int, steps: int
    ):
        super().__init__()
        if len(embodiments.specs) > 1:
            raise UserError(
                f"a representation is of one embodiment, not of {', '.join(embodiments.names)}"
            )
        self.config, self.embodiments, self.chunk, self.steps = config, embodiments, chunk, steps
        slots = embodiments.slots if config.sees == "images" else {}
        if config.sees == "images" and not slots:
            raise UserError(
                f"the embodiment {embodiments.names[0]!r} has no camera to learn a representation from"
            )
        if config.sees == "state" and not embodiments.state_dimension:
            raise UserError(f"the embodiment {embodiments.names[0]!r} has no state to learn from")
        self.cameras = tuple(slots)
        encoders = {name: build_encoder(config.encoder, size) for name, size in slots.items()}
        self.encoders = NamedModules(encoders)
        self.read = NamedModules(
            {name: _reading(each.width, config.width) for name, each in encoders.items()}
        )
        widths = [config.width or each.width for each in encoders.values()]
        self.embedding_dimension = sum(widths) if slots else embodiments.state_dimension

    def load_pretrained(self) -> tuple[str, ...]:
        """Start the encoders from the pretrained weights that the config names, if it names any.
        Returns prefixes of the parameters that were loaded."""
        return ("encoders.",) if load_encoders(self.config.encoder, self.encoders.values()) else ()

    def visual_features(
        self, images: UInt8[Tensor, "n c h w"], camera: str
    ) -> Float[Tensor, "n 1 d"]:
        """A camera's embedding of frames, as one token."""
        return self.read[camera](self.encoders[camera](images).mean(dim=1))[:, None]

    def embed(self, batch: Batch) -> Float[Tensor, "b t e"]:
        """Every step's embedding; of frozen encoders the batch may bring it as features."""
        if self.config.sees == "state":
            return batch.state
        if batch.features:
            tokens = [batch.features[name][:, :, 0].float() for name in self.cameras]
        else:
            tokens = [self._of_camera(batch.images[name], name) for name in self.cameras]
        return torch.cat(tokens, dim=-1)

    def _of_camera(self, images: UInt8[Tensor, "b t c h w"], name: str) -> Float[Tensor, "b t d"]:
        frames, shape = pack([images], "* c h w")
        (found,) = unpack(
            rearrange(self.visual_features(frames, name), "n 1 d -> n d"), shape, "* d"
        )
        return found


def _reading(encoded: int, width: int) -> nn.Module:
    if not width:
        return nn.Identity()
    return nn.Sequential(nn.Linear(encoded, width), nn.LayerNorm(width), nn.Tanh())
