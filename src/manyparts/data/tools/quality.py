"""Measure how good demonstrations are to learn from, by their states and actions alone.

After Belkhale, Cui and Sadigh 2023, "Data Quality in Imitation Learning": experts should act
similarly in similar states (low action divergence), while transitions differ (high diversity).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from manyparts.core.columns import ACTION, STATE
from manyparts.core.errors import UserError
from manyparts.core.progress import progress_bar
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.measures import Measure

WORSE_IS_MORE: Mapping[Measure, bool] = {
    "divergence": True,
    "diversity": False,
    "idle": True,
    "extraneous": True,
}
_NEIGHBOURS, _REFERENCES = 5, 40
_STILL = 0.4  # standard deviations per second, of state and action; slower is no movement
_SAME_STATE = 0.1  # standard deviations of the state; states that are nearer count as equal
_MIN_LOOP = 5  # steps; a shorter return is a tremble


@dataclass(frozen=True)
class Quality:
    """The measures of n episodes; NaN for the only demonstration of a task where others are
    needed."""

    divergence: np.ndarray
    """float64 (n,), mean squared distance to the actions of other demonstrations of the task at the
    nearest states, in variances of the task's actions; 1 is chance."""
    diversity: np.ndarray
    """float64 (n,), mean distance of transitions to the nearest ones of other demonstrations of the
    task, in standard deviations."""
    idle: np.ndarray
    """float64 (n,), fraction of steps in which neither state nor action changes."""
    extraneous: np.ndarray
    """float64 (n,), fraction of steps that lead back to an earlier state."""

    def of(self, measure: Measure) -> np.ndarray:
        """One measure by its name. Raises UserError naming the choices."""
        names = [each.name for each in fields(self)]
        if measure not in names:
            raise UserError(f"no quality measure {measure!r}; choices: {', '.join(names)}")
        return getattr(self, measure)


def measure_quality(dataset: EpisodeDataset) -> Quality:
    """Measure all episodes of a dataset. Raises UserError if it has no state."""
    if not dataset.spec.state_names:
        raise UserError(f"{dataset.path} has no state, which quality is measured by")
    values = {name: np.full(dataset.num_episodes, np.nan) for name in WORSE_IS_MORE}
    scale, unit = (
        np.maximum(np.asarray(dataset.statistics[name].std), 1e-6) for name in (STATE, ACTION)
    )
    with progress_bar(f"measuring episodes of {dataset.path.name}", dataset.num_episodes) as bar:
        for task in np.unique(dataset.episode_task):
            episodes = np.flatnonzero(dataset.episode_task == task)
            motion = {int(index): _motion(dataset, int(index), scale) for index in episodes}
            for index, (state, action) in motion.items():
                values["idle"][index] = _idle(state, action / unit, _STILL / dataset.fps)
                values["extraneous"][index] = _extraneous(state)
            for index, divergence, diversity in _compare(motion):
                values["divergence"][index], values["diversity"][index] = divergence, diversity
            bar.show(int(np.isfinite(values["idle"]).sum()), "")
    return Quality(**values)


def quality_table(dataset: EpisodeDataset) -> list[dict[str, Any]]:
    """For each task the mean of every measure, and the episode that is worst by it.

    Returns:
        One row of plain JSON values per task.
    """
    quality, rows = measure_quality(dataset), []
    for number, task in enumerate(dataset.tasks):
        episodes = np.flatnonzero(dataset.episode_task == number)
        row: dict[str, Any] = {"task": task.name}
        for measure, worse_is_more in WORSE_IS_MORE.items():
            values = quality.of(measure)[episodes]
            finite = np.isfinite(values)
            row[measure] = row[f"worst {measure}"] = None
            if finite.any():
                row[measure] = float(values[finite].mean())
                find_worst = np.argmax if worse_is_more else np.argmin
                worst = episodes[finite][find_worst(values[finite])]
                row[f"worst {measure}"] = f"episode {worst}"
        rows.append(row)
    return rows


