"""Presets of world-model reinforcement learning: act, learn a latent world, learn to act in it.

Hafner et al. 2020, arXiv 1912.01603; 2021, arXiv 2010.02193; 2023, arXiv 2301.04104.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from manyparts.data.sampling.config import WindowConfig
from manyparts.methods.facts import PresetFacts
from manyparts.models.dynamics.configs import GaussianLatentConfig, LatentWorldConfig
from manyparts.objectives.configs import ActorCriticConfig, WorldConfig
from manyparts.training.config import OnlineConfig, OptimizerConfig, TrainConfig

Size = Literal["debug", "laptop", "base"]


@dataclass(frozen=True)
class Sizes:
    """What differs between the sizes of a preset."""

    width: int
    """Of the recurrent state and of hidden layers."""

    variables: int
    """Random variables of a state."""

    windows: int
    """Windows per optimiser step."""

    length: int
    """Steps of a window."""

    environment_steps: int
    """Steps of all environments together."""

    prefill_steps: int
    """Of these, the steps of the prefill."""

    learning_rate: float
    """Of the world model."""

    behaviour_rate: float
    """Its factor for actor and critic."""

    train_ratio: float = 128.0
    """Replayed steps per collected step."""

    starts: int = 128
    """Imagined starts per optimiser step."""

    horizon: int = 10
    """Imagined steps."""

    depth: int = 16
    """Channels of the first convolution."""


# "base" has the sizes of Vid2Act's released code.
SIZES: Mapping[Size, Sizes] = {
    "debug": Sizes(64, 16, 8, 16, 4000, 500, 1e-3, 1.0),
    "laptop": Sizes(128, 30, 16, 32, 30_000, 2000, 6e-4, 0.5),
    "base": Sizes(200, 50, 50, 50, 300_000, 5000, 3e-4, 0.27, 500.0, 2500, 15, 32),
}


def online(size: Size) -> TrainConfig:
    """Learn by acting, from nothing, from states. `--model.sees images` learns from images."""
    sizes = SIZES[size]
    behaviour = ActorCriticConfig(width=sizes.width, starts=sizes.starts, horizon=sizes.horizon)
    return TrainConfig(
        method="dreamer",
        phase="online",
        window=WindowConfig(steps=sizes.length, chunk=1, paraphrases=False),
        model=LatentWorldConfig(
            width=sizes.width, latent=GaussianLatentConfig(sizes.variables), depth=sizes.depth
        ),
        objectives={"world": WorldConfig(), "actor_critic": behaviour},
        new_parameters=("objectives.actor_critic.*",),
        optimizer=OptimizerConfig(
            learning_rate=sizes.learning_rate,
            rates=(("objectives.actor_critic.*", sizes.behaviour_rate),),
            weight_decay=0.0,
            clip_norm=100.0,
            warmup_steps=0,
            final_fraction=1.0,
            betas=(0.9, 0.999),
        ),
        batch_size=sizes.windows,
        validation_fraction=0.0,
        checkpoint_every_steps=500,
        log_every_steps=50,
        log_gradients=True,
        online=OnlineConfig(
            environment_steps=sizes.environment_steps,
            prefill_steps=sizes.prefill_steps,
            train_ratio=sizes.train_ratio,
        ),
    )


FACTS = {
    "debug": PresetFacts("Learns the point mass by acting, in a minute."),
    "laptop": PresetFacts("Learns a task of Meta-World by acting, from states."),
    "base": PresetFacts("Learns by acting, with the sizes of Vid2Act's released code."),
}
"""What was measured of presets: a record for docs and for `manyparts list presets`."""
