"""Online runs that take seconds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyparts.methods import preset
from manyparts.training.config import TrainConfig

SEEN = {"max_steps": 20, "state": "full"}


def tiny(name: str = "dreamer/debug", **online: Any) -> TrainConfig:
    """A preset that acts for 130 environment steps."""
    config = preset(name)
    assert config.online is not None
    schedule = {
        "environment_steps": 130,
        "prefill_steps": 45,
        "train_ratio": 2.0,
        "evaluate_every_steps": 60,
        "evaluation_episodes": 1,
        "final_episodes": 0,
        "action_repeat": None,
        "source_windows": min(config.online.source_windows, 2),
    }
    behaviour = replace(config.objectives["actor_critic"], width=8, starts=4, horizon=2)
    return replace(
        config,
        window=replace(config.window, steps=4),
        model=replace(config.model, width=8, latent=replace(config.model.latent, variables=3)),
        objectives={**config.objectives, "actor_critic": behaviour},
        optimizer=replace(config.optimizer, final_fraction=1.0),
        batch_size=2,
        checkpoint_every_steps=6,
        log_every_steps=2,
        online=replace(config.online, **{**schedule, **online}),
    )


def rows(run: Path) -> list[dict[str, float]]:
    """The metrics of a run, without what depends on the clock."""
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in row.items() if not name.endswith("per_second")}
        for row in read
    ]
