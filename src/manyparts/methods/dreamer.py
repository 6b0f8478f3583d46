"""Presets of world-model reinforcement learning: act, learn a latent world, learn to act in it.

Hafner et al. 2020, arXiv 1912.01603; 2021, arXiv 2010.02193; 2023, arXiv 2301.04104.
"""

from __future__ import annotations

from typing import Literal

from manyparts.data.sampling.config import WindowConfig
from manyparts.methods.facts import PresetFacts
from manyparts.models.dynamics.configs import GaussianLatentConfig, LatentWorldConfig
from manyparts.objectives.configs import ActorCriticConfig, WorldConfig
from manyparts.training.config import OnlineConfig, OptimizerConfig, TrainConfig

Size = Literal["debug", "laptop"]

# Width, random variables, windows per step and their length, environment steps and the prefill.
_SIZES: dict[Size, tuple[int, int, int, int, int, int]] = {
    "debug": (64, 16, 8, 16, 4000, 500),
    "laptop": (128, 30, 16, 32, 30_000, 2000),
}


def online(size: Size) -> TrainConfig:
    """Learn by acting, from nothing, from states. `--model.sees images` learns from images."""
    width, variables, batch, length, steps, prefill = _SIZES[size]
    return TrainConfig(
        method="dreamer",
        phase="online",
        window=WindowConfig(steps=length, chunk=1, paraphrases=False),
        model=LatentWorldConfig(width=width, latent=GaussianLatentConfig(variables)),
        objectives={"world": WorldConfig(), "actor_critic": ActorCriticConfig(width=width)},
        new_parameters=("objectives.actor_critic.*",),
        optimizer=OptimizerConfig(
            learning_rate=1e-3 if size == "debug" else 6e-4,
            rates=(("objectives.actor_critic.*", 0.5),) if size == "laptop" else (),
            weight_decay=0.0,
            clip_norm=100.0,
            warmup_steps=0,
            final_fraction=1.0,
            betas=(0.9, 0.999),
        ),
        batch_size=batch,
        validation_fraction=0.0,
        checkpoint_every_steps=500,
        log_every_steps=50,
        log_gradients=True,
        online=OnlineConfig(environment_steps=steps, prefill_steps=prefill),
    )


FACTS = {
    "debug": PresetFacts("Learns the point mass by acting, in a minute."),
    "laptop": PresetFacts("Learns a task of Meta-World by acting, from states."),
}
"""What was measured of presets: a record for docs and for `manyparts list presets`."""
