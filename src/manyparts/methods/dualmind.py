"""Presets of DualMind (Wei et al. 2023, arXiv 2307.07909).

Phase I learns dynamics without labels, phase II imitates with prompts.
"""

from __future__ import annotations

from dataclasses import replace

from manyparts.data.sampling.config import WindowConfig
from manyparts.methods.facts import PresetFacts
from manyparts.models.configs import (
    BinnedActionConfig,
    ControlTransformerConfig,
    ConvEncoderConfig,
    PretrainedTextConfig,
    PromptConfig,
    ViTConfig,
)
from manyparts.objectives.configs import (
    BehaviourCloningConfig,
    ForwardDynamicsConfig,
    InverseDynamicsConfig,
    MaskedHindsightConfig,
)
from manyparts.training.config import AugmentationConfig, OptimizerConfig, TrainConfig

_PROMPT = ("model.prompt_encoder.*", "model.prompt_blocks.*", "objectives.behaviour_cloning.*")
_DECODER = (
    "model.embedding.state.*",
    "model.action_embedding.*",
    "model.slot_embedding.*",
    "model.step_embedding.*",
    "model.blocks.*",
    "model.norm.*",
)


def trained_parts(variant: int, *, layers: int) -> tuple[str, ...]:
    """Return patterns of the parameters that phase II trains, by the paper's variant.

    Args:
        variant: 1: the prompt encoder, its attention and the head. 2: also the upper half of the
            blocks. 3: all but the vision encoder. 4: everything, which is no pattern.
        layers: The model's number of blocks.
    """
    upper = tuple(f"model.blocks.{index}.*" for index in range(layers // 2, layers))
    variants = {1: _PROMPT, 2: (*_PROMPT, *upper), 3: (*_PROMPT, *_DECODER), 4: ()}
    return variants[variant]


def transformer(config: TrainConfig) -> ControlTransformerConfig:
    """Return the model of one of this method's configs."""
    assert isinstance(config.model, ControlTransformerConfig), config.model
    return config.model


def phase1_laptop() -> TrainConfig:
    """Phase I at 64 px for two cores: a convolutional stem, continuous chunks of four actions.

    Images are shifted at random, so that 50 goals per task generalise to others
    (docs/log/dualmind.md).
    Masked hindsight control hides all actions from the first step, since a few hundred steps are
    too short for a mask that grows.
    """
    return TrainConfig(
        method="dualmind",
        phase="phase1",
        window=WindowConfig(steps=4, chunk=4),
        model=ControlTransformerConfig(),
        objectives={
            "forward_dynamics": ForwardDynamicsConfig(),
            "inverse_dynamics": InverseDynamicsConfig(),
            "masked_hindsight": MaskedHindsightConfig(hidden_from=1.0, observations=0.75),
        },
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=50),
        augmentation=AugmentationConfig(shift_pixels=4),
        steps=450,
        batch_size=64,
        ema_decay=0.99,
        processes=2,
        checkpoint_every_steps=150,
    )


def phase2_laptop() -> TrainConfig:
    """Phase II at 64 px for two cores: the vision encoder frozen, all else trained (variant 3).

    Visual tokens are cached. The policy attends to the current step only: past steps predict the
    expert's direction better than a goal of three pixels, so that it would ignore the goal.
    """
    first = phase1_laptop()
    return replace(
        first,
        phase="phase2",
        model=replace(first.model, prompt=PromptConfig()),
        objectives={"behaviour_cloning": BehaviourCloningConfig(attention="present")},
        train_only=trained_parts(3, layers=transformer(first).layers),
        new_parameters=_PROMPT,
        cache_features=True,
        augmentation=AugmentationConfig(),
        optimizer=replace(first.optimizer, learning_rate=2e-3),
        steps=1000,
        processes=1,
    )


def phase2_prompts_laptop() -> TrainConfig:
    """Phase II for two cores with prompts of instruction, goal image, demonstration, or two."""
    second = phase2_laptop()
    window = replace(second.window, goal_image=True, demonstration_frames=4)
    return replace(second, window=window, steps=1500)


def phase1_metaworld45() -> TrainConfig:
    """Phase I for the 45 training tasks of Meta-World's ML45, at 64 px on two cores.

    Twice the parameters of `phase1_laptop`.
    """
    laptop = phase1_laptop()
    encoder = ConvEncoderConfig(width=128, layers=((64, 8, 4), (128, 4, 2), (128, 3, 1)))
    return replace(
        laptop,
        model=replace(laptop.model, encoder=encoder, visual_tokens=8, layers=2),
        optimizer=replace(laptop.optimizer, warmup_steps=100),
        precision="bf16",
        steps=1500,
        ema_decay=0.995,
        checkpoint_every_steps=500,
    )


def phase2_metaworld45() -> TrainConfig:
    """Phase II for the 45 tasks: everything is trained, on shifted images (variant 4).

    The decoder costs more than the encoder here, so that freezing saves little, and small objects
    need an encoder that learned to see them.
    """
    first, second = phase1_metaworld45(), phase2_laptop()
    return replace(
        first,
        phase="phase2",
        model=replace(first.model, prompt=transformer(second).prompt),
        objectives=second.objectives,
        new_parameters=_PROMPT,
        steps=24_000,
        ema_decay=0.998,
        validate_every_steps=1000,
        log_every_steps=100,
    )


def phase2_prompts_minilm_laptop() -> TrainConfig:
    """As phase2-prompts-laptop, with instructions read by a frozen MiniLM (the extra `text`).

    It understands words that are not in the training data.
    """
    second = phase2_prompts_laptop()
    text = PretrainedTextConfig("sentence-transformers/all-MiniLM-L6-v2", max_words=24)
    return replace(second, model=replace(second.model, prompt=PromptConfig(text)))


def tuning(run: TrainConfig, recipe: TrainConfig, *, steps: int) -> TrainConfig:
    """Return the config that tunes a trained agent on a few demonstrations.

    Everything but the vision encoder is trained, on all demonstrations: they are too few to hold
    some out.

    Args:
        run: How the agent was trained.
        recipe: The phase II that gives the learning rate and the augmentation.
        steps: Optimiser steps.
    """
    model = transformer(run)
    parts = trained_parts(3, layers=model.layers)
    if not model.prompt:
        parts = tuple(part for part in parts if not part.startswith("model.prompt"))
    return replace(
        run,
        phase="few-shot",
        objectives={"behaviour_cloning": run.objectives["behaviour_cloning"]},
        train_only=parts,
        cache_features=True,
        augmentation=recipe.augmentation,
        new_parameters=(),
        optimizer=replace(recipe.optimizer, warmup_steps=steps // 10),
        steps=steps,
        validation_fraction=0.0,
        processes=1,
    )


def tune_laptop() -> TrainConfig:
    """Tune an agent of phase2-laptop on about ten demonstrations of a new task, in a minute."""
    second = phase2_laptop()
    return replace(tuning(second, second, steps=150), checkpoint_every_steps=50)


def tune_metaworld45() -> TrainConfig:
    """Tune manyparts/metaworld45-small on about ten demonstrations of a new task, in minutes.

    Or another agent of phase2-metaworld45.
    """
    second = phase2_metaworld45()
    config = tuning(second, second, steps=300)
    return replace(config, checkpoint_every_steps=100, log_every_steps=20)


def tune_debug() -> TrainConfig:
    """Train in seconds, for tests."""
    second = phase2_debug()
    return tuning(second, second, steps=10)


def phase2_prompts_debug() -> TrainConfig:
    """Train in seconds, for tests."""
    return _debug(phase2_prompts_laptop())


def phase1_debug() -> TrainConfig:
    """Train in seconds, for tests."""
    return _debug(phase1_laptop())


def phase2_debug() -> TrainConfig:
    """Train in seconds, for tests."""
    return _debug(phase2_laptop())


def phase1_base() -> TrainConfig:
    """Phase I of the paper: ViT-B/16 at 224 px, 8 visual tokens, 8 blocks of width 512, 256 bins.

    Its blocks are compiled, which takes minutes at the start and is meant for GPUs.
    """
    return TrainConfig(
        method="dualmind",
        phase="phase1",
        window=WindowConfig(steps=6, chunk=1),
        model=ControlTransformerConfig(
            encoder=ViTConfig(),
            visual_tokens=8,
            token_maps=1,
            width=512,
            layers=8,
            heads=8,
            dropout=0.1,
            action=BinnedActionConfig(),
        ),
        objectives={
            "forward_dynamics": ForwardDynamicsConfig(),
            "inverse_dynamics": InverseDynamicsConfig(attention="inverse", hidden=1024),
            "masked_hindsight": MaskedHindsightConfig(hidden=1024),
        },
        optimizer=OptimizerConfig(learning_rate=5e-5, warmup_steps=1000),
        augmentation=AugmentationConfig(resized_crop=(0.8, 1.0), brightness=0.2),
        precision="bf16",
        compile=True,
        steps=100_000,
        batch_size=16,
    )


def phase2_base() -> TrainConfig:
    """Phase II of the paper: prompt attention and head are trained (variant 1); CLIP is frozen."""
    first = phase1_base()
    return replace(
        first,
        phase="phase2",
        model=replace(first.model, prompt=PromptConfig(PretrainedTextConfig())),
        objectives={"behaviour_cloning": BehaviourCloningConfig(hidden=512)},
        train_only=trained_parts(1, layers=transformer(first).layers),
        new_parameters=_PROMPT,
        cache_features=True,
    )


def _debug(config: TrainConfig) -> TrainConfig:
    """Return a config with a tiny model and few steps."""
    model = replace(
        config.model,
        encoder=ConvEncoderConfig(width=32, layers=((16, 8, 8),)),
        width=32,
        layers=2,
        token_maps=1,
        visual_tokens=2,
    )
    return replace(
        config,
        model=model,
        window=replace(config.window, steps=3, chunk=2),
        train_only=trained_parts(3, layers=2) if config.train_only else (),
        optimizer=replace(config.optimizer, warmup_steps=5),
        steps=20,
        batch_size=8,
        processes=1,
    )


# Hours of `laptop` are means over the runs in docs/evidence/dualmind-laptop.tar.xz, in bfloat16;
# scores, the sizes of `base` and the hours of the prompts stand in README.md,
# docs/results/dualmind.md and docs/log/dualmind.md.
FACTS = {
    "phase1-debug": PresetFacts("Phase I in seconds, for tests."),
    "phase1-laptop": PresetFacts(
        "Phase I at 64 px for two cores.", parameters=1_492_240, hours=0.033
    ),
    "phase1-metaworld45": PresetFacts(
        "Phase I for the 45 training tasks of Meta-World's ML45.", parameters=2_822_720
    ),
    "phase1-base": PresetFacts(
        "Phase I of the paper, at 224 px, for GPUs.", parameters=147_800_000
    ),
    "phase2-debug": PresetFacts("Phase II in seconds, for tests."),
    "phase2-laptop": PresetFacts(
        "Phase II at 64 px for two cores, the vision encoder frozen.",
        parameters=2_201_088,
        hours=0.035,
        score="success 0.875 [0.850, 0.908] on unseen goals of six Meta-World tasks",
    ),
    "phase2-metaworld45": PresetFacts(
        "Phase II for the 45 training tasks of Meta-World's ML45.",
        parameters=2_218_160,
        score="success 0.893 [0.878, 0.909] on unseen goals of 45 Meta-World tasks",
    ),
    "phase2-base": PresetFacts(
        "Phase II of the paper, at 224 px, for GPUs.", parameters=176_200_000
    ),
    "phase2-prompts-debug": PresetFacts(
        "Phase II with instructions, goal images and demonstrations, in seconds, for tests."
    ),
    "phase2-prompts-laptop": PresetFacts(
        "Phase II with instructions, goal images and demonstrations, for two cores.",
        parameters=2_204_544,
        hours=0.075,
        score="success 0.90 to 0.97, by kind of prompt, on six Meta-World tasks",
    ),
    "phase2-prompts-minilm-laptop": PresetFacts(
        "As phase2-prompts-laptop, with instructions read by a frozen MiniLM."
    ),
    "tune-debug": PresetFacts("Tuning in seconds, for tests."),
    "tune-laptop": PresetFacts(
        "Tune an agent of phase2-laptop on about ten demonstrations of a new task.",
        parameters=2_201_088,
        hours=0.006,
    ),
    "tune-metaworld45": PresetFacts(
        "Tune an agent of phase2-metaworld45 on about ten demonstrations of a new task.",
        parameters=2_218_160,
        score="success 0.70 [0.65, 0.75] on the five held-out tasks of ML45",
    ),
}
