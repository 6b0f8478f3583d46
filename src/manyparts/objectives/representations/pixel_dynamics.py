"""Explicit forward dynamics: the next frame's pixels from an embedding and an action."""

from __future__ import annotations

from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.core.records import Loss
from manyparts.models.encoders import pixels
from manyparts.models.representation import Representation
from manyparts.nn.mlp import mlp
from manyparts.nn.named import NamedModules
from manyparts.objectives.base import Objective, require_pairs
from manyparts.objectives.configs import PixelDynamicsConfig
from manyparts.objectives.representations.base import FramePasses, action_dimension

# Side of the coarsest map in cells.
_COARSEST_SIDE = 8


class PixelDynamics(Objective, config=PixelDynamicsConfig, model=Representation):
    """|| g(phi(o_t), e(a_t)) - o_{t+1} ||^2, averaged over pixels in [-1, 1] (explicit FD).

    Augmentation must not shift the frames of a window differently, or the loss measures the shifts.
    """

    def __init__(self, config: PixelDynamicsConfig, model: Representation):
        super().__init__()
        if model.config.sees != "images":
            raise UserError(
                f"pixel dynamics predicts images, but model.sees is {model.config.sees!r}; "
                "set it to 'images'"
            )
        self.config = config
        self.action = mlp([action_dimension(model), model.embedding_dimension])
        slots = {name: model.embodiments.slots[name] for name in model.cameras}
        inputs = 2 * model.embedding_dimension
        self.cameras = model.cameras
        self.decoders = NamedModules(
            {name: _Decoder(inputs, config.channels, size) for name, size in slots.items()}
        )

    def require_learnable(self, model: Representation) -> None:
        require_pairs(model.steps, "pixel dynamics")

    def predict(self, passes: FramePasses) -> dict[str, Float[Tensor, "b u c h w"]]:
        """The next frames of every camera, from the embeddings before and their actions."""
        inputs = torch.cat([passes.embedded, self.action(passes.executed)], dim=-1)[:, :-1]
        flat, shape = inputs.flatten(0, 1), inputs.shape[:2]
        return {name: self.decoders[name](flat).unflatten(0, shape) for name in self.cameras}

    def forward(self, passes: FramePasses) -> Loss:
        batch, errors = passes.batch, []
        for name, predicted in self.predict(passes).items():
            following = pixels(batch.images[name][:, 1:].flatten(0, 1))
            targets = following.unflatten(0, predicted.shape[:2])
            errors.append((predicted.float() - targets).square().mean(dim=(2, 3, 4)))
        # Cameras count equally, whatever their size in pixels.
        return Loss(torch.stack(errors).mean(dim=0), batch.mask[:, :-1] & batch.mask[:, 1:])


class _Decoder(nn.Module):
    """A vector to an image: a coarse map, doubled and convolved per layer, then resized."""

    def __init__(self, inputs: int, channels: tuple[int, ...], size: tuple[int, int]):
        super().__init__()
        self.size, self.channels = size, channels
        self.project = mlp([inputs, 256, channels[0] * _COARSEST_SIDE**2])
        doubling = [nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(channels)]
        self.convolutions = nn.ModuleList(doubling)
        self.paint = nn.Conv2d(channels[-1], 3, 3, padding=1)
        # Channels last in memory takes half the time on a CPU.
        self.to(memory_format=torch.channels_last)  # pyright: ignore

    def forward(self, inputs: Float[Tensor, "n d"]) -> Float[Tensor, "n 3 h w"]:
        side = _COARSEST_SIDE
        maps = rearrange(self.project(inputs), "n (c h w) -> n c h w", h=side, w=side)
        maps = maps.contiguous(memory_format=torch.channels_last)
        for convolution in self.convolutions:
            maps = F.gelu(convolution(F.interpolate(maps, scale_factor=2)))
        return self.paint(F.interpolate(maps, self.size, mode="bilinear"))
