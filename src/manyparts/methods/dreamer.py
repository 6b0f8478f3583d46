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
    """Replayed steps per collected environment step."""

    starts: int = 128
    """Imagined starts per optimiser step."""

    horizon: int = 10
    """Imagined steps."""

    depth: int = 16
    """Channels of the first convolution."""

    discount: float = 0.99
    """What a reward is worth one decision later."""

    slow_rate: float = 0.02
    """How far the slow critic moves per step."""

    reward: float = 2.0
    """Weight of the rewards' error."""

    state_std: float = 0.2
    """Std of states around their prediction."""

    final_fraction: float = 1.0
    """The last learning rate, as a fraction of the first."""

    action_repeat: int = 1
    """Environment steps for which an action is held."""


# "base" has the sizes of Vid2Act's released code.
SIZES: Mapping[Size, Sizes] = {
    # Many windows: a step of 8 takes almost as long.
    "debug": Sizes(
        width=64,
        variables=16,
        windows=32,
        length=16,
        environment_steps=9000,
        prefill_steps=2000,
        learning_rate=4e-3,
        behaviour_rate=1.0,
        train_ratio=58.6,
        horizon=6,
        discount=0.9,
        slow_rate=0.1,
        reward=30.0,
        state_std=0.1,
        final_fraction=0.05,
        # The disc takes 0.25 s to answer a force. Random forces of 0.05 s hardly move it.
        action_repeat=4,
    ),
    "laptop": Sizes(
        width=128,
        variables=30,
        windows=16,
        length=32,
        environment_steps=30_000,
        prefill_steps=2000,
        learning_rate=3e-3,
        behaviour_rate=0.5,
        discount=0.97,
        slow_rate=0.05,
        reward=10.0,
        final_fraction=0.1,
        action_repeat=2,
    ),
    "base": Sizes(
        width=200,
        variables=50,
        windows=50,
        length=50,
        environment_steps=300_000,
        prefill_steps=5000,
        learning_rate=3e-4,
        behaviour_rate=0.27,
        train_ratio=500.0,
        starts=2500,
        horizon=15,
        depth=32,
    ),
}


def online(size: Size) -> TrainConfig:
    """Learn by acting, from nothing, from states. `--model.sees images` learns from images."""
    sizes = SIZES[size]
    behaviour = ActorCriticConfig(
        width=sizes.width,
        starts=sizes.starts,
        horizon=sizes.horizon,
        discount=sizes.discount,
        slow_rate=sizes.slow_rate,
    )
    return TrainConfig(
        method="dreamer",
        phase="online",
        window=WindowConfig(steps=sizes.length, chunk=1, paraphrases=False),
        model=LatentWorldConfig(
            width=sizes.width, latent=GaussianLatentConfig(sizes.variables), depth=sizes.depth
        ),
        objectives={
            "world": WorldConfig(reward=sizes.reward, state_std=sizes.state_std),
            "actor_critic": behaviour,
        },
        new_parameters=("objectives.actor_critic.*",),
        optimizer=OptimizerConfig(
            learning_rate=sizes.learning_rate,
            rates=(("objectives.actor_critic.*", sizes.behaviour_rate),),
            weight_decay=0.0,
            clip_norm=100.0,
            warmup_steps=0,
            final_fraction=sizes.final_fraction,
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
            action_repeat=sizes.action_repeat,
        ),
    )


FACTS = {
    "debug": PresetFacts("Learns the point mass by acting, in a minute of one core."),
    "laptop": PresetFacts(
        "Learns by acting, from states, on two cores: opens Meta-World's window in 16,000 steps."
    ),
    "base": PresetFacts("Learns by acting, with the sizes of Vid2Act's released code."),
}
"""What was measured of presets: a record for docs and for `manyparts list presets`."""
