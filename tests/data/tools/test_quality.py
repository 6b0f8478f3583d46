"""Quality measures tell planted bad demonstrations from good ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data.synthetic import ENVIRONMENT, FPS, TASKS, make_spec

from manyparts.core.errors import UserError
from manyparts.core.records import Episode
from manyparts.data.dataset import DatasetWriter, EpisodeDataset
from manyparts.data.tools.quality import WORSE_IS_MORE, best_episodes, measure_quality

SPEC = make_spec(cameras=())


def straight(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """To the middle from somewhere in a corner, a part of the way each step."""
    rng = np.random.default_rng(seed)
    position, states, actions = 1 + rng.uniform(-0.3, 0.3, 3), [], []
    for _ in range(40):
        step = -0.1 * position
        states.append(position)
        actions.append(step[:2])
        position = position + step
    return np.asarray(states), np.asarray(actions)


def against(seed: int) -> tuple[np.ndarray, np.ndarray]:
    states, actions = straight(seed)
    return states, -actions


def resting(seed: int) -> tuple[np.ndarray, np.ndarray]:
    states, actions = straight(seed)
    states[10:30], actions[10:30] = states[10], 0
    return states, actions


def circling(seed: int) -> tuple[np.ndarray, np.ndarray]:
    states, actions = straight(seed)
    angle = np.linspace(0, 2 * np.pi, 20)[:, None]
    states[10:30] = states[10] + np.concatenate(
        [1 - np.cos(angle), np.sin(angle), 0 * angle], axis=1
    )
    return states, actions


def repeated(_: int) -> tuple[np.ndarray, np.ndarray]:
    return straight(0)


def write(
    path: Path, motions: list[tuple[np.ndarray, np.ndarray]], *, fps: float = FPS
) -> EpisodeDataset:
    with DatasetWriter(path, SPEC, fps=fps, tasks=TASKS, environment=ENVIRONMENT) as writer:
        for seed, (state, action) in enumerate(motions):
            state, action = state.astype(np.float32), action.astype(np.float32)
            flat = np.zeros(len(state), np.float32)
            task = TASKS[0]
            writer.add(
                Episode(
                    task.name,
                    task.instruction,
                    seed,
                    {},
                    state,
                    action,
                    action,
                    flat,
                    flat.astype(bool),
                )
            )
    return EpisodeDataset.open(path)


@pytest.mark.parametrize(
    ("bad", "measure"),
    [(against, "divergence"), (repeated, "diversity"), (resting, "idle"), (circling, "extraneous")],
)
def test_planted_bad_demonstrations_are_the_worst(
    bad: Callable[[int], tuple[np.ndarray, np.ndarray]], measure: str, tmp_path: Path
) -> None:
    motions = [straight(seed) for seed in range(20)]
    for position in (5, 11):
        motions[position] = bad(position)
    dataset = write(tmp_path / "set", motions)
    values = measure_quality(dataset).of(measure)  # pyright: ignore
    worst = np.argsort(-values if WORSE_IS_MORE[measure] else values)  # pyright: ignore
    wanted = {0, 5, 11} if bad is repeated else {5, 11}
    assert set(worst[: len(wanted)].tolist()) == wanted, values
    assert not {5, 11} & set(best_episodes(dataset, measure, 0.15).tolist())  # pyright: ignore


def test_divergence_of_agreeing_experts(tmp_path: Path) -> None:
    quality = measure_quality(write(tmp_path / "set", [straight(seed) for seed in range(12)]))
    assert (
        quality.divergence.max() < 0.3
        and quality.idle.max() < 0.5
        and quality.extraneous.max() == 0
    )
    alone = measure_quality(write(tmp_path / "alone", [straight(0)]))
    assert np.isnan(alone.divergence).all() and not alone.extraneous.any()


@pytest.mark.parametrize(("unit", "fps"), [(1.0, 10.0), (1e-3, 10.0), (1.0, 60.0)])
def test_idle_depends_on_no_unit_and_no_rate(unit: float, fps: float, tmp_path: Path) -> None:
    """Two seconds of rest, and four of one steady motion."""
    seconds = np.arange(0, 6, 1 / fps)
    place = np.clip(seconds - 2, 0, None)[:, None] * np.array([0.05, 0.02, 0.01])
    motion = (place, place[:, :2] * unit)
    dataset = write(tmp_path / "set", [motion, motion], fps=fps)
    assert measure_quality(dataset).idle == pytest.approx([1 / 3, 1 / 3], abs=0.02)


def test_bad_choices_are_named(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", [straight(seed) for seed in range(3)])
    with pytest.raises(UserError, match=r"drop is 1\.5; expected a fraction"):
        best_episodes(dataset, "idle", 1.5)
