"""Several datasets by weight, of one embodiment or more, drawn into one batch: a pure function of
(seed, step)."""

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
from manyparts.data.sampling.batches import join_batches
from manyparts.data.sampling.stream import StreamedWindows
from manyparts.data.sampling.windows import Windows
from manyparts.embodiment.codec import padded
from manyparts.embodiment.embodiment_set import EmbodimentSet

_TO_STATES, _TO_ACTIONS = ("state", "state_mask"), ("action", "expert_action", "action_mask")


class Mixture:
    """Draws from several `Windows` by weight and stands in for one of them.

    Of the first n windows drawn, each source gives its weight's part of n, up to rounding, whatever
    n is; each walks through its own windows, epoch by epoch. A batch is shuffled before ranks take
    their shares, so that every rank has a mix. States and actions are padded with zeros to the
    largest embodiment of `joint`, cameras go by slot, and a slot that a row's embodiment lacks is
    zeros. `Batch.window` counts frames through all datasets, one after the other.
    """

    def __init__(
        self,
        sources: Sequence[Windows | StreamedWindows],
        weights: Sequence[float],
        embodiments: EmbodimentSet,
        *,
        seed: int,
    ) -> None:
        require_weights(weights, len(sources))
        self.sources, self.embodiments, self.seed = list(sources), embodiments, seed
        self._weights = [Fraction(weight) for weight in weights]
        frames = [int(source.dataset.starts[-1]) for source in sources]
        self._first_windows = np.concatenate([[0], np.cumsum(frames)])
        specs = [source.dataset.spec for source in sources]
        self._embodiments = [
            embodiments.index(spec, "a dataset is of an unknown embodiment") for spec in specs
        ]
        self._names = _numbered([spec.embodiment for spec in specs])
        self.num_windows = sum(source.num_windows for source in sources)

    def drawn(self, count: int) -> list[int]:
        """How many of the first `count` windows each source gives; none of them ever falls.

        The first source takes its part of all, the second its part of what is left, and so on.
        """
        found, left, weight = [], count, sum(self._weights)
        for own in self._weights:
            found.append(int(left * own / weight))
            left, weight = left - found[-1], weight - own
        return found

    def batch(self, step: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> Batch:
        """The batch of training step `step`, of which this rank draws its equal share. Raises
        UserError if the ranks cannot share a batch equally."""
        if batch_size % world_size:
            raise UserError(f"batch size {batch_size} does not divide among {world_size} processes")
        share = batch_size // world_size
        key = int(mix(np.asarray([step]), ~self.seed)[0])
        mine = permute(np.arange(rank * share, (rank + 1) * share), batch_size, key)
        before, after = (np.asarray(self.drawn((step + extra) * batch_size)) for extra in (0, 1))
        ends = (after - before).cumsum()
        source = np.searchsorted(ends, mine, side="right")
        places = mine - (ends - (after - before))[source] + before[source]
        rows = [np.flatnonzero(source == number) for number in range(len(self.sources))]
        parts = [self._part(number, places[own]) for number, own in enumerate(rows) if len(own)]
        return join_batches(parts, torch.from_numpy(np.concatenate(rows).argsort()))

    def fractions(self, step: int, batch_size: int) -> dict[str, float]:
        """The part of a step's batch that each source gives, by the name of its embodiment."""
        before, after = self.drawn(step * batch_size), self.drawn((step + 1) * batch_size)
        counts = [end - begin for begin, end in zip(before, after, strict=True)]
        return {name: count / batch_size for name, count in zip(self._names, counts, strict=True)}

    def epochs(self, drawn: int) -> dict[str, float]:
        """How often each source's windows were gone through once so many are drawn, by the name of
        its embodiment."""
        counts = zip(self._names, self.drawn(drawn), self.sources, strict=True)
        return {f"/{name}": count / source.num_windows for name, count, source in counts}

    def close(self) -> None:
        """Let go of what the sources hold."""
        for source in self.sources:
            source.close()

    def describe(self, window: int) -> str:
        """Where a window, named as in `Batch.window`, comes from."""
        source = int(np.searchsorted(self._first_windows, window, side="right")) - 1
        windows = self.sources[source]
        return (
            f"{windows.dataset.path}: {windows.describe(window - int(self._first_windows[source]))}"
        )

    def _part(self, number: int, places: np.ndarray) -> Batch:
        """Windows of one source in the room of all."""
        windows, embodiments = self.sources[number], self.embodiments
        batch, slots = windows.at(places), embodiments.slot_of(windows.dataset.spec)
        pictures = batch.prompt_images
        if pictures is not None:
            pictures = replace(
                pictures,
                images=_renamed(pictures.images, slots),
                features=_renamed(pictures.features, slots),
                action=padded(pictures.action, embodiments.action_dimension),
            )
        widened = {
            name: padded(getattr(batch, name), embodiments.state_dimension) for name in _TO_STATES
        }
        widened |= {
            name: padded(getattr(batch, name), embodiments.action_dimension) for name in _TO_ACTIONS
        }
        return replace(
            batch,
            images=_renamed(batch.images, slots),
            features=_renamed(batch.features, slots),
            window=batch.window + int(self._first_windows[number]),
            prompt_images=pictures,
            embodiment=torch.full((len(places),), self._embodiments[number])
            if len(embodiments.specs) > 1
            else None,
            **widened,
        )


def require_weights(weights: Sequence[float], datasets: int) -> None:
    """Raises UserError unless there is a positive weight for each dataset."""
    if not isinstance(weights, Sequence) or not all(
        isinstance(weight, numbers.Real) for weight in weights
    ):
        raise UserError(f"weights is {weights!r}; expected a list of numbers, one for each dataset")
    if len(weights) != datasets:
        raise UserError(
            f"{len(weights)} weights for {datasets} datasets; give one for each, or none for equal parts"
        )
    for weight in weights:
        if not (np.isfinite(weight) and weight > 0):
            raise UserError(f"weight {weight} of a dataset; expected a number above 0")


def _renamed(cameras: Mapping[str, Tensor], slots: Mapping[str, str]) -> dict[str, Tensor]:
    return {slots[name]: tensor for name, tensor in cameras.items()}


def _numbered(names: Sequence[str]) -> list[str]:
    """Names, the repeated ones with a number: arm, arm-2."""
    earlier = [names[:place].count(name) for place, name in enumerate(names)]
    return [
        f"{name}-{count + 1}" if count else name for name, count in zip(names, earlier, strict=True)
    ]
