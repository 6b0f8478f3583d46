"""Windows of a dataset in which dynamics models predict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.core.columns import ACTION, STATE
from manyparts.core.errors import UserError
from manyparts.core.randomness import derive_seed
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.bounds import outside_bounds


@dataclass(frozen=True)
class Window:
    """Steps of an episode in the simulator's units: c + h + 1 states, and the c + h actions and
    rewards between them, for a context of c steps and a horizon of h."""

    episode: int
    """Index of the episode in the dataset."""

    first: int
    """The window's first frame in the episode."""

    state: Float[np.ndarray, "t s"]
    """States, float32."""

    action: Float[np.ndarray, "u a"]
    """Actions as executed, float32."""

    reward: Float[Tensor, "u"]
    """Rewards, float32."""

    seed: int
    """Seed of what models draw."""

    images: dict[str, np.ndarray]
    """Camera to its images of the t steps, uint8 (t, h, w, 3); of the cameras that were asked
    for."""


def draw_windows(
    dataset: EpisodeDataset,
    avoided: np.ndarray,
    context: int,
    horizon: int,
    count: int,
    seed: int,
    cameras: Sequence[str] = (),
) -> Iterator[Window]:
    """Draw windows, evenly over the episodes that are long enough.

    Args:
        dataset: where they are drawn from.
        avoided: episodes that are used only if no other is long enough.
        context: steps before each prediction.
        horizon: steps of each prediction.
        count: number of windows.
        seed: of the drawing, and of what models draw in each window.
        cameras: images of these are read.

    Raises:
        UserError: no episode is long enough, or a window has numbers that cannot be.
    """
    needed = context + horizon + 1
    lengths = np.diff(dataset.starts)
    long_enough = np.flatnonzero(lengths >= needed)
    if not len(long_enough):
        raise UserError(
            f"{dataset.path} has no episode of {needed} frames, which a context of {context} steps "
            f"and a horizon of {horizon} take; the longest has {lengths.max(initial=0)}: ask for "
            "shorter --horizons, or take longer episodes"
        )
    unseen = np.setdiff1d(long_enough, avoided)
    episodes = unseen if len(unseen) else long_enough
    generator = np.random.default_rng(seed)
    if len(episodes) > count:
        episodes = generator.permutation(episodes)
    for number in range(count):
        episode = int(episodes[number % len(episodes)])
        first = int(generator.integers(lengths[episode] - needed + 1))
        drawn = derive_seed("dream", seed, number)
        yield _window(dataset, episode, first, needed, drawn, cameras)


def _window(
    dataset: EpisodeDataset,
    episode: int,
    first: int,
    frames: int,
    seed: int,
    cameras: Sequence[str],
) -> Window:
    columns, length = dataset.columns(episode), dataset.length(episode)
    rows = slice(first, first + frames)
    contract, where = dataset.spec.action, f"{dataset.path}: episode {episode}, frame"
    stateless = np.zeros((length, 0), np.float32)
    state, action, reward = (
        np.asarray(values, np.float32).reshape(length, -1)[rows]
        for values in (
            columns[STATE] if dataset.spec.state_names else stateless,
            columns[ACTION],
            dataset.rewards(episode, columns),
        )
    )
    _require(np.isfinite(state), state, dataset.spec.state_names, where, first, "finite numbers")
    _require(np.isfinite(reward), reward, ("reward",), where, first, "finite numbers")
    bounds = f"actions from {contract.low} to {contract.high}"
    _require(~outside_bounds(contract, action), action, contract.names, where, first, bounds)
    steps = np.arange(first, first + frames)
    images = {camera: dataset.frames(episode, camera, steps) for camera in cameras}
    return Window(episode, first, state, action[:-1], torch.tensor(reward[:-1, 0]), seed, images)


def _require(
    holds: np.ndarray,
    values: np.ndarray,
    names: Sequence[str],
    where: str,
    first: int,
    expected: str,
) -> None:
    """Raises UserError naming the first of `values` (t, d) that does not hold."""
    for row, column in np.argwhere(~holds)[:1]:
        raise UserError(
            f"{where} {first + row}: {names[column]} is {values[row, column]}; expected {expected}"
        )
