"""Image encoders: uint8 pixels to patch tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.models.frozen_images import EFFICIENTNET, FrozenImages
from manyparts.nn.spatial_softmax import SpatialSoftmax
from manyparts.nn.transformer import Block


@dataclass(frozen=True)
class ConvEncoderConfig:
    """A convolutional stem for small images. layers: (channels, kernel, stride) each."""

    width: int = 64
    layers: tuple[tuple[int, int, int], ...] = ((32, 8, 4), (64, 4, 2))


@dataclass(frozen=True)
class ViTConfig:
    """A vision transformer (Dosovitskiy et al. 2021).

    pretrained: a `transformers` ViT's folder or Hub id to start from.
    """

    width: int = 768
    patch: int = 16
    layers: int = 12
    heads: int = 12
    dropout: float = 0.0
    pretrained: str | None = None


@dataclass(frozen=True)
class KeypointEncoderConfig:
    """Convolutions without padding, a linear map to `maps` features, and where in the picture each
    of these is: the encoder of "Inverse Dynamics Pretraining" (Brandfonbrener et al. 2023). layers:
    (channels, kernel, stride) each."""

    maps: int = 256
    layers: tuple[tuple[int, int, int], ...] = ((32, 3, 2), (64, 3, 2), (128, 3, 1), (256, 3, 1))


@dataclass(frozen=True)
class FrozenImagesConfig:
    """An encoder that others trained, as it is. source, size: see `FrozenImages`."""

    source: str = EFFICIENTNET
    size: int = 224

    def __post_init__(self) -> None:
        if not 32 <= self.size <= 1024:
            raise UserError(f"model.encoder.size is {self.size}; expected 32 to 1024 pixels")


EncoderConfig = ConvEncoderConfig | ViTConfig | KeypointEncoderConfig | FrozenImagesConfig


def build_encoder(config: EncoderConfig, size: tuple[int, int]) -> Encoder:
    """An encoder of images of `size` (height, width) pixels: uint8 (n, 3, h, w) to (n, patches, d).

    Its `width` is d, its `grid` the rows and columns of its patches.
    """
    if isinstance(config, FrozenImagesConfig):
        return FrozenImages(config.source, config.size)
    if isinstance(config, ViTConfig):
        return ViT(config.width, config.patch, config.layers, config.heads, config.dropout, size)
    if isinstance(config, KeypointEncoderConfig):
        return KeypointEncoder(config.maps, config.layers, size)
    return ConvEncoder(config.width, config.layers, size)


def pixels(images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Pixel values 0..255 to -1..1."""
    return images.float().div_(127.5).sub_(1)


def coordinates(
    height: int, width: int, dimension: int, *, octaves: float = 3.0
) -> Float[Tensor, "p d"]:
    """Sines and cosines of both coordinates of each cell of a grid, the coarsest with a period of
    twice its side.

    Any run of 16 channels holds both coordinates, coarse and fine, so that one map of a
    TokenLearner, which reads some channels only, tells where it looks.
    """
    if dimension % 4:
        raise ValueError(f"dimension {dimension} is not a multiple of 4")
    frequencies = torch.pi / 2 * 2 ** torch.linspace(0, octaves, dimension // 4)
    frequencies = rearrange(
        frequencies, "(fine coarse) -> (coarse fine)", fine=math.gcd(4, dimension // 4)
    )

    def waves(cells: int) -> Tensor:
        angles = ((torch.arange(cells) + 0.5) / cells * 2 - 1)[:, None] * frequencies
        return torch.stack([angles.sin(), angles.cos()], dim=-1)

    rows, columns = waves(height)[:, None], waves(width)[None]
    grid = torch.cat([rows.expand(-1, width, -1, -1), columns.expand(height, -1, -1, -1)], dim=-1)
    return rearrange(grid, "h w f waves -> (h w) (f waves)")


class ConvEncoder(nn.Module):
    """Convolutions, then a linear map to tokens with learned positions.

    Positions begin as sines and cosines of the coordinates, as large as the features: a pooled
    token then says where something is from the first step on. Small random ones leave the
    localisation of small goals at chance for long.
    """

    def __init__(self, width: int, layers: tuple[tuple[int, int, int], ...], size: tuple[int, int]):
        super().__init__()
        stack: list[nn.Module] = []
        channels, (height, breadth) = 3, size
        for channels_out, kernel, stride in layers:
            padding = (kernel - stride + 1) // 2 if kernel > stride else 0
            stack += [nn.Conv2d(channels, channels_out, kernel, stride, padding), nn.GELU()]
            channels = channels_out
            height, breadth = ((n + 2 * padding - kernel) // stride + 1 for n in (height, breadth))
        if min(height, breadth) < 1:
            raise _too_small(size)
        self.size, self.width = size, width
        self.convolutions = nn.Sequential(*stack)
        self.project = nn.Linear(channels, width)
        self.grid = (height, breadth)
        self.position_embedding = nn.Parameter(coordinates(height, breadth, width))

    def forward(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n p d"]:
        assert tuple(images.shape[-2:]) == self.size, (tuple(images.shape), self.size)
        features = rearrange(self.convolutions(pixels(images)), "n c h w -> n (h w) c")
        return self.project(features) + self.position_embedding


class KeypointEncoder(nn.Module):
    """One token: the coordinates of every feature map's keypoint.

    Channels lie last in memory, which is a quarter faster on a CPU.
    """

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
        self.convolutions = nn.Sequential(*stack).to(memory_format=torch.channels_last)  # pyright: ignore
        self.keypoints = SpatialSoftmax(height, width)

    def forward(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n 1 d"]:
        assert tuple(images.shape[-2:]) == self.size, (tuple(images.shape), self.size)
        frames = images.contiguous(memory_format=torch.channels_last)
        return self.keypoints(self.convolutions(pixels(frames)))[:, None]


class ViT(nn.Module):
    """A vision transformer; its class token takes part and is dropped at the end, as patch tokens
    are what is asked."""

    def __init__(
        self, width: int, patch: int, layers: int, heads: int, dropout: float, size: tuple[int, int]
    ):
        super().__init__()
        if size[0] % patch or size[1] % patch:
            raise UserError(
                f"image size {size[0]}x{size[1]} is not a multiple of the patch size {patch}"
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

    def forward(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n p d"]:
        assert tuple(images.shape[-2:]) == self.size, (tuple(images.shape), self.size)
        patches = self._embed_patches(pixels(images))
        x = (
            torch.cat([self.class_token.expand(len(patches), -1, -1), patches], dim=1)
            + self.position_embedding
        )
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 1:]

    def _embed_patches(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p d"]:
        """The convolution as one matrix product, since its patches do not overlap: much faster to
        differentiate."""
        height, width = self.patch_embedding.kernel_size
        patches = rearrange(images, "n c (y h) (x w) -> n (y x) (c h w)", h=height, w=width)
        return F.linear(patches, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)


def _too_small(size: tuple[int, int]) -> UserError:
    return UserError(
        f"an image of {size[0]}x{size[1]} pixels is too small for this encoder's strides"
    )


Encoder = ConvEncoder | KeypointEncoder | ViT | FrozenImages
