"""Windows of several datasets in one batch, by weight: a pure function of (seed, step)."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from manyparts.core.errors import UserError
from manyparts.core.randomness import mix, permute
from manyparts.core.records import Batch
from manyparts.data.sampling.base import FixedSource, part_of_rank
from manyparts.data.sampling.batches import join_batches
from manyparts.data.sampling.stream import StreamedWindows
from manyparts.data.sampling.windows import Windows
from manyparts.embodiment.codec import padded
from manyparts.embodiment.embodiment_set import EmbodimentSet


class Mixture(FixedSource):
    """Windows of several datasets, of one embodiment or more.

    For every n, the first n windows have each source's part by weight, up to rounding. Each source
    walks through its own windows, epoch by epoch. A batch is shuffled before it is cut into the
    ranks' parts, so that every rank has windows of all sources. States and actions are padded with
    zeros to the largest embodiment. Cameras are renamed to their slots, and a slot that a row's
    embodiment lacks is zeros. `Batch.window` counts frames through all datasets, one after the
    other. `Batch.source` is the index of a row's dataset.

    Attributes:
        sources: the windows of each dataset.
        embodiments: all embodiments of the agent.
        seed: of the shuffling.
        num_windows: of all sources together.
    """

    def __init__(
        self,
        sources: Sequence[Windows | StreamedWindows],
        weights: Sequence[float],
        embodiments: EmbodimentSet,
        *,
        seed: int,
    ) -> None:
        """Set up the order.

        Args:
            sources: the windows of each dataset.
            weights: for each source, a positive number.
            embodiments: among them those of the sources.
            seed: of the shuffling.

        Raises:
            UserError: weights do not fit, or an embodiment is not among `embodiments`.
        """
        require_weights(weights, len(sources))
        self.sources, self.embodiments, self.seed = list(sources), embodiments, seed
        self._weights = [Fraction(weight) for weight in weights]
        frames = [int(source.dataset.starts[-1]) for source in sources]
        self._first_windows = np.concatenate([[0], np.cumsum(frames)])
        specs = [source.dataset.spec for source in sources]
        self._embodiments = [
            embodiments.index(spec, "a dataset is of an unknown embodiment") for spec in specs
        ]
        self._names = numbered([spec.embodiment for spec in specs])
        self.num_windows = sum(source.num_windows for source in sources)

    def drawn(self, count: int) -> list[int]:
        """How many of the first `count` windows each source gives.

        The first source takes its part of all, the second its part of what is left, and so on. With
        fractions instead of floats, no source's number ever falls as `count` grows.
        """
        counts, left, weight_left = [], count, sum(self._weights)
        for weight in self._weights:
            counts.append(int(left * weight / weight_left))
            left, weight_left = left - counts[-1], weight_left - weight
        return counts

    def batch(self, step: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> Batch:
        """See `WindowSource.batch`."""
        of_rank = part_of_rank(batch_size, rank, world_size)
        key = int(mix(np.asarray([step]), ~self.seed)[0])
        # Before it is shuffled, a batch has the first source's windows, then the second's, and so
        # on. `indices` are where this rank's windows are in it.
        indices = permute(of_rank, batch_size, key)
        before = np.asarray(self.drawn(step * batch_size))
        counts = np.asarray(self.drawn((step + 1) * batch_size)) - before
        ends = counts.cumsum()
        source = np.searchsorted(ends, indices, side="right")
        positions = indices - (ends - counts)[source] + before[source]
        rows = [np.flatnonzero(source == number) for number in range(len(self.sources))]
        parts = [self._part(number, positions[own]) for number, own in enumerate(rows) if len(own)]
        # The parts are joined source by source; the inverse of `rows` brings them back in order.
        return join_batches(parts, torch.from_numpy(np.concatenate(rows).argsort()))

    def fractions(self, step: int, batch_size: int) -> dict[str, float]:
        """The fraction of a step's batch that each source gives.

        Args:
            step: counted from 0.
            batch_size: windows of all ranks together.

        Returns:
            The fractions by the name of the source's embodiment.
        """
        before, after = self.drawn(step * batch_size), self.drawn((step + 1) * batch_size)
        return {
            name: (end - start) / batch_size
            for name, start, end in zip(self._names, before, after, strict=True)
        }

    def epochs(self, drawn: int) -> dict[str, float]:
        """How many times the first `drawn` windows go through each source's, by "/" and the name of
        its embodiment."""
        counts = zip(self._names, self.drawn(drawn), self.sources, strict=True)
        return {f"/{name}": count / source.num_windows for name, count, source in counts}

    def close(self) -> None:
        """Release what the sources hold."""
        for source in self.sources:
            source.close()

    def describe(self, window: int) -> str:
        """The dataset, episode and frames of a window. window: as in `Batch.window`."""
        source = int(np.searchsorted(self._first_windows, window, side="right")) - 1
        windows = self.sources[source]
        within = window - int(self._first_windows[source])
        return f"{windows.dataset.path}: {windows.describe(within)}"

    def _part(self, number: int, positions: np.ndarray) -> Batch:
        """Windows of one source, padded and renamed as all sources' are."""
        batch = self.sources[number].at(positions)
        return replace(
            in_set(batch, self.embodiments, self._embodiments[number]),
            window=batch.window + int(self._first_windows[number]),
            source=torch.full((len(positions),), number),
        )


