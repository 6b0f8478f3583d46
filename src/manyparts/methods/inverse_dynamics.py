"""Presets of inverse dynamics pretraining (Brandfonbrener et al. 2023, arXiv 2305.16985).

An encoder is learned from trajectories of many contexts and frozen. Then a small policy is learned
from a few demonstrations in one context. Other ways to learn the encoder are baselines.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from manyparts.data.sampling.config import WindowConfig
from manyparts.methods.facts import PresetFacts
from manyparts.models.configs import (
    EncoderConfig,
    FrozenImagesConfig,
    KeypointEncoderConfig,
    RepresentationConfig,
)
from manyparts.objectives.configs import (
    ContrastiveDynamicsConfig,
    ContrastiveStaticConfig,
    EmbeddingCloningConfig,
    EmbeddingInverseDynamicsConfig,
    ObjectiveConfig,
    PixelDynamicsConfig,
)
from manyparts.training.config import AugmentationConfig, OptimizerConfig, TrainConfig

Size = Literal["debug", "laptop", "paper"]
_SIZES: tuple[Size, ...] = ("debug", "laptop", "paper")
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
# Random shifts in pixels: the paper's 8 of 84, and the same fraction of 64.
_SHIFT: dict[Size, int] = {"debug": 1, "laptop": 6, "paper": 8}
# Optimiser steps of pretraining, and of the policy.
_STEPS: dict[Size, tuple[int, int]] = {
    "debug": (12, 12),
    "laptop": (700, 1500),
    "paper": (100_000, 10_000),
}
# Whether the model is compiled, with convolutions in bfloat16.
_FOR_GPUS: dict[Size, bool] = {"debug": False, "laptop": False, "paper": True}
# Windows per step of pretraining, and of the policy.
_BATCH: dict[Size, tuple[int, int]] = {"debug": (8, 8), "laptop": (64, 128), "paper": (256, 256)}


def pretrain(objective: str, size: Size) -> TrainConfig:
    """Pretrain an encoder by one objective, on all trajectories: none is held out.

    Args:
        objective: One of `OBJECTIVES`. "inverse-dynamics-far" predicts the five actions between
            frames that are five steps apart.
        size: The size of the encoder and of its training.
    """
    chosen, shift, batch = OBJECTIVES[objective], _SHIFT[size], _BATCH[size][0]
    if isinstance(chosen, ContrastiveStaticConfig):
        chosen = replace(chosen, shift_pixels=shift)
    single_frame = isinstance(chosen, EmbeddingCloningConfig | ContrastiveStaticConfig)
    # Every frame is shifted at random on its own. Pixel dynamics would learn to predict the shifts,
    # and the static contrast shifts frames itself.
    shifts_frames = not isinstance(chosen, PixelDynamicsConfig | ContrastiveStaticConfig)
    chunk = FAR_STEPS if objective.endswith("-far") else 1
    return TrainConfig(
        method="inverse_dynamics",
        phase=f"pretrain-{objective}",
        window=WindowConfig(steps=1 if single_frame else 2, chunk=chunk, paraphrases=False),
        model=RepresentationConfig(encoder=_ENCODERS[size]),
        objectives={objective.replace("-", "_"): chosen},
        optimizer=OptimizerConfig(
            learning_rate=1e-3, weight_decay=1e-4, warmup_steps=0, final_fraction=0.0
        ),
        augmentation=AugmentationConfig(shift_pixels=shift if shifts_frames else 0, each_step=True),
        validation_fraction=0.0,
        precision="bf16" if _FOR_GPUS[size] else "fp32",
        compile=_FOR_GPUS[size],
        steps=_STEPS[size][0],
        batch_size=batch,
        checkpoint_every_steps=max(1, _STEPS[size][0] // 4),
    )


def untrained(size: Size) -> TrainConfig:
    """Make an encoder with random weights: one step that changes nothing."""
    config = pretrain("inverse-dynamics", size)
    no_learning = replace(config.optimizer, learning_rate=1e-12)
    return replace(
        config, phase="random", steps=1, optimizer=no_learning, precision="fp32", compile=False
    )


def imagenet(size: Size) -> TrainConfig:
    """Make an encoder that was trained on ImageNet's photographs: one step that changes nothing."""
    encoder = FrozenImagesConfig(size=_IMAGENET_SIZE[size])
    return replace(
        untrained(size), phase="imagenet", model=RepresentationConfig(encoder=encoder, width=0)
    )


