"""The settings in which studies measure an agent: unseen goals, and tasks held out, told only or shown a few times."""

from __future__ import annotations

from dataclasses import replace

from manyparts.methods.dualmind import trained_parts, transformer
from manyparts.studies.stages import Collect, Train, one_process
from manyparts.training.config import TrainConfig

UNSEEN, ZERO_SHOT = "unseen goals", "held-out tasks, zero-shot"
ZERO_SHOT_BODIES = "unseen bodies, zero-shot"


def few_shot(shots: int) -> str:
    """The name of a setting."""
    return f"held-out tasks, {demonstrations(shots)}"


def few_shot_bodies(episodes: int) -> str:
    """The name of a setting."""
    return f"unseen bodies, {episodes} episode{'s' if episodes > 1 else ''}"


def demonstrations(count: int) -> str:
    """So many of them, in words."""
    return f"{count} demonstration{'s' if count > 1 else ''}"


def tuned(run: Train, data: Collect, recipe: TrainConfig, *, steps: int) -> Train:
    """Imitation of a few demonstrations of one task, all trained but the vision encoder.

    recipe: the phase II whose learning rate and augmentation it has. All demonstrations are trained on.
    """
    model = transformer(run.config)
    parts = trained_parts(3, layers=model.layers)
    config = replace(
        run.config,
        phase="few-shot",
        objectives={"behaviour_cloning": run.config.objectives["behaviour_cloning"]},
        train_only=parts if model.prompt else tuple(part for part in parts if not part.startswith("model.prompt")),
        cache_features=True,
        augmentation=recipe.augmentation,
        new_parameters=(),
        optimizer=replace(recipe.optimizer, warmup_steps=steps // 10),
        steps=steps,
        validation_fraction=0.0,
    )
    return Train(one_process(config), data, start_from=run)
