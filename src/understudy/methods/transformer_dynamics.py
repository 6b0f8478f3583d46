"""Transformer dynamics models (Schubert et al. 2023, arXiv 2305.10912): predict, then plan."""

from __future__ import annotations

from typing import Literal

from understudy.data.windows import WindowConfig
from understudy.models.dynamics_transformer import Decoding, DynamicsTransformerConfig
from understudy.objectives.next_step import NextStepConfig
from understudy.training.config import OptimizerConfig, TrainConfig

Size = Literal["debug", "laptop", "paper"]
# The paper tells no sizes; the largest is what its description leads to.
_MODELS: dict[Size, tuple[int, int, int, int]] = {  # width, layers, heads, bins
    "debug": (32, 1, 2, 64),
    "laptop": (128, 3, 4, 512),
    "paper": (384, 6, 8, 1024),
}
_HISTORY: dict[Size, int] = {"debug": 4, "laptop": 8, "paper": 16}
_STEPS: dict[Size, tuple[int, int]] = {"debug": (20, 8), "laptop": (3000, 32), "paper": (200_000, 256)}


def dynamics(decoding: Decoding, size: Size) -> TrainConfig:
    """A model of one body's dynamics, from its states alone: collect them with `--state full`."""
    width, layers, heads, bins = _MODELS[size]
    steps, batch_size = _STEPS[size]
    return TrainConfig(
        method="transformer_dynamics",
        phase=f"dynamics-{decoding}",
        window=WindowConfig(steps=_HISTORY[size], chunk=1, paraphrases=False),
        model=DynamicsTransformerConfig(width=width, layers=layers, heads=heads, bins=bins, decoding=decoding),
        objectives={"next_step": NextStepConfig(deviation=bins / 512)},
        optimizer=OptimizerConfig(learning_rate=1e-3, weight_decay=0.01, warmup_steps=steps // 20),
        steps=steps,
        batch_size=batch_size,
        checkpoint_every_steps=max(1, steps // 4),
    )
