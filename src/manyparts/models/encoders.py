"""Image encoders: uint8 pixels to patch tokens.

Dimensions: n images of h x w pixels with c channels, p patches, d numbers per token.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.models.configs import (
    EncoderConfig,
    FrozenImagesConfig,
    KeypointEncoderConfig,
    ViTConfig,
)
from manyparts.models.frozen_images import FrozenImages
from manyparts.nn.linear import Linear
from manyparts.nn.spatial_softmax import SpatialSoftmax
from manyparts.nn.transformer import Block

PRETRAINED_EPSILON = 1e-12
"""Of the layers' normalisation in `transformers`' vision transformers."""


def build_encoder(config: EncoderConfig, size: tuple[int, int]) -> Encoder:
    """Return an image encoder, which maps uint8 (n, 3, h, w) to (n, p, d).

    Its `width` is d, its `grid` the rows and columns of its patches.

    Args:
        config: Which encoder.
        size: Height and width of the images, in pixels.

    Raises:
        UserError: The images are too small or do not fit the patches, or a package or pretrained
            weights are missing.
    """
    if isinstance(config, FrozenImagesConfig):
        return FrozenImages(config.source, config.size)
    if isinstance(config, ViTConfig):
        return ViT(
            config.width,
            config.patch,
            config.layers,
            config.heads,
            config.dropout,
            size,
            # No weight, but what is learned depends on it.
            epsilon=PRETRAINED_EPSILON if config.pretrained else None,
        )
    if isinstance(config, KeypointEncoderConfig):
        return KeypointEncoder(config.maps, config.layers, size)
    return ConvEncoder(config.width, config.layers, size)


def pixels(images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Return pixel values 0 to 255 as -1 to 1."""
    return images.float().div_(127.5).sub_(1)


