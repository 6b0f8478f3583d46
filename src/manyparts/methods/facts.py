"""What was measured of presets, and the presets of plug-ins: records for docs and lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manyparts.training.config import TrainConfig


@dataclass(frozen=True)
class PresetFacts:
    """A preset in a few words and figures. None stands where nothing was measured."""

    what: str
    """What the preset trains, in a sentence."""
    parameters: int | None = None
    """Parameters learned by gradient, of an agent for the first task in `score`. It depends a
    little on the embodiment."""
    hours: float | None = None
    """Core hours of the training run, processes added up."""
    score: str | None = None
    """What the trained agent scores, on which tasks, with the 95 % interval."""


@dataclass(frozen=True)
class Method:
    """A method of a plug-in."""

    what: str
    """What it is, in a sentence."""

    presets: Mapping[str, Callable[[], TrainConfig]]
    """Name to the function that makes the preset. "small" of the method "crawl" is the preset
    "crawl/small"."""

    facts: Mapping[str, PresetFacts]
    """The name of each preset to what it trains."""
