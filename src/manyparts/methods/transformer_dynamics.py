"""Transformer dynamics models (Schubert et al. 2023, arXiv 2305.10912): predict, then plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from manyparts.data.sampling.windows import WindowConfig
from manyparts.models.dynamics.ensemble import EnsembleDynamicsConfig
from manyparts.models.dynamics.mlp import MlpDynamicsConfig
from manyparts.models.dynamics.recurrent import RecurrentDynamicsConfig
from manyparts.models.dynamics.step_transformer import Decoding, DynamicsTransformerConfig
from manyparts.objectives.base import ObjectiveConfig
from manyparts.objectives.latent_state import LatentStateConfig
from manyparts.objectives.next_action import NextActionConfig
from manyparts.objectives.next_state import NextStateConfig
from manyparts.objectives.next_state_likelihood import NextStateLikelihoodConfig
from manyparts.objectives.next_step import NextStepConfig
from manyparts.objectives.system import DynamicsConfig
from manyparts.training.config import OptimizerConfig, TrainConfig

Size = Literal["debug", "laptop", "paper"]
# The paper tells no sizes; the largest is what its description leads to.
_MODELS: dict[Size, tuple[int, int, int, int]] = {  # width, layers, heads, bins
    "debug": (32, 1, 2, 64),
    "laptop": (128, 3, 4, 512),
    "paper": (384, 6, 8, 1024),
}
_HISTORY: dict[Size, int] = {"debug": 4, "laptop": 8, "paper": 16}
_STEPS: dict[Size, tuple[int, int]] = {
    "debug": (20, 8),
    "laptop": (3000, 32),
    "paper": (200_000, 256),
}
_PARALLEL_STEPS: dict[Size, tuple[int, int]] = {**_STEPS, "laptop": (6000, 32)}
# Of the baselines: the paper's are those of PETS; the laptop's take as long as the parallel
# transformer or less.
_NETWORKS: dict[Size, tuple[int, int]] = {
    "debug": (32, 2),
    "laptop": (128, 3),
    "paper": (200, 4),
}  # width, layers
_MLP_STEPS: dict[Size, tuple[int, int]] = {
    "debug": (20, 8),
    "laptop": (25_000, 64),
    "paper": (200_000, 256),
}
_ENSEMBLE_STEPS: dict[Size, tuple[int, int]] = {
    "debug": (20, 8),
    "laptop": (10_500, 64),
    "paper": (200_000, 256),
}
_RECURRENT: dict[
    Size, tuple[int, int, int]
] = {  # width, variables and categories of each, steps of a window
    "debug": (32, 8, 4),
    "laptop": (128, 16, 16),
    "paper": (200, 32, 50),
}
_POLICY = 0.1  # the policy's weight: counted like dynamics, it spoils what plans are made with
_BASELINE_WINDOW = 4  # steps; each is predicted from the one before alone


def dynamics(decoding: Decoding, size: Size) -> TrainConfig:
    """A model of one body's dynamics, from its states alone: collect them with `--state full`."""
    width, layers, heads, bins = _MODELS[size]
    model = DynamicsTransformerConfig(
        width=width, layers=layers, heads=heads, bins=bins, decoding=decoding
    )
    objective = NextStepConfig(std=bins / 512)
    steps = _PARALLEL_STEPS if decoding == "parallel" else _STEPS
    return _trained(decoding, model, {"next_step": objective}, _HISTORY[size], *steps[size])


def generalist(size: Size) -> TrainConfig:
    """A model that learns many bodies' dynamics and what their experts do, to plan with and to
    follow: collect them with `--state shared`. A step has ten times as many numbers as one body's,
    so each has a quarter of the bins."""
    config = dynamics("parallel", size)
    assert isinstance(config.model, DynamicsTransformerConfig), config.model
    bins = config.model.bins // 4
    return replace(
        config,
        phase="dynamics-generalist",
        model=replace(config.model, bins=bins, policy=True),
        objectives={
            "next_step": NextStepConfig(std=bins / 512),
            "next_action": NextActionConfig(weight=_POLICY),
        },
        steps=2 * config.steps,
    )


def mlp(size: Size) -> TrainConfig:
    """The baseline that predicts one guess from the present alone."""
    width, layers = _NETWORKS[size]
    objectives = {"next_state": NextStateConfig()}
    model = MlpDynamicsConfig(width=width, layers=layers)
    return _trained("mlp", model, objectives, _BASELINE_WINDOW, *_MLP_STEPS[size])


def ensemble(size: Size) -> TrainConfig:
    """The baseline of seven networks that predict Gaussians from the present alone."""
    width, layers = _NETWORKS[size]
    objectives = {"next_state_likelihood": NextStateLikelihoodConfig()}
    model = EnsembleDynamicsConfig(width=width, layers=layers)
    return _trained("ensemble", model, objectives, _BASELINE_WINDOW, *_ENSEMBLE_STEPS[size])


def recurrent(size: Size) -> TrainConfig:
    """The baseline that sums up its history in a recurrent state and a few categorical
    variables."""
    width, variables, window = _RECURRENT[size]
    model = RecurrentDynamicsConfig(width=width, variables=variables, categories=variables)
    return _trained(
        "recurrent", model, {"latent_state": LatentStateConfig()}, window, *_STEPS[size]
    )


def _trained(
    name: str,
    model: DynamicsConfig,
    objectives: Mapping[str, ObjectiveConfig],
    window: int,
    steps: int,
    batch_size: int,
) -> TrainConfig:
    return TrainConfig(
        method="transformer_dynamics",
        phase=f"dynamics-{name}",
        window=WindowConfig(steps=window, chunk=1, paraphrases=False),
        model=model,
        objectives=objectives,
        optimizer=OptimizerConfig(learning_rate=1e-3, weight_decay=0.01, warmup_steps=steps // 20),
        steps=steps,
        batch_size=batch_size,
        checkpoint_every_steps=max(1, steps // 4),
    )
