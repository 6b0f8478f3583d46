"""Online runs that take seconds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyparts.agents.random import RandomAgent
from manyparts.core.serialisation import to_jsonable
from manyparts.core.spec import TaskEntry
from manyparts.data.sampling.replay import Replay
from manyparts.data.tools.export import export
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig
from manyparts.methods import preset
from manyparts.rollout.collector import Collector
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


def small(name: str, *, sees: str = "state", steps: int = 4, **model: Any) -> TrainConfig:
    """A preset that learns from datasets, for so many updates."""
    config = preset(name)
    latent = replace(config.model.latent, variables=3)
    depth = config.model.depth if sees == "state" else 4
    world = replace(config.model, width=8, depth=depth, latent=latent, sees=sees, **model)
    window = replace(config.window, steps=4)
    return replace(config, model=world, window=window, steps=steps, batch_size=4)


def seeing(config: TrainConfig, sees: str = "images", **model: Any) -> TrainConfig:
    """The same config for a model that sees something else."""
    return replace(config, model=replace(config.model, sees=sees, depth=4, **model))


def record(task: str, folder: Path, *, episodes: int = 3, **seen: Any) -> Path:
    """A dataset of random actions, with rewards, in a folder."""
    config = EnvConfig.of(seen)
    env = registry.make(task, config)
    about = {
        "environment": to_jsonable(config),
        "tasks": [to_jsonable(TaskEntry(task, registry.instructions(task).instruction))],
        "terminates": env.can_terminate,
    }
    replay = folder.with_name(f"{folder.name}-replay")
    spec = env.embodiment_spec
    collector = Collector(
        [env], Replay(replay, spec, max_frames=10**6, about=about), seed=len(task)
    )
    steps = episodes * env.max_steps
    collector.whole_episodes(steps, lambda seed: RandomAgent(spec, seed=seed))
    env.close()
    export(replay, folder)
    return folder
