"""Observation t, then action t: a window's actions, replayed in the simulator, show the window's
observations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from data.synthetic import FPS

from manyparts.core.records import Episode
from manyparts.data.dataset import DatasetWriter, EpisodeDataset, TaskEntry
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.windows import Windows
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.envs.registry import make

SEEDS, LENGTH = (3, 8), 13


def record(seed: int) -> Episode:
    """A recording in which the executed action differs from the expert's."""
    env = make("pointmass/reach", split="train")
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    steps = []
    for _ in range(LENGTH):
        expert = env.expert_action()
        action = np.clip(expert + rng.normal(0, 0.5, expert.shape), -1, 1).astype(np.float32)
        after, reward, _, _, info = env.step(action)
        steps.append((observation, action, expert, reward, info["success"]))
        observation = after
    observations, actions, experts, rewards, successes = zip(*steps, strict=True)
    return Episode(
        task="pointmass/reach",
        instruction="reach it",
        seed=seed,
        images={
            name: np.stack([item["images"][name] for item in observations])
            for name in env.embodiment_spec.cameras
        },
        state=np.stack([item["state"] for item in observations]),
        action=np.stack(actions),
        expert_action=np.stack(experts),
        reward=np.asarray(rewards, np.float32),
        success=np.asarray(successes),
    )


def test_replayed_actions_give_recorded_observations(tmp_path: Path) -> None:
    env = make("pointmass/reach", split="train")
    spec = env.embodiment_spec
    tasks = [TaskEntry("pointmass/reach", "reach it")]
    with DatasetWriter(tmp_path / "set", spec, fps=FPS, tasks=tasks, environment={}) as writer:
        for seed in SEEDS:
            writer.add(record(seed))
    dataset = EpisodeDataset.open(tmp_path / "set")
    steps, chunk = 4, 3
    windows = Windows(
        dataset, FrameCache.open(dataset, tmp_path / "cache"), WindowConfig(steps, chunk), seed=0
    )
    batch = windows.batch(0, windows.num_windows)
    normaliser = StateNormaliser.of(dataset.statistics, spec.state_dimension)
    for episode, seed in enumerate(SEEDS):
        row = batch.window.tolist().index(int(dataset.starts[episode]))
        actions = spec.action.denormalise(batch.action[row].numpy())
        observation, _ = env.reset(seed=seed)
        for t in range(steps):
            state = normaliser.inverse(batch.state[row, t].numpy())
            np.testing.assert_allclose(state, observation["state"], atol=1e-5)
            for camera, shown in batch.images.items():
                expected = observation["images"][camera].transpose(2, 0, 1)
                assert np.abs(shown[row, t].numpy().astype(int) - expected).mean() < 0.5, (
                    camera,
                    t,
                )
            for action in actions[t]:
                observation = env.step(action)[0]
