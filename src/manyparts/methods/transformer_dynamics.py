"""Presets of dynamics models to plan with (Schubert et al. 2023, arXiv 2305.10912)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from manyparts.data.sampling.config import WindowConfig
from manyparts.methods.facts import PresetFacts
from manyparts.models.dynamics.configs import (
    Decoding,
    DynamicsConfig,
    DynamicsTransformerConfig,
    EnsembleDynamicsConfig,
    MlpDynamicsConfig,
    RecurrentDynamicsConfig,
)
from manyparts.objectives.configs import (
    LatentStateConfig,
    NextActionConfig,
    NextStateConfig,
    NextStateLikelihoodConfig,
    NextStepConfig,
    ObjectiveConfig,
)
from manyparts.training.config import OptimizerConfig, TrainConfig

Size = Literal["debug", "laptop", "paper"]
_SIZES: tuple[Size, ...] = ("debug", "laptop", "paper")
# Width, layers, heads and bins. The paper gives no sizes; "paper" follows from its description.
_MODELS: dict[Size, tuple[int, int, int, int]] = {
    "debug": (32, 1, 2, 64),
    "laptop": (128, 3, 4, 512),
    "paper": (384, 6, 8, 1024),
}
# Steps of a window.
_CONTEXT: dict[Size, int] = {"debug": 4, "laptop": 8, "paper": 16}
# Optimiser steps and windows per step.
_STEPS: dict[Size, tuple[int, int]] = {
    "debug": (20, 8),
    "laptop": (3000, 32),
    "paper": (200_000, 256),
}
_PARALLEL_STEPS: dict[Size, tuple[int, int]] = {**_STEPS, "laptop": (6000, 32)}
# Width and layers of the baselines. The paper's are those of PETS; with the laptop's they train no
# longer than the parallel transformer.
_NETWORKS: dict[Size, tuple[int, int]] = {"debug": (32, 2), "laptop": (128, 3), "paper": (200, 4)}
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
# Width, number of categorical variables (each with as many categories), and steps of a window.
_RECURRENT: dict[Size, tuple[int, int, int]] = {
    "debug": (32, 8, 4),
    "laptop": (128, 16, 16),
    "paper": (200, 32, 50),
}
_POLICY_WEIGHT = 0.1  # with a weight of 1 the policy's loss makes the dynamics worse
_BASELINE_WINDOW = 4  # steps; each is predicted from the one before


def dynamics(decoding: Decoding, size: Size) -> TrainConfig:
    """Learn a transformer of one embodiment's dynamics from its states.

    Collect them with `--state full`.

    Args:
        decoding: How the numbers of a step are predicted; see `DynamicsTransformerConfig`.
        size: The size of the model and of its training.
    """
    width, layers, heads, bins = _MODELS[size]
    model = DynamicsTransformerConfig(
        width=width, layers=layers, heads=heads, bins=bins, decoding=decoding
    )
    objective = NextStepConfig(std=bins / 512)
    steps = _PARALLEL_STEPS if decoding == "parallel" else _STEPS
    return _trained(decoding, model, {"next_step": objective}, _CONTEXT[size], *steps[size])


def generalist(size: Size) -> TrainConfig:
    """Learn a transformer of many embodiments' dynamics, and a policy that imitates their experts.

    Collect the data with `--state shared`. A step has ten times as many numbers as that of one
    embodiment, so each number has a quarter of the bins.
    """
    config = dynamics("parallel", size)
    assert isinstance(config.model, DynamicsTransformerConfig), config.model
    bins = config.model.bins // 4
    return replace(
        config,
        phase="dynamics-generalist",
        model=replace(config.model, bins=bins, policy=True),
        objectives={
            "next_step": NextStepConfig(std=bins / 512),
            "next_action": NextActionConfig(weight=_POLICY_WEIGHT),
        },
        steps=2 * config.steps,
    )


def mlp(size: Size) -> TrainConfig:
    """Learn the baseline that predicts the next state from the current one."""
    width, layers = _NETWORKS[size]
    objectives = {"next_state": NextStateConfig()}
    model = MlpDynamicsConfig(width=width, layers=layers)
    return _trained("mlp", model, objectives, _BASELINE_WINDOW, *_MLP_STEPS[size])


def ensemble(size: Size) -> TrainConfig:
    """Learn the baseline of seven networks that predict Gaussians from the current state."""
    width, layers = _NETWORKS[size]
    objectives = {"next_state_likelihood": NextStateLikelihoodConfig()}
    model = EnsembleDynamicsConfig(width=width, layers=layers)
    return _trained("ensemble", model, objectives, _BASELINE_WINDOW, *_ENSEMBLE_STEPS[size])


def recurrent(size: Size) -> TrainConfig:
    """Learn the baseline with a recurrent state and a few categorical variables."""
    width, variables, window = _RECURRENT[size]
    objectives = {"latent_state": LatentStateConfig()}
    model = RecurrentDynamicsConfig(width=width, variables=variables, categories=variables)
    return _trained("recurrent", model, objectives, window, *_STEPS[size])


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


_WHAT = {
    "parallel": "A transformer of one embodiment's dynamics, all numbers of a step at once.",
    "sequential": "A transformer of one embodiment's dynamics, one number at a time.",
    "generalist": "A transformer of many embodiments' dynamics and of their experts' actions.",
    "mlp": "A perceptron that predicts the next state from the current one.",
    "ensemble": "Seven perceptrons that predict Gaussians from the current state.",
    "recurrent": "A recurrent model with categorical latent variables.",
}
# In docs/evidence/dynamics-specialist-laptop.tar.xz (cartpole-swingup, three seeds) and
# dynamics-generalist-laptop.tar.xz (five seeds): parameters and mean core hours; scores are those
# of docs/results/dynamics.md.
_LAPTOP = {
    "parallel": PresetFacts(
        _WHAT["parallel"],
        parameters=1_011_078,
        hours=0.041,
        score="mean reward per step 0.37 [0.35, 0.39] in cartpole-swingup, planning",
    ),
    "generalist": PresetFacts(
        _WHAT["generalist"],
        parameters=1_868_245,
        hours=0.128,
        score="mean reward per step 0.56 [0.42, 0.70] with three unseen walkers, planning",
    ),
    "mlp": PresetFacts(
        _WHAT["mlp"],
        parameters=34_694,
        hours=0.021,
        score="mean reward per step 0.38 [0.32, 0.44] in cartpole-swingup, planning",
    ),
    "ensemble": PresetFacts(
        _WHAT["ensemble"],
        parameters=248_288,
        hours=0.027,
        score="mean reward per step 0.39 [0.38, 0.40] in cartpole-swingup, planning",
    ),
}


def _facts() -> dict[str, PresetFacts]:
    facts: dict[str, PresetFacts] = {}
    for name, what in _WHAT.items():
        for size in _SIZES:
            facts[f"{name}-{size}"] = PresetFacts(what)
    return facts | {f"{name}-laptop": measured for name, measured in _LAPTOP.items()}


FACTS = _facts()
