"""Inverse dynamics pretraining (Brandfonbrener et al. 2023, arXiv 2305.16985) and its rivals.

An encoder is learned from many contexts' trajectories and frozen, then a small policy from a few
demonstrations of one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from manyparts.data.sampling.windows import WindowConfig
from manyparts.models.encoders import EncoderConfig, FrozenImagesConfig, KeypointEncoderConfig
from manyparts.models.representation import RepresentationConfig
from manyparts.objectives.base import ObjectiveConfig
from manyparts.objectives.representations.behaviour_cloning import EmbeddingCloningConfig
from manyparts.objectives.representations.contrastive_dynamics import ContrastiveDynamicsConfig
from manyparts.objectives.representations.contrastive_static import ContrastiveStaticConfig
from manyparts.objectives.representations.inverse_dynamics import EmbeddingInverseDynamicsConfig
from manyparts.objectives.representations.pixel_dynamics import PixelDynamicsConfig
from manyparts.training.config import AugmentationConfig, OptimizerConfig, TrainConfig

Size = Literal["debug", "laptop", "paper"]
POLICY = ("objectives.behaviour_cloning.*",)
FAR_STEPS = 5
TUNED_TEMPERATURE = 0.1
OBJECTIVES: dict[str, ObjectiveConfig] = {
    "inverse-dynamics": EmbeddingInverseDynamicsConfig(),
    "inverse-dynamics-far": EmbeddingInverseDynamicsConfig(),
    "cloning": EmbeddingCloningConfig(),
    "forward-pixels": PixelDynamicsConfig(),
    "forward-contrastive": ContrastiveDynamicsConfig(),
    "forward-contrastive-tuned": ContrastiveDynamicsConfig(temperature=TUNED_TEMPERATURE),
    "static-contrastive": ContrastiveStaticConfig(),
    "static-contrastive-tuned": ContrastiveStaticConfig(temperature=TUNED_TEMPERATURE),
}
_ENCODERS: dict[Size, EncoderConfig] = {
    "debug": KeypointEncoderConfig(maps=8, layers=((8, 3, 2), (8, 3, 1))),
    "laptop": KeypointEncoderConfig(
        maps=64, layers=((16, 3, 2), (32, 3, 2), (64, 3, 1), (64, 3, 1))
    ),
    "paper": KeypointEncoderConfig(),
}
_IMAGENET_SIZE: dict[Size, int] = {"debug": 32, "laptop": 64, "paper": 224}
_SHIFT: dict[Size, int] = {
    "debug": 1,
    "laptop": 6,
    "paper": 8,
}  # the paper's 8 of 84 pixels, and as much of 64
_STEPS: dict[Size, tuple[int, int]] = {
    "debug": (12, 12),
    "laptop": (700, 1500),
    "paper": (100_000, 10_000),
}
_FOR_GPUS: dict[Size, bool] = {
    "debug": False,
    "laptop": False,
    "paper": True,
}  # compiled, convolutions in bfloat16
_BATCH: dict[Size, tuple[int, int]] = {"debug": (8, 8), "laptop": (64, 128), "paper": (256, 256)}


def pretrain(objective: str, size: Size) -> TrainConfig:
    """The representation by one of `OBJECTIVES`, from frames each shifted in its own way; pixel
    dynamics, which would learn the shifts, from frames as they are, and static contrast, which
    shifts them itself. "far" asks for the five actions between frames five steps apart. All
    trajectories are trained on, none is held out."""
    chosen, shift, batch = OBJECTIVES[objective], _SHIFT[size], _BATCH[size][0]
    if isinstance(chosen, ContrastiveStaticConfig):
        chosen = replace(chosen, shift_pixels=shift)
    alone = isinstance(chosen, EmbeddingCloningConfig | ContrastiveStaticConfig)
    chunk = FAR_STEPS if objective.endswith("-far") else 1
    return TrainConfig(
        method="inverse_dynamics",
        phase=f"pretrain-{objective}",
        window=WindowConfig(steps=1 if alone else 2, chunk=chunk, paraphrases=False),
        model=RepresentationConfig(encoder=_ENCODERS[size]),
        objectives={objective.replace("-", "_"): chosen},
        optimizer=OptimizerConfig(
            learning_rate=1e-3, weight_decay=1e-4, warmup_steps=0, final_fraction=0.0
        ),
        augmentation=AugmentationConfig(
            shift_pixels=0
            if isinstance(chosen, PixelDynamicsConfig | ContrastiveStaticConfig)
            else shift,
            each_step=True,
        ),
        validation_fraction=0.0,
        precision="bf16" if _FOR_GPUS[size] else "fp32",
        compile=_FOR_GPUS[size],
        steps=_STEPS[size][0],
        batch_size=batch,
        checkpoint_every_steps=max(1, _STEPS[size][0] // 4),
    )


def untrained(size: Size) -> TrainConfig:
    """The encoder as it is drawn: one step that moves nothing."""
    config = pretrain("inverse-dynamics", size)
    still = replace(config.optimizer, learning_rate=1e-12)
    return replace(
        config, phase="random", steps=1, optimizer=still, precision="fp32", compile=False
    )


def imagenet(size: Size) -> TrainConfig:
    """An encoder of photographs' kinds, as others trained it: one step that moves nothing."""
    encoder = FrozenImagesConfig(size=_IMAGENET_SIZE[size])
    return replace(
        untrained(size), phase="imagenet", model=RepresentationConfig(encoder=encoder, width=0)
    )


def finetune(size: Size) -> TrainConfig:
    """A policy over a frozen representation, every frame encoded once."""
    before = pretrain("inverse-dynamics", size)
    return replace(
        before,
        phase="finetune",
        window=WindowConfig(steps=1, chunk=1, paraphrases=False),
        objectives={"behaviour_cloning": EmbeddingCloningConfig()},
        train_only=POLICY,
        new_parameters=POLICY,
        cache_features=True,
        augmentation=AugmentationConfig(),
        precision="fp32",
        compile=False,
        steps=_STEPS[size][1],
        batch_size=_BATCH[size][1],
        checkpoint_every_steps=_STEPS[size][1],
    )


def finetune_states(size: Size) -> TrainConfig:
    """The same policy over the true state: the ceiling."""
    known = finetune(size)
    return replace(
        known,
        phase="finetune-states",
        model=RepresentationConfig(encoder=_ENCODERS[size], sees="state"),
        train_only=(),
        new_parameters=(),
        cache_features=False,
    )


def from_scratch(size: Size) -> TrainConfig:
    """Encoder and policy together, from the few demonstrations alone, on shifted frames."""
    known = finetune(size)
    return replace(
        known,
        phase="scratch",
        train_only=(),
        new_parameters=(),
        cache_features=False,
        augmentation=AugmentationConfig(shift_pixels=_SHIFT[size], each_step=True),
        precision="bf16" if _FOR_GPUS[size] else "fp32",
        compile=_FOR_GPUS[size],
        batch_size=_BATCH[size][0],
        steps=_STEPS[size][0],
        checkpoint_every_steps=_STEPS[size][0],
    )
