"""What a training run is: one frozen record, which methods compose and the loop reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from manyparts.core.arguments import set_by_replace
from manyparts.core.errors import UserError
from manyparts.core.printing import shown_short
from manyparts.core.records import Precision
from manyparts.core.serialisation import require_types
from manyparts.data.sampling.windows import WindowConfig
from manyparts.data.tools.quality import Measure
from manyparts.objectives.base import ObjectiveConfig
from manyparts.objectives.system import ModelConfig, sees_images


@set_by_replace
@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW under a warm-up and a cosine."""

    learning_rate: float = 3e-4
    """The highest learning rate, reached after the warm-up."""

    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of the averages of gradients and of their squares."""

    weight_decay: float = 0.1
    """Of matrices; norms, biases and embeddings have none."""

    clip_norm: float = 1.0
    """The largest norm of all gradients together."""

    warmup_steps: int = 100
    """Steps in which the learning rate rises from zero in a line."""

    final_fraction: float = 0.1
    """The learning rate at the last step, as a part of the highest."""

    accumulation: int = 1
    """Parts into which a batch is cut to save memory; each counts alike."""

    def __post_init__(self) -> None:
        require_types(self)
        _require("optimizer.learning_rate", self.learning_rate, self.learning_rate > 0, "above 0")
        _require("optimizer.weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
        _require("optimizer.clip_norm", self.clip_norm, self.clip_norm > 0, "above 0")
        _require("optimizer.warmup_steps", self.warmup_steps, self.warmup_steps >= 0, "at least 0")
        _require(
            "optimizer.final_fraction",
            self.final_fraction,
            0 <= self.final_fraction <= 1,
            "in [0, 1]",
        )
        _require("optimizer.accumulation", self.accumulation, self.accumulation >= 1, "at least 1")


@set_by_replace
@dataclass(frozen=True)
class CurationConfig:
    """Which demonstrations are left out, by what `manyparts data info --quality` measures."""

    measure: Measure = "divergence"
    """What is bad: others act differently (divergence), all is known already (diversity), nothing
    moves (idle), the way leads back (extraneous)."""

    drop: float = 0.0
    """Share of each task's demonstrations that goes, the worst first."""

    def __post_init__(self) -> None:
        require_types(self)
        _require("curation.drop", self.drop, 0 <= self.drop < 1, "in [0, 1)")


