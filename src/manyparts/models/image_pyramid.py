"""Images of any size to one vector and back, by convolutions that halve the size (Dreamer)."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.nn.linear import Linear

_SMALLEST = 4  # sides are halved while they stay at least this long, in pixels


def sizes_of(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the (height, width) of an image and of each halving of it, the largest first.

    Raises:
        UserError: The image is too small to be halved once.
    """
    sizes = [size]
    while min(sizes[-1]) >= 2 * _SMALLEST:
        height, width = sizes[-1]
        sizes.append((height // 2, width // 2))
    if len(sizes) == 1:
        raise UserError(
            f"an image of {size[0]}x{size[1]} pixels is too small for a world model; "
            f"expected at least {2 * _SMALLEST} pixels a side"
        )
    return sizes


def centred(images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Return pixel values 0 to 255 as -0.5 to 0.5."""
    return images.float().div_(255).sub_(0.5)


class ImageEncoder(nn.Module):
    """4x4 convolutions of stride 2. Channels double each time.

    Args:
        size: Height and width of the images, in pixels.
        depth: Channels after the first convolution.

    Attributes:
        width: Numbers of an image's vector.
    """

    def __init__(self, size: tuple[int, int], depth: int):
        super().__init__()
        sizes = sizes_of(size)
        stack: list[nn.Module] = []
        channels = 3
        for number in range(len(sizes) - 1):
            stack += [nn.Conv2d(channels, depth * 2**number, 4, 2, padding=1), nn.SiLU()]
            channels = depth * 2**number
        # Channels last in memory are faster on a CPU.
        self.convolutions = nn.Sequential(*stack).to(memory_format=torch.channels_last)  # pyright: ignore
        self.size, self.width = size, channels * sizes[-1][0] * sizes[-1][1]

    def forward(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n e"]:
        """Return one vector per image."""
        assert tuple(images.shape[-2:]) == self.size, (tuple(images.shape), self.size)
        frames = centred(images).contiguous(memory_format=torch.channels_last)
        return self.convolutions(frames).flatten(1)


class ImageDecoder(nn.Module):
    """The way back: transposed convolutions. Channels halve each time.

    Args:
        features: Numbers of the vector that an image is predicted from.
        size: Height and width of the images, in pixels.
        depth: As in `ImageEncoder`.
    """

    def __init__(self, features: int, size: tuple[int, int], depth: int):
        super().__init__()
        self.sizes = sizes_of(size)[::-1]
        count = len(self.sizes) - 1
        self.channels = depth * 2 ** (count - 1)
        self.enter = Linear(features, self.channels * self.sizes[0][0] * self.sizes[0][1])
        channels = [depth * 2**number for number in reversed(range(count))]
        channels = [self.channels, *channels[1:], 3]
        layers = []
        for number in range(count):
            # A side of n pixels was halved to n // 2; the padding gives an odd side back its last.
            (height, width), (small_height, small_width) = (
                self.sizes[number + 1],
                self.sizes[number],
            )
            odd = (height - 2 * small_height, width - 2 * small_width)
            layers.append(
                nn.ConvTranspose2d(
                    channels[number], channels[number + 1], 4, 2, padding=1, output_padding=odd
                )
            )
        self.layers = nn.ModuleList(layers).to(memory_format=torch.channels_last)  # pyright: ignore

    def forward(self, features: Float[Tensor, "n f"]) -> Float[Tensor, "n c h w"]:
        """Return images as `centred` makes them."""
        height, width = self.sizes[0]
        x = rearrange(self.enter(features), "n (c h w) -> n c h w", h=height, w=width)
        x = x.contiguous(memory_format=torch.channels_last)
        for number, layer in enumerate(self.layers):
            # The first layer reads the linear map, the others what the one before drew.
            x = layer(F.silu(x) if number else x)
        return x
