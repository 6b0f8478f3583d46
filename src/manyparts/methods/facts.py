"""What was measured of presets: a record for docs and for `manyparts list presets`."""

from __future__ import annotations

from dataclasses import dataclass


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