@set_by_replace
@dataclass(frozen=True)
class AugmentationConfig:
    """Changes of a window's images and states, the same for all its steps; the defaults change
    nothing."""

    shift_pixels: int = 0
    """Largest random shift, in pixels."""

    resized_crop: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest part of the side that is kept and stretched back."""

    brightness: float = 0.0
    """Largest relative change of brightness."""

    each_step: bool = False
    """Change the image of every step in its own way, not all of a window alike."""

    state_noise: float = 0.0
    """Standard std of an offset of the state, in standard deviation of the data. An exact state
    names the demonstration it comes from, and the policy learns these by heart instead of
    looking."""

    def __post_init__(self) -> None:
        require_types(self)
        _require(
            "augmentation.shift_pixels", self.shift_pixels, self.shift_pixels >= 0, "at least 0"
        )
        low, high = self.resized_crop
        _require(
            "augmentation.resized_crop",
            self.resized_crop,
            0 < low <= high <= 1,
            "0 < low <= high <= 1",
        )
        _require("augmentation.brightness", self.brightness, 0 <= self.brightness < 1, "in [0, 1)")
        _require("augmentation.state_noise", self.state_noise, self.state_noise >= 0, "at least 0")

    @property
    def changes_images(self) -> bool:
        return replace(self, state_noise=0.0) != AugmentationConfig()


@set_by_replace
@shown_short
@dataclass(frozen=True)
class TrainConfig:
    """One run: a phase of a method."""

    method: str
    """The method's name, for people."""

    phase: str
    """The phase's name, for people."""

    window: WindowConfig
    model: ModelConfig
    objectives: Mapping[str, ObjectiveConfig]
    """Losses by name, each with its weight."""

    train_only: tuple[str, ...] = ()
    """Patterns of the parameters that are trained; all others are frozen. Empty: all are
    trained."""

    freeze_untrained: bool = False
    """Allow train_only to freeze parameters that nothing has trained: random features, as a
    baseline."""

    new_parameters: tuple[str, ...] = ()
    """Patterns of parameters that the run we start from may lack."""

    cache_features: bool = False
    """Compute the visual tokens of frozen encoders once, for the whole dataset, and train on
    these."""

    buffer_frames: int = 0
    """0: decode the whole dataset to the disk once. N: fetch, decode and shuffle about N frames at
    a time, which suits a dataset that is larger than the disk, or lies elsewhere."""

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    steps: int = 1000
    """Optimiser steps."""

    batch_size: int = 64
    """Windows an optimiser step, whatever the processes and the accumulation."""

    ema_decay: float = 0.0
    """Decay a step of the average of weights that is evaluated; 0: the weights themselves are."""

    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    curation: CurationConfig = field(default_factory=CurationConfig)
    precision: Precision = "fp32"
    """bf16: matrix products in bfloat16, weights and losses in float32; all in float32 where a CPU
    has no instructions for it."""

    compile: bool = False
    """Compile transformer blocks and keypoint encoders with torch.compile; needs a C++ compiler on
    a CPU."""

    processes: int = 1
    """Processes that share each batch, on a CPU; other devices use one. Under torchrun its own
    number counts."""

    sharding: Literal["none", "fsdp"] = "none"
    """What each process holds where several train: none: all weights; fsdp: its part of weights,
    gradients and optimiser state."""

    validation_fraction: float = 0.05
    """Part of each task's episodes that is held out for the validation loss."""

    validate_every_steps: int = 200
    """Steps between validation losses."""

    checkpoint_every_steps: int = 200
    """Steps between checkpoints: the most that a kill can cost."""

    log_every_steps: int = 20
    """Steps between rows of metrics.jsonl, over which losses are averaged."""

    seed: int = 0
    """Of initial weights, order of windows, dropout, masks and augmentation."""

    def __post_init__(self) -> None:
        require_types(self)
        _require("objectives", dict(self.objectives), bool(self.objectives), "at least one loss")
        for name in ("steps", "batch_size", "processes"):
            _require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("validate_every_steps", "checkpoint_every_steps", "log_every_steps"):
            _require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        _require("buffer_frames", self.buffer_frames, self.buffer_frames >= 0, "at least 0")
        alone = not (self.buffer_frames and (self.cache_features or self.curation.drop))
        expected = (
            "0 with cache_features or curation, which go through the whole dataset before training"
        )
        _require("buffer_frames", self.buffer_frames, alone, expected)
        cached = not (self.cache_features and not sees_images(self.model))
        _require(
            "cache_features", self.cache_features, cached, "False for a model that sees no images"
        )
        _require("ema_decay", self.ema_decay, 0 <= self.ema_decay < 1, "in [0, 1)")
        _require(
            "validation_fraction",
            self.validation_fraction,
            0 <= self.validation_fraction < 1,
            "in [0, 1)",
        )
        parts = self.processes * self.optimizer.accumulation
        expected = f"a multiple of processes x accumulation = {parts}"
        _require("batch_size", self.batch_size, self.batch_size % parts == 0, expected)


def require_config(config: object) -> None:
    """Raises UserError for anything but a `TrainConfig`, such as the name of a preset."""
    if not isinstance(config, TrainConfig):
        name = (
            f"preset({config!r})" if isinstance(config, str) else 'preset("dualmind/phase1-laptop")'
        )
        raise UserError(f"config is {config!r}; expected a TrainConfig, such as manyparts.{name}")


def _require(name: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise UserError(f"{name} is {value!r}; expected {expected}")