def best_episodes(dataset: EpisodeDataset, measure: Measure, drop: float) -> np.ndarray:
    """The episodes that are left without the worst ones of each task.

    Args:
        dataset: the dataset.
        measure: by which episodes are ranked.
        drop: fraction of each task's episodes to drop, at least 0 and below 1.

    Returns:
        int64, ascending; at least one per task.
    """
    if not 0 <= drop < 1:
        raise UserError(f"drop is {drop}; expected a fraction of at least 0 and below 1")
    values = measure_quality(dataset).of(measure)
    worst_last = np.where(np.isnan(values), -np.inf, values if WORSE_IS_MORE[measure] else -values)
    kept = []
    for task in np.unique(dataset.episode_task):
        episodes = np.flatnonzero(dataset.episode_task == task)
        order = episodes[np.argsort(worst_last[episodes], kind="stable")]
        kept.append(order[: max(1, len(order) - int(drop * len(order)))])
    return np.sort(np.concatenate(kept))


def _motion(
    dataset: EpisodeDataset, index: int, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """States (T, s) in standard deviations, and actions (T, a), of an episode."""
    columns, length = dataset.columns(index), dataset.length(index)
    state = columns[STATE].reshape(length, -1) / scale
    return state, columns[ACTION].reshape(length, -1).astype(np.float64)


def _compare(
    motion: Mapping[int, tuple[np.ndarray, np.ndarray]],
) -> Iterator[tuple[int, float, float]]:
    """Compare each demonstration with up to 40 others of its task.

    At each step every other demonstration has one vote, its nearest state, and the median of the
    five nearest votes counts, so that one bad demonstration nearby does not matter.

    Args:
        motion: states (T, s) and actions (T, a) of all demonstrations of a task.

    Yields:
        Episode, divergence and diversity.
    """
    if len(motion) < 2:
        return
    from scipy.spatial import cKDTree  # pyright: ignore

    actions = np.concatenate([action for _, action in motion.values()])
    variance = max(float(actions.var(axis=0).sum()), 1e-12)
    std = np.maximum(actions.std(axis=0), 1e-6)
    transitions = {
        index: np.concatenate([state, action / std], axis=1)
        for index, (state, action) in motion.items()
    }
    episodes = list(motion)
    positions = np.unique(np.linspace(0, len(episodes) - 1, _REFERENCES + 1).astype(int))
    references = [episodes[position] for position in positions]
    by_state = {index: cKDTree(motion[index][0]) for index in references}
    by_transition = {index: cKDTree(transitions[index]) for index in references}
    for index, (state, action) in motion.items():
        others = [other for other in references if other != index]
        distances, squared = [], []  # of each other demonstration, (T,)
        for other in others:
            distance, rows = by_state[other].query(state)
            distances.append(distance)
            squared.append(((action - motion[other][1][rows]) ** 2).sum(axis=1))
        nearest = np.argsort(np.stack(distances), axis=0, kind="stable")[:_NEIGHBOURS]
        votes = np.take_along_axis(np.stack(squared), nearest, axis=0)
        # Two independent actions differ by twice the variance.
        divergence = np.median(votes, axis=0).mean() / (2 * variance)
        to_others = [by_transition[other].query(transitions[index])[0] for other in others]
        yield index, float(divergence), float(np.min(to_others, axis=0).mean())


def _idle(state: np.ndarray, action: np.ndarray, change: float) -> float:
    """The fraction of steps in which neither state nor action, both in standard deviations, changes
    by so much."""
    if len(state) < 2:
        return 0.0
    still, same = (
        np.linalg.norm(np.diff(values, axis=0), axis=1) < change for values in (state, action)
    )
    return float((still & same).mean())


def _extraneous(state: np.ndarray) -> float:
    """The fraction of steps on loops, which go from a state to the last return to it."""
    length, row, extraneous = len(state), 0, 0
    while row < length - _MIN_LOOP:
        later = state[row + _MIN_LOOP :]
        returns = np.flatnonzero(np.linalg.norm(later - state[row], axis=1) < _SAME_STATE)
        loop = state[row : row + _MIN_LOOP + int(returns[-1])] if len(returns) else state[:0]
        # Standing still is no loop: it has to leave the state in between.
        if len(loop) and np.linalg.norm(loop - state[row], axis=1).max() > 2 * _SAME_STATE:
            extraneous += len(loop)
            row += len(loop)
        else:
            row += 1
    return extraneous / length
