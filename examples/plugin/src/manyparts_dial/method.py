"""The method state-change: behaviour cloning that also learns how the state will change."""

from __future__ import annotations

from dataclasses import replace

from manyparts.data.sampling.config import WindowConfig
from manyparts.methods.facts import Method, PresetFacts
from manyparts.models.configs import ControlTransformerConfig, ConvEncoderConfig
from manyparts.objectives.configs import BehaviourCloningConfig
from manyparts.training.config import OptimizerConfig, TrainConfig
from manyparts_dial.config import StateChangeConfig


def laptop() -> TrainConfig:
    """An agent of two cores and a minute."""
    return TrainConfig(
        method="state-change",
        phase="clone",
        window=WindowConfig(steps=4, chunk=1),
        model=ControlTransformerConfig(
            encoder=ConvEncoderConfig(width=32, layers=((16, 4, 4), (32, 3, 2))), width=64, layers=1
        ),
        objectives={
            "behaviour_cloning": BehaviourCloningConfig(attention="present"),
            "state_change": StateChangeConfig(weight=0.5),
        },
        optimizer=OptimizerConfig(learning_rate=2e-3),
        steps=1000,
        batch_size=64,
    )


def debug() -> TrainConfig:
    """The same for tests: a few steps."""
    return replace(laptop(), steps=8, batch_size=8, checkpoint_every_steps=4)


METHOD = Method(
    what="Behaviour cloning that also learns how the state will change.",
    presets={"debug": debug, "laptop": laptop},
    facts={
        "debug": PresetFacts("A few steps, for tests."),
        "laptop": PresetFacts("Imitation, and the change of the state as a second target."),
    },
)
