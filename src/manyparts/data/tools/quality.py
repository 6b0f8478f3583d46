"""How good each demonstration is to learn from, by its states and actions alone.

After Belkhale, Cui and Sadigh 2023, "Data Quality in Imitation Learning": experts should act alike
where states are alike (low action divergence), while transitions differ (high diversity).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from manyparts.core.columns import ACTION, STATE
from manyparts.core.errors import UserError
from manyparts.core.progress import progress_bar
from manyparts.data.dataset import EpisodeDataset

Measure = Literal["divergence", "diversity", "idle", "extraneous"]
WORSE_IS_MORE: Mapping[Measure, bool] = {
    "divergence": True,
    "diversity": False,
    "idle": True,
    "extraneous": True,
}
_NEIGHBOURS, _REFERENCES = 5, 40
_STILL = 0.02  # standard deviations of the state; less a step is no movement
_BACK = 0.1  # standard deviations of the state; nearer is the same place
_LOOP = 5  # steps; a shorter return is a tremble


@dataclass(frozen=True)
class Quality:
    """One value an episode: float64 (n,).

    divergence: how differently others of the same task act at the nearest states: mean square
    distance of actions, in variances of the task's actions. 1 is chance. NaN for the only
    demonstration of a task. diversity: distance of its transitions to the nearest ones of others,
    in standard deviations. idle: share of steps in which neither the state moves nor the action
    differs from the one before. extraneous: share of steps that lead back to where the state was
    before.
    """

    divergence: np.ndarray
    diversity: np.ndarray
    idle: np.ndarray
    extraneous: np.ndarray

    def of(self, measure: Measure) -> np.ndarray:
        """One measure by its name. Raises UserError naming the choices."""
        names = [each.name for each in fields(self)]
        if measure not in names:
            raise UserError(f"no quality measure {measure!r}; choices: {', '.join(names)}")
        return getattr(self, measure)


def measure_quality(dataset: EpisodeDataset) -> Quality:
    """Look at all states and actions of a dataset. Raises UserError if it has no state."""
    if not dataset.spec.state_names:
        raise UserError(f"{dataset.path} has no state, which quality is measured by")
    found = {name: np.full(dataset.num_episodes, np.nan) for name in WORSE_IS_MORE}
    scale = np.maximum(np.asarray(dataset.statistics[STATE].std), 1e-6)
    with progress_bar("measuring", dataset.num_episodes) as bar:
        for task in np.unique(dataset.episode_task):
            episodes = np.flatnonzero(dataset.episode_task == task)
            motion = {int(index): _motion(dataset, int(index), scale) for index in episodes}
            for index, (state, action) in motion.items():
                found["idle"][index] = _idle(state, action)
                found["extraneous"][index] = _extraneous(state)
            for index, divergence, diversity in _compared(motion):
                found["divergence"][index], found["diversity"][index] = divergence, diversity
            bar.show(int(np.isfinite(found["idle"]).sum()), "")
    return Quality(**found)


def quality_table(dataset: EpisodeDataset) -> list[dict[str, Any]]:
    """Of each task the mean of every measure and the episode that is worst by it: plain values,
    JSON-ready."""
    quality, rows = measure_quality(dataset), []
    for number, task in enumerate(dataset.tasks):
        episodes = np.flatnonzero(dataset.episode_task == number)
        row: dict[str, Any] = {"task": task.name}
        for measure, worse_is_more in WORSE_IS_MORE.items():
            values = quality.of(measure)[episodes]
            known = np.isfinite(values)
            row[measure] = float(values[known].mean()) if known.any() else None
            worst = (
                episodes[known][(np.argmax if worse_is_more else np.argmin)(values[known])]
                if known.any()
                else None
            )
            row[f"worst {measure}"] = None if worst is None else f"episode {worst}"
        rows.append(row)
    return rows


def best_episodes(dataset: EpisodeDataset, measure: Measure, drop: float) -> np.ndarray:
    """The episodes that are left when of each task the share `drop` that is worst by `measure`
    goes: int64, ascending; at least one a task."""
    if not 0 <= drop < 1:
        raise UserError(f"drop is {drop}; expected a share of at least 0 and below 1")
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
    """States in standard deviations, and actions."""
    columns, length = dataset.columns(index), dataset.length(index)
    return columns[STATE].reshape(length, -1) / scale, columns[ACTION].reshape(length, -1).astype(
        np.float64
    )


def _compared(
    motion: Mapping[int, tuple[np.ndarray, np.ndarray]],
) -> Iterator[tuple[int, float, float]]:
    """Episode, divergence and diversity, against up to 40 other demonstrations of its task; each of
    them has one vote a step, so that one bad demonstration nearby does not matter."""
    if len(motion) < 2:
        return
    from scipy.spatial import cKDTree  # pyright: ignore

    actions = np.concatenate([action for _, action in motion.values()])
    variance, spread = (
        max(float(actions.var(axis=0).sum()), 1e-12),
        np.maximum(actions.std(axis=0), 1e-6),
    )
    joined = {
        index: np.concatenate([state, action / spread], axis=1)
        for index, (state, action) in motion.items()
    }
    known = list(motion)
    references = [
        known[place]
        for place in np.unique(np.linspace(0, len(known) - 1, _REFERENCES + 1).astype(int))
    ]
    by_state = {index: cKDTree(motion[index][0]) for index in references}
    by_transition = {index: cKDTree(joined[index]) for index in references}
    for index, (state, action) in motion.items():
        others = [other for other in references if other != index]
        found = {other: by_state[other].query(state) for other in others}
        distances = np.stack([distance for distance, _ in found.values()])
        theirs = np.stack([motion[other][1][places] for other, (_, places) in found.items()])
        apart = ((action - theirs) ** 2).sum(axis=2)
        nearest = np.argsort(distances, axis=0, kind="stable")[:_NEIGHBOURS]
        divergence = np.median(np.take_along_axis(apart, nearest, axis=0), axis=0).mean() / (
            2 * variance
        )
        diversity = np.min(
            [by_transition[other].query(joined[index])[0] for other in others], axis=0
        ).mean()
        yield index, float(divergence), float(diversity)


def _idle(state: np.ndarray, action: np.ndarray) -> float:
    if len(state) < 2:
        return 0.0
    still = np.linalg.norm(np.diff(state, axis=0), axis=1) < _STILL
    same = np.linalg.norm(np.diff(action, axis=0), axis=1) < 1e-3
    return float((still & same).mean())


def _extraneous(state: np.ndarray) -> float:
    """Steps on loops: from a place to the last return to it."""
    length, place, wasted = len(state), 0, 0
    while place < length - _LOOP:
        later = state[place + _LOOP :]
        back = np.flatnonzero(np.linalg.norm(later - state[place], axis=1) < _BACK)
        loop = state[place : place + _LOOP + int(back[-1])] if len(back) else state[:0]
        if len(loop) and np.linalg.norm(loop - state[place], axis=1).max() > 2 * _BACK:
            wasted += len(loop)
            place += len(loop)
        else:
            place += 1
    return wasted / length
