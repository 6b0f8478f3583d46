"""Two unlike bodies for tests.

An arm with one camera, a state and two numbers to act by; a crawler with two cameras, no state and
three choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data.synthetic import FPS, TASKS, make_episode
from data.synthetic import make_spec as make_arm
from factories import SIZE, make_batch

from manyparts.core.records import Batch, Episode
from manyparts.core.spec import ActionContract, Spec
from manyparts.data.dataset import DatasetWriter, EpisodeDataset, TaskEntry
from manyparts.embodiment.embodiment_set import EmbodimentSet

ENVIRONMENT = {"type": "EnvConfig", "image_size": 16}
ARM = replace(make_arm(), embodiment="arm")
CHOICES = ActionContract.discrete(("left", "right", "ahead"), frame="body", control_rate_hz=4.0)
CRAWLER = Spec("crawler", {"eye": (SIZE, SIZE), "goal": (SIZE, SIZE)}, (), CHOICES)
BOTH = EmbodimentSet((ARM, CRAWLER))


def write_arm(
    path: Path, episodes: int = 24, *, seed: int = 0, size: int = SIZE, **options: Any
) -> EpisodeDataset:
    spec = replace(make_arm(size), embodiment="arm")
    return _write(
        path,
        spec,
        [make_episode(seed + number, 16, spec) for number in range(episodes)],
        TASKS,
        **options,
    )


def write_crawler(path: Path, episodes: int = 11) -> EpisodeDataset:
    draw, made = np.random.default_rng(5), []
    for number in range(episodes):
        episode = make_episode(100 + number, 20, CRAWLER, task=0)
        action = draw.integers(0, 3, (20, 1)).astype(np.float32)
        made.append(
            replace(
                episode,
                task="toy/crawl",
                instruction="crawl home",
                action=action,
                expert_action=action,
            )
        )
    return _write(path, CRAWLER, made, (TaskEntry("toy/crawl", "crawl home"),))


def make_mixed_batch(embodiment: Sequence[int] = (0, 1, 1, 0), *, seed: int = 0) -> Batch:
    """Random rows of `BOTH`; what a row's body lacks is random too, where a dataset's rows would
    have zeros."""
    index = torch.tensor(embodiment)
    spec = replace(ARM, cameras=BOTH.slots)
    states = torch.tensor([each.state_dimension for each in BOTH.specs])[index]
    actions = torch.tensor([each.action.dimension for each in BOTH.specs])[index]
    return replace(
        make_batch(len(index), seed=seed, spec=spec),
        embodiment=index,
        state_mask=torch.arange(BOTH.state_dimension) < states[:, None],
        action_mask=torch.arange(BOTH.action_dimension) < actions[:, None],
    )


def rows_of(batch: Batch, rows: Sequence[int]) -> Batch:
    """Some rows of a batch without pictures in its prompts."""
    chosen = torch.tensor(rows)
    tensors = {
        name: value[chosen]
        for name, value in vars(batch).items()
        if isinstance(value, torch.Tensor)
    }
    images = {name: value[chosen] for name, value in batch.images.items()}
    return replace(batch, images=images, prompt=tuple(batch.prompt[row] for row in rows), **tensors)


def _write(
    path: Path,
    spec: Spec,
    episodes: Sequence[Episode],
    tasks: Sequence[TaskEntry],
    environment: dict[str, Any] = ENVIRONMENT,
) -> EpisodeDataset:
    with DatasetWriter(path, spec, fps=FPS, tasks=tasks, environment=environment) as writer:
        for episode in episodes:
            writer.add(episode)
    return EpisodeDataset.open(path)