def finetune(size: Size) -> TrainConfig:
    """Learn a policy over a frozen encoder; every frame is encoded once."""
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
    """Learn the same policy over the simulator's state: the upper bound."""
    return replace(
        finetune(size),
        phase="finetune-states",
        model=RepresentationConfig(encoder=_ENCODERS[size], sees="state"),
        train_only=(),
        new_parameters=(),
        cache_features=False,
    )


def from_scratch(size: Size) -> TrainConfig:
    """Learn encoder and policy together, from the few demonstrations, on shifted frames."""
    return replace(
        finetune(size),
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


# In docs/evidence/representations-laptop.tar.xz: parameters and core hours in the point mass, hours
# as means over the seeds; the score is of the policy that `finetune` (else the preset itself)
# learns from two demonstrations.
_LAPTOP: dict[str, tuple[int, float, str]] = {
    "inverse-dynamics": (172_386, 0.023, "0.90 [0.47, 1.00]"),
    "inverse-dynamics-far": (174_442, 0.022, "0.66 [0.00, 1.00]"),
    "cloning": (156_002, 0.012, "0.82 [0.49, 1.00]"),
    "forward-pixels": (1_182_467, 0.042, "0.57 [0.12, 1.00]"),
    "forward-contrastive": (188_512, 0.024, "0.79 [0.21, 1.00]"),
    "forward-contrastive-tuned": (188_512, 0.023, "0.75 [0.42, 1.00]"),
    "static-contrastive": (171_936, 0.021, "0.63 [0.00, 1.00]"),
    "static-contrastive-tuned": (171_936, 0.021, "0.82 [0.26, 1.00]"),
    "finetune": (156_002, 0.002, "0.90 [0.47, 1.00]"),
    "finetune-states": (68_098, 0.002, "1.00 [0.98, 1.00]"),
    "scratch": (156_002, 0.013, "0.27 [0.00, 1.00]"),
}
_WHAT = {
    "inverse-dynamics": "Pretrain an encoder to predict the action between two frames.",
    "inverse-dynamics-far": "Pretrain an encoder to predict the actions between distant frames.",
    "cloning": "Pretrain an encoder by imitating the expert.",
    "forward-pixels": "Pretrain an encoder to predict the next frame's pixels.",
    "forward-contrastive": "Pretrain an encoder to tell the next frame from others (InfoNCE).",
    "forward-contrastive-tuned": "As forward-contrastive, at a temperature of 0.1.",
    "static-contrastive": "Pretrain an encoder to match two shifts of one frame (InfoNCE).",
    "static-contrastive-tuned": "As static-contrastive, at a temperature of 0.1.",
    "finetune": "Learn a policy over a pretrained, frozen encoder.",
    "finetune-states": "Learn a policy over the simulator's state, without an encoder.",
    "scratch": "Learn encoder and policy together from a few demonstrations.",
}


def _facts() -> dict[str, PresetFacts]:
    facts: dict[str, PresetFacts] = {}
    for name, what in _WHAT.items():
        for size in _SIZES:
            facts[f"{name}-{size}"] = PresetFacts(what)
        parameters, hours, success = _LAPTOP[name]
        score = f"success {success} in the point mass after two demonstrations, three seeds"
        facts[f"{name}-laptop"] = PresetFacts(what, parameters, hours, score)
    return facts


FACTS = _facts()
