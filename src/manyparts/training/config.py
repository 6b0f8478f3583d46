"""Configs of a training run, which methods compose and the loop reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from manyparts.core.arguments import expect, set_by_replace
from manyparts.core.errors import UserError
from manyparts.core.printing import shown_short
from manyparts.core.records import Precision
from manyparts.core.serialisation import require_types
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.tools.measures import Measure
from manyparts.models.configs import ModelConfig, cacheable_encoder
from manyparts.models.dynamics.configs import LatentWorldConfig
from manyparts.objectives.configs import ObjectiveConfig


@set_by_replace
@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, with a learning rate that rises in a warm-up and falls along half a cosine."""

    learning_rate: float = 3e-4
    """The highest learning rate, reached after the warm-up."""

    betas: tuple[float, float] = (0.9, 0.95)
    """Decay per step of the running means of gradients and of their squares, each in [0, 1)."""

    weight_decay: float = 0.1
    """Weight decay of matrices; norms, biases and embeddings have none."""

    clip_norm: float = 1.0
    """Largest norm of all gradients together; larger ones are scaled down to it."""

    warmup_steps: int = 100
    """Steps over which the learning rate rises linearly from zero."""

    final_fraction: float = 0.1
    """Learning rate at the last step, as a fraction of the highest, in [0, 1]."""

    accumulation: int = 1
    """Equal parts into which each batch is cut to save memory."""

    rates: tuple[tuple[str, float], ...] = ()
    """Patterns of names of parameters, each with the factor of their learning rate, such as
    objectives.actor_critic.* 0.5; of several that match, the first one counts."""

    def __post_init__(self) -> None:
        require_types(self)
        expect("optimizer.learning_rate", self.learning_rate, self.learning_rate > 0, "above 0")
        decays = all(0 <= beta < 1 for beta in self.betas)
        expect("optimizer.betas", self.betas, decays, "each in [0, 1)")
        expect("optimizer.weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
        expect("optimizer.clip_norm", self.clip_norm, self.clip_norm > 0, "above 0")
        expect("optimizer.warmup_steps", self.warmup_steps, self.warmup_steps >= 0, "at least 0")
        expect(
            "optimizer.final_fraction",
            self.final_fraction,
            0 <= self.final_fraction <= 1,
            "in [0, 1]",
        )
        expect("optimizer.accumulation", self.accumulation, self.accumulation >= 1, "at least 1")
        positive = all(factor > 0 for _, factor in self.rates)
        expect("optimizer.rates", self.rates, positive, "factors above 0")


@set_by_replace
@dataclass(frozen=True)
class CurationConfig:
    """Which demonstrations are left out, by what `manyparts data info --quality` measures."""

    measure: Measure = "divergence"
    """What makes a demonstration bad: it acts unlike the others (divergence), shows nothing new
    (diversity), does not move (idle), or takes detours (extraneous)."""

    drop: float = 0.0
    """Fraction of each task's demonstrations to leave out, the worst first, in [0, 1)."""

    def __post_init__(self) -> None:
        require_types(self)
        expect("curation.drop", self.drop, 0 <= self.drop < 1, "in [0, 1)")


@set_by_replace
@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes of a window's images and states, the same for all its steps.

    The defaults change nothing.
    """

    shift_pixels: int = 0
    """Largest random shift of an image along each axis, in pixels."""

    resized_crop: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest fraction of an image's side to crop, which is stretched back to full
    size, in (0, 1]."""

    brightness: float = 0.0
    """Largest relative change of brightness, in [0, 1)."""

    each_step: bool = False
    """Change the image of every step in its own way, instead of all images of a window equally."""

    state_noise: float = 0.0
    """Std of a random offset of the states, in stds of the data. Exact states identify a
    demonstration, so that a policy learns demonstrations by heart instead of using the images."""

    def __post_init__(self) -> None:
        require_types(self)
        expect("augmentation.shift_pixels", self.shift_pixels, self.shift_pixels >= 0, "at least 0")
        low, high = self.resized_crop
        expect(
            "augmentation.resized_crop",
            self.resized_crop,
            0 < low <= high <= 1,
            "0 < low <= high <= 1",
        )
        expect("augmentation.brightness", self.brightness, 0 <= self.brightness < 1, "in [0, 1)")
        expect("augmentation.state_noise", self.state_noise, self.state_noise >= 0, "at least 0")

    @property
    def changes_images(self) -> bool:
        """Whether any field but `state_noise` is on."""
        return replace(self, state_noise=0.0) != AugmentationConfig()


@set_by_replace
@dataclass(frozen=True)
class OnlineConfig:
    """How a run acts and learns at once. Steps are environment steps."""

    environment_steps: int = 30_000
    """Steps of all environments together, with those of the prefill."""

    prefill_steps: int = 1000
    """Steps that are acted before anything is learned; whole episodes, at least one. Of a dataset
    all its episodes are taken, and none is acted."""

    train_ratio: float = 128.0
    """Steps that are replayed in training per collected environment step. A held action is replayed
    as one step. Windows count whole, also where they run past an episode's end."""

    action_repeat: int | None = None
    """Environment steps for which an action is held; none for as many as in the sources or the
    data of the teachers, 1 without any."""

    environments: int = 1
    """Environments that are acted in, in turn."""

    source_windows: int = 0
    """Windows of the sources that are added to each batch, of each source in turn."""

    replay_frames: int = 1_000_000
    """Decisions, not environment steps, that are kept to draw from; the oldest whole episodes go
    first."""

    evaluate_every_steps: int = 2000
    """Steps between evaluations on validation starts."""

    evaluation_episodes: int = 5
    """Episodes of each of these evaluations."""

    final_episodes: int = 20
    """Episodes on evaluation starts at the end; 0: none."""

    def __post_init__(self) -> None:
        require_types(self)
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None:
                continue
            may_be_zero = item.name in ("prefill_steps", "final_episodes", "source_windows")
            expected = "at least 0" if may_be_zero else "above 0"
            expect(
                f"online.{item.name}", value, value > 0 or (may_be_zero and value == 0), expected
            )
        expect(
            "online.environment_steps",
            self.environment_steps,
            self.environment_steps > self.prefill_steps,
            f"more than the prefill's {self.prefill_steps}",
        )

    def updates(self, environment_steps: int, replayed: int) -> int:
        """How many optimiser steps are due after so many environment steps.

        Args:
            environment_steps: since the beginning.
            replayed: steps that an optimiser step replays: windows times their length.
        """
        learned = max(0, environment_steps - self.prefill_steps)
        return math.floor(learned * self.train_ratio / replayed)

    def owed(self, update: int, replayed: int) -> int:
        """How many environment steps come before an optimiser step, counted from 0, so that the
        ratio holds after it; see `updates`."""
        return self.prefill_steps + math.ceil((update + 1) * replayed / self.train_ratio)


@set_by_replace
@shown_short
@dataclass(frozen=True)
class TrainConfig:
    """One run: a phase of a method."""

    method: str
    """Name of the method, for people."""

    phase: str
    """Name of the method's phase, for people."""

    window: WindowConfig
    """What a model sees of an episode at once."""

    model: ModelConfig
    """The model and its sizes."""

    objectives: Mapping[str, ObjectiveConfig]
    """Losses by name, each with its weight."""

    train_only: tuple[str, ...] = ()
    """Patterns of the names of parameters that are trained, such as model.blocks.*; all others are
    frozen. Empty, or '*' on the command line: all are trained."""

    freeze_untrained: bool = False
    """Allow train_only to freeze parameters that nothing has trained, as a baseline with random
    features."""

    new_parameters: tuple[str, ...] = ()
    """Patterns of the names of parameters that the run to start from may lack."""

    cache_features: bool = False
    """Compute the visual tokens of frozen encoders once for the whole dataset, and train on these
    instead of images."""

    buffer_frames: int = 0
    """0: decode the whole dataset to the disk once. N: fetch, decode and shuffle about N frames at
    a time, for a dataset that is remote or larger than the disk."""

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """AdamW and its schedule."""

    steps: int = 1000
    """Number of optimiser steps."""

    batch_size: int = 64
    """Windows per optimiser step, shared by all processes and all parts of the accumulation."""

    ema_decay: float = 0.0
    """Decay per step of the moving average of weights that is saved and evaluated, in [0, 1); 0:
    the weights themselves are."""

    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    """Random changes of images and states."""

    curation: CurationConfig = field(default_factory=CurationConfig)
    """Which demonstrations are left out."""

    precision: Precision = "fp32"
    """fp32: float32 throughout. bf16: matrix products in bfloat16, weights and losses in float32; a
    CPU without instructions for bfloat16 uses fp32. Worlds of latent states need fp32."""

    compile: bool = False
    """Compile transformer blocks and keypoint encoders with torch.compile; needs a C++ compiler on
    a CPU."""

    processes: int = 1
    """Processes that share each batch on a CPU; other devices use one. Under torchrun, its number
    of processes is used instead."""

    sharding: Literal["none", "fsdp"] = "none"
    """What each of several processes holds. none: all weights. fsdp: its part of weights, gradients
    and optimiser state."""

    validation_fraction: float = 0.05
    """Fraction of each task's episodes that is held out for the validation loss, in [0, 1)."""

    validate_every_steps: int = 200
    """Steps between validation losses."""

    checkpoint_every_steps: int = 200
    """Steps between checkpoints; a run that is killed loses at most this many."""

    log_every_steps: int = 20
    """Steps between rows of metrics.jsonl; each row has the means over these steps."""

    log_gradients: bool = False
    """Also log the norm of each loss's own gradient, measured once per row, which costs about the
    time of one more step."""

    seed: int = 0
    """Seed of initial weights, order of windows, dropout, masks and augmentation."""

    new_embodiment: bool = False
    """Give the trunk of the run to start from (--from) to the robot of the data: its cameras, state
    and actions get fresh tokens and heads, which are trained whatever train_only says."""

    online: OnlineConfig | None = None
    """How the run acts in an environment while it learns; None: it learns from datasets alone."""

    def __post_init__(self) -> None:
        require_types(self)
        expect("objectives", dict(self.objectives), bool(self.objectives), "at least one loss")
        for name, objective in self.objectives.items():
            weight = objective.weight
            holds = 0 <= weight < math.inf
            expect(f"objectives.{name}.weight", weight, holds, "a finite number of at least 0")
        for name in ("steps", "batch_size", "processes"):
            expect(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("validate_every_steps", "checkpoint_every_steps", "log_every_steps"):
            expect(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        expect("buffer_frames", self.buffer_frames, self.buffer_frames >= 0, "at least 0")
        reads_all_before = self.cache_features or self.curation.drop > 0
        streams = not (self.buffer_frames and reads_all_before)
        expected = (
            "0 with cache_features or curation, which go through the whole dataset before training"
        )
        expect("buffer_frames", self.buffer_frames, streams, expected)
        cacheable = not self.cache_features or cacheable_encoder(self.model) is not None
        expect(
            "cache_features",
            self.cache_features,
            cacheable,
            "False for a model that sees no images",
        )
        keeps_encoders = not (self.cache_features and self.new_embodiment)
        expected = "False with new_embodiment, which trains encoders: --no-cache-features"
        expect("cache_features", self.cache_features, keeps_encoders, expected)
        if self.online is not None:
            for name, usual in (
                ("buffer_frames", 0),
                ("cache_features", False),
                ("curation", CurationConfig()),
                ("new_embodiment", False),
                ("validation_fraction", 0.0),
            ):
                value = getattr(self, name)
                expected = f"{usual!r} for a run that acts, since it is for learning from datasets"
                expect(name, value, value == usual, expected)
        # Its states are carried on for many steps, and a discount of 0.999 would be rounded to 1.
        carries = isinstance(self.model, LatentWorldConfig) and self.precision == "bf16"
        expect("precision", self.precision, not carries, "fp32 for a world of latent states")
        # One process alone logs, and sharded weights are gathered by all.
        logged = not (self.log_gradients and self.sharding == "fsdp")
        expected = "False with sharding fsdp: --no-log-gradients"
        expect("log_gradients", self.log_gradients, logged, expected)
        expect("ema_decay", self.ema_decay, 0 <= self.ema_decay < 1, "in [0, 1)")
        expect(
            "validation_fraction",
            self.validation_fraction,
            0 <= self.validation_fraction < 1,
            "in [0, 1)",
        )
        # Every part of every process's batch has the same number of windows.
        parts = self.processes * self.optimizer.accumulation
        expected = f"a multiple of processes x accumulation = {parts}"
        expect("batch_size", self.batch_size, self.batch_size % parts == 0, expected)


def require_config(config: object) -> None:
    """Raises UserError for anything but a `TrainConfig`, such as the name of a preset."""
    if not isinstance(config, TrainConfig):
        name = repr(config) if isinstance(config, str) else '"dualmind/phase1-laptop"'
        raise UserError(
            f"config is {config!r}; expected a TrainConfig, such as manyparts.preset({name})"
        )
