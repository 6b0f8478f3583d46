"""Small made-up episodes for the tests of the data layer."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from manyparts.core.records import Episode
from manyparts.core.spec import ActionContract, Spec
from manyparts.data.dataset import DatasetWriter, EpisodeDataset, TaskEntry

FPS = 80.0
TASKS = (
    TaskEntry("toy/reach", "reach the red ball", ("touch the red ball", "go to the red ball")),
    TaskEntry("toy/push", "push the block", ("move the block away",)),
)
ENVIRONMENT = {"type": "EnvConfig", "image_size": 16}


def make_spec(size: int = 16, cameras: tuple[str, ...] = ("front",)) -> Spec:
    action = ActionContract(
        "delta_position", "world", ("x", "y"), (-1.0, -2.0), (1.0, 2.0), FPS, None
    )
    return Spec(
        "toy", dict.fromkeys(cameras, (size, size)), ("hand_x", "hand_y", "gripper"), action
    )


def make_episode(
    seed: int, length: int, spec: Spec | None = None, task: int | None = None
) -> Episode:
    """Smooth images (so that video keeps them), random numbers; half of the episodes are
    noisy."""
    spec = spec or make_spec()
    rng = np.random.default_rng(seed)
    entry = TASKS[seed % 2 if task is None else task]
    action = rng.uniform(-1, 1, (length, spec.action.dimension)).astype(np.float32)
    noise = 0.1 if seed % 2 else 0.0
    return Episode(
        task=entry.name,
        instruction=entry.instruction,
        seed=seed,
        images={camera: _images(rng, length, size) for camera, size in spec.cameras.items()},
        state=rng.normal(size=(length, spec.state_dimension)).astype(np.float32),
        action=action,
        expert_action=(action - noise).astype(np.float32),
        reward=rng.uniform(size=length).astype(np.float32),
        success=np.arange(length) >= length - 2,
    )


def write(
    path: Path,
    episodes: list[Episode],
    spec: Spec | None = None,
    images: Literal["png", "video"] = "png",
    *,
    terminates: bool = False,
    knows_success: bool = True,
) -> EpisodeDataset:
    with DatasetWriter(
        path,
        spec or make_spec(),
        fps=FPS,
        tasks=TASKS,
        environment=ENVIRONMENT,
        images=images,
        terminates=terminates,
        knows_success=knows_success,
    ) as writer:
        for episode in episodes:
            writer.add(episode)
    return EpisodeDataset.open(path)


def assert_equal(one: Episode, other: Episode) -> None:
    assert (one.task, one.instruction, one.seed) == (other.task, other.instruction, other.seed)
    assert one.terminated == other.terminated
    for name in ("state", "action", "expert_action", "reward", "success"):
        left, right = getattr(one, name), getattr(other, name)
        assert left.dtype == right.dtype, (name, left.dtype, right.dtype)
        np.testing.assert_array_equal(left, right)
    assert one.images.keys() == other.images.keys()
    for camera in one.images:
        np.testing.assert_array_equal(one.images[camera], other.images[camera])


def _images(rng: np.random.Generator, length: int, size: tuple[int, int]) -> np.ndarray:
    """A slope in green and blue; red tells the step by more than compression changes."""
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    offset = int(rng.integers(0, 60))
    frames = np.empty((length, height, width, 3), np.uint8)
    for step in range(length):
        frames[step] = np.stack(
            [np.full_like(rows, 9 * step % 256), rows + offset, columns + offset], axis=-1
        )
    return frames