def in_set(batch: Batch, embodiments: EmbodimentSet, index: int) -> Batch:
    """The windows of one embodiment, padded and renamed as those of a set are.

    Args:
        batch: the windows, with the embodiment's own cameras and dimensions.
        embodiments: the set.
        index: of the embodiment in it.
    """
    slots = embodiments.slot_of(embodiments.specs[index])
    states, actions = embodiments.state_dimension, embodiments.action_dimension
    prompt_images = batch.prompt_images
    if prompt_images is not None:
        prompt_images = replace(
            prompt_images,
            images=_renamed(prompt_images.images, slots),
            features=_renamed(prompt_images.features, slots),
            action=padded(prompt_images.action, actions),
        )
    several = len(embodiments.specs) > 1
    return replace(
        batch,
        images=_renamed(batch.images, slots),
        features=_renamed(batch.features, slots),
        state=padded(batch.state, states),
        state_mask=padded(batch.state_mask, states),
        action=padded(batch.action, actions),
        expert_action=padded(batch.expert_action, actions),
        action_mask=padded(batch.action_mask, actions),
        prompt_images=prompt_images,
        embodiment=torch.full((len(batch),), index) if several else None,
    )


def require_weights(weights: Sequence[float], datasets: int) -> None:
    """Check the weights of a mixture.

    Args:
        weights: what was passed: a positive finite number for each dataset.
        datasets: how many datasets there are.

    Raises:
        UserError: they are anything else.
    """
    if not isinstance(weights, Sequence) or not all(
        isinstance(weight, numbers.Real) for weight in weights
    ):
        raise UserError(f"weights is {weights!r}; expected a list of numbers, one for each dataset")
    if len(weights) != datasets:
        raise UserError(
            f"{len(weights)} weights for {datasets} datasets; give one for each, or none for equal "
            "parts"
        )
    for weight in weights:
        if not (np.isfinite(weight) and weight > 0):
            raise UserError(f"weight {weight} of a dataset; expected a finite number above 0")


def _renamed(cameras: Mapping[str, Tensor], slots: Mapping[str, str]) -> dict[str, Tensor]:
    """Tensors by slot instead of camera."""
    return {slots[name]: tensor for name, tensor in cameras.items()}


def numbered(names: Sequence[str]) -> list[str]:
    """Names, with a number from the second time on: arm, arm-2."""
    apart = []
    for index, name in enumerate(names):
        earlier = names[:index].count(name)
        apart.append(f"{name}-{earlier + 1}" if earlier else name)
    return apart
