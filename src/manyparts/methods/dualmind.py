"""DualMind (Wei et al. 2023, arXiv 2307.07909): self-supervised dynamics first, prompted imitation
second."""

from __future__ import annotations

from dataclasses import replace

from manyparts.data.sampling.windows import WindowConfig
from manyparts.models.actions import BinnedActionConfig
from manyparts.models.control_transformer import ControlTransformerConfig
from manyparts.models.encoders import ConvEncoderConfig, ViTConfig
from manyparts.models.prompts import PretrainedTextConfig, PromptConfig
from manyparts.objectives.behaviour_cloning import BehaviourCloningConfig
from manyparts.objectives.forward_dynamics import ForwardDynamicsConfig
from manyparts.objectives.inverse_dynamics import InverseDynamicsConfig
from manyparts.objectives.masked_hindsight import MaskedHindsightConfig
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
    """Patterns of the parameters that phase II trains, by the paper's variant.

    1: prompt, its attention and the head. 2: also the upper half of the blocks. 3: all but the
    vision encoder. 4: everything (no pattern).
    """
    upper = tuple(f"model.blocks.{index}.*" for index in range(layers // 2, layers))
    variants = {1: _PROMPT, 2: (*_PROMPT, *upper), 3: (*_PROMPT, *_DECODER), 4: ()}
    return variants[variant]


def transformer(config: TrainConfig) -> ControlTransformerConfig:
    """The model of one of this method's configs."""
    assert isinstance(config.model, ControlTransformerConfig), config.model
    return config.model


def phase1_laptop() -> TrainConfig:
    """Phase I for 64 px and two cores: 1 M parameters, a convolutional stem, continuous chunks of
    four actions.

    Random shifts are what lets 50 goals a task stand for all (docs/log.md); hindsight control hides
    all actions from the start, since a few hundred steps are too short for a mask that grows.
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
    """Phase II for two cores: the vision encoder frozen and its tokens cached, all else trained
    (variant 3).

    The policy sees the present alone: its past tells the expert's direction better than a goal of
    three pixels does.
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
    """Phase II for two cores that learns to be told by instruction, goal image, demonstration, or
    two of these."""
    second = phase2_laptop()
    return replace(
        second, window=replace(second.window, goal_image=True, demonstration_frames=4), steps=1500
    )


def phase1_metaworld45() -> TrainConfig:
    """Phase I for the 45 training tasks of Meta-World's ML45 at 64 px on two cores: twice the
    laptop's parameters."""
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
    """Phase II for the 45 tasks: everything trained on shifted images (variant 4), since the
    decoder costs more than the encoder here, and small objects need an encoder that learned what to
    look for."""
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
    """As phase2-prompts-laptop, with instructions read by a frozen MiniLM, which knows words that
    training never said; it comes with the extra `text`."""
    second = phase2_prompts_laptop()
    text = PretrainedTextConfig("sentence-transformers/all-MiniLM-L6-v2", max_words=24)
    return replace(second, model=replace(second.model, prompt=PromptConfig(text)))


def tuning(run: TrainConfig, recipe: TrainConfig, *, steps: int) -> TrainConfig:
    """Imitation of a few demonstrations by an agent that has learned: everything is trained but the
    vision encoder.

    run: how the agent was trained. recipe: the phase II whose learning rate and augmentation is
    used. All demonstrations are trained on, since a few are too few to hold any out.
    """
    model = transformer(run)
    parts = trained_parts(3, layers=model.layers)
    return replace(
        run,
        phase="few-shot",
        objectives={"behaviour_cloning": run.objectives["behaviour_cloning"]},
        train_only=parts
        if model.prompt
        else tuple(part for part in parts if not part.startswith("model.prompt")),
        cache_features=True,
        augmentation=recipe.augmentation,
        new_parameters=(),
        optimizer=replace(recipe.optimizer, warmup_steps=steps // 10),
        steps=steps,
        validation_fraction=0.0,
        processes=1,
    )


def tune_laptop() -> TrainConfig:
    """Tune an agent of phase2-laptop on about ten demonstrations of a new task, in a minute on two
    cores."""
    second = phase2_laptop()
    return replace(tuning(second, second, steps=150), checkpoint_every_steps=50)


def tune_metaworld45() -> TrainConfig:
    """Tune an agent of phase2-metaworld45, such as manyparts/metaworld45-small, on about ten
    demonstrations of a new task, in minutes on two cores."""
    second = phase2_metaworld45()
    return replace(
        tuning(second, second, steps=300), checkpoint_every_steps=100, log_every_steps=20
    )


def tune_debug() -> TrainConfig:
    """Seconds: for tests."""
    second = phase2_debug()
    return tuning(second, second, steps=10)


def phase2_prompts_debug() -> TrainConfig:
    """Seconds: for tests."""
    return _debug(phase2_prompts_laptop())


def phase1_debug() -> TrainConfig:
    """Seconds: for tests."""
    return _debug(phase1_laptop())


def phase2_debug() -> TrainConfig:
    """Seconds: for tests."""
    return _debug(phase2_laptop())


def phase1_base() -> TrainConfig:
    """The paper's configuration: ViT-B/16 at 224 px, 8 visual tokens, 8 blocks of width 512, 256
    bins, six steps.

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
    """Phase II of the paper: prompt attention, prompt projection and head (variant 1), a frozen
    CLIP text encoder."""
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