def coordinates(
    height: int, width: int, dimension: int, *, octaves: float = 3.0
) -> Float[Tensor, "p d"]:
    """Return sines and cosines of both coordinates of each cell of a grid.

    Args:
        height: Rows of the grid.
        width: Columns of the grid.
        dimension: Channels; a multiple of 4.
        octaves: Range of the waves. The coarsest has a period of twice the grid's side, the finest
            a period that is 2**octaves times shorter.
    """
    if dimension % 4:
        raise ValueError(f"dimension {dimension} is not a multiple of 4")
    frequencies = torch.pi / 2 * 2 ** torch.linspace(0, octaves, dimension // 4)
    # Coarse and fine frequencies alternate, so that any run of 16 channels holds both coordinates
    # at several scales: one map of a TokenLearner reads such a part of the channels only, and its
    # token still says where it looks.
    frequencies = rearrange(
        frequencies, "(fine coarse) -> (coarse fine)", fine=math.gcd(4, dimension // 4)
    )

    def waves(cells: int) -> Tensor:  # (cells, frequencies, 2)
        angles = ((torch.arange(cells) + 0.5) / cells * 2 - 1)[:, None] * frequencies
        return torch.stack([angles.sin(), angles.cos()], dim=-1)

    rows, columns = waves(height)[:, None], waves(width)[None]
    grid = torch.cat([rows.expand(-1, width, -1, -1), columns.expand(height, -1, -1, -1)], dim=-1)
    return rearrange(grid, "h w f waves -> (h w) (f waves)")


class ConvEncoder(nn.Module):
    """Convolutions, then a linear map to tokens with learned positions.

    Positions start as sines and cosines of the coordinates, as large as the features: a pooled
    token then says where something is from the first training step on. With small random ones the
    localisation of small goals stays at chance for long.
    """

    def __init__(self, width: int, layers: tuple[tuple[int, int, int], ...], size: tuple[int, int]):
        super().__init__()
        stack: list[nn.Module] = []
        channels, (height, breadth) = 3, size
        for channels_out, kernel, stride in layers:
            # Where kernels overlap, padding keeps the grid as fine as the stride says.
            padding = (kernel - stride + 1) // 2 if kernel > stride else 0
            stack += [nn.Conv2d(channels, channels_out, kernel, stride, padding), nn.GELU()]
            channels = channels_out
            # The size of a convolution's output.
            height, breadth = ((n + 2 * padding - kernel) // stride + 1 for n in (height, breadth))
        if min(height, breadth) < 1:
            raise _too_small(size)
        self.size, self.width = size, width
        self.convolutions = nn.Sequential(*stack)
        self.project = Linear(channels, width)
        self.grid = (height, breadth)
        self.position_embedding = nn.Parameter(coordinates(height, breadth, width))

    def forward(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n p d"]:
        """Return the patch tokens of images."""
        assert tuple(images.shape[-2:]) == self.size, (tuple(images.shape), self.size)
        features = rearrange(self.convolutions(pixels(images)), "n c h w -> n (h w) c")
        return self.project(features) + self.position_embedding


class KeypointEncoder(nn.Module):
    """One token: the coordinates of every feature map's keypoint."""

    def __init__(self, maps: int, layers: tuple[tuple[int, int, int], ...], size: tuple[int, int]):
        super().__init__()
        stack: list[nn.Module] = []
        channels, (height, width) = 3, size
        for channels_out, kernel, stride in layers:
            stack += [nn.Conv2d(channels, channels_out, kernel, stride), nn.GELU()]
            channels = channels_out
            height, width = ((n - kernel) // stride + 1 for n in (height, width))
        if min(height, width) < 2:
            raise _too_small(size)
        self.size, self.grid, self.width = size, (1, 1), 2 * maps
        stack.append(nn.Conv2d(channels, maps, 1))
        # Channels last in memory are a quarter faster on a CPU.
        self.convolutions = nn.Sequential(*stack).to(memory_format=torch.channels_last)  # pyright: ignore
        self.keypoints = SpatialSoftmax(height, width)

    def forward(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n 1 d"]:
        """Return one token per image."""
        assert tuple(images.shape[-2:]) == self.size, (tuple(images.shape), self.size)
        # Images arrive channels first.
        frames = images.contiguous(memory_format=torch.channels_last)
        return self.keypoints(self.convolutions(pixels(frames)))[:, None]


class ViT(nn.Module):
    """A vision transformer. Its class token takes part and is dropped at the end.

    Args:
        width: See `ViTConfig`, as those that follow.
        patch: Side of a patch.
        layers: Of the transformer.
        heads: Per layer.
        dropout: Its probability.
        size: Height and width of the images, in pixels.
        epsilon: Of the layers' normalisation; None: PyTorch's own.
    """

    def __init__(
        self,
        width: int,
        patch: int,
        layers: int,
        heads: int,
        dropout: float,
        size: tuple[int, int],
        *,
        epsilon: float | None = None,
    ):
        super().__init__()
        if size[0] % patch or size[1] % patch:
            raise UserError(
                f"image size {size[0]}x{size[1]} is not a multiple of the patch size {patch}; "
                "set the encoder's patch to a divisor of both"
            )
        self.size, self.width = size, width
        self.grid = (size[0] // patch, size[1] // patch)
        self.patch_embedding = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_embedding = nn.Parameter(
            torch.randn(1 + self.grid[0] * self.grid[1], width) * 0.02
        )
        self.blocks = nn.ModuleList(Block(width, heads, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for part in self.modules():
            if isinstance(part, nn.LayerNorm) and epsilon is not None:
                part.eps = epsilon

    def forward(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n p d"]:
        """Return the patch tokens of images."""
        assert tuple(images.shape[-2:]) == self.size, (tuple(images.shape), self.size)
        patches = self._embed_patches(pixels(images))
        x = (
            # The class token is first, as in the weights of `transformers`.
            torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], dim=1)
            + self.position_embedding
        )
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 1:]

    def _embed_patches(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p d"]:
        """Return the convolution's output, with one row per patch."""
        # Patches do not overlap, so the convolution is one matrix product, which is much faster to
        # differentiate. The weight is (d, c, h, w), hence the order (c h w) of a patch's numbers.
        height, width = self.patch_embedding.kernel_size
        patches = rearrange(images, "n c (y h) (x w) -> n (y x) (c h w)", h=height, w=width)
        return F.linear(patches, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)


def _too_small(size: tuple[int, int]) -> UserError:
    """Return the error for images of which the convolutions leave nothing."""
    return UserError(
        f"an image of {size[0]}x{size[1]} pixels is too small for this encoder's strides; "
        "use larger images or smaller strides"
    )


Encoder = ConvEncoder | KeypointEncoder | ViT | FrozenImages
