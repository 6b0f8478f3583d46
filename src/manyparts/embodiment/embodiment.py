"""One embodiment of an agent: its spec, environment, statistics and tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from manyparts.core.printing import shown_short
from manyparts.core.serialisation import from_jsonable, to_jsonable
from manyparts.core.spec import Spec, TaskEntry
from manyparts.embodiment.codec import Codec
from manyparts.embodiment.statistics import Statistics
from manyparts.embodiment.views.source import Source
from manyparts.embodiment.views.view import View


@shown_short
@dataclass(frozen=True)
class Embodiment:
    """One robot that a model was trained on."""

    spec: Spec
    """Its cameras, states and actions."""

    environment: Mapping[str, Any]
    """The config of its environment, as JSON values."""

    statistics: Statistics
    """By which its states are normalised."""

    tasks: tuple[TaskEntry, ...]
    """The tasks that this run was trained on; empty if the embodiment was only kept from an earlier
    run."""

    sources: tuple[Source, ...] = ()
    """The robot as its data have it, with the view through which the model sees it, for each way in
    which it was recorded; empty: the model sees the robot as `spec` says."""

    @property
    def codec(self) -> Codec:
        """Between its states and actions and the model's."""
        return Codec.of(self.spec, self.statistics)

    def source_of(self, spec: Spec) -> Source | None:
        """The source that a dataset or an environment is of; the model sees it through its view.

        Args:
            spec: Of a dataset or an environment.

        Returns:
            None if the model sees it as it is, or not at all.
        """
        if not spec.bounded_as(self.spec).differences(self.spec):
            return None
        for source in self.sources:
            if not spec.bounded_as(source.spec).differences(source.spec):
                return source
        return None

    def called(self, name: str, *, named: bool) -> Embodiment:
        """The same embodiment under another name; see `Spec.named`."""
        sources = tuple(
            replace(each, spec=replace(each.spec, embodiment=name, named=named))
            for each in self.sources
        )
        return replace(self, spec=replace(self.spec, embodiment=name, named=named), sources=sources)

    def to_dict(self) -> dict[str, Any]:
        """The embodiment as JSON values."""
        values = {
            "spec": self.spec.to_dict(),
            "environment": self.environment,
            "statistics": self.statistics.to_dict(),
            "tasks": to_jsonable(self.tasks),
        }
        # Written only where there are any: earlier checkpoints have no such key.
        sources = [source.to_dict() for source in self.sources]
        return values | {"sources": sources} if sources else values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Embodiment:
        """The inverse of `to_dict`."""
        return cls(
            Spec.from_dict(values["spec"]),
            values["environment"],
            Statistics.from_dict(values["statistics"]),
            tuple(from_jsonable(TaskEntry, task) for task in values["tasks"]),
            tuple(map(Source.from_dict, values.get("sources", ()))),
        )


def together(sources: Sequence[Source]) -> tuple[Source, ...]:
    """Each source once; empty if no view shows anything else than the robot has.

    Sources that differ at most in measured bounds of actions are one, with the widest of them.
    """
    kept: list[Source] = []
    for source in sources:
        for number, other in enumerate(kept):
            same = source.spec.called_as(other.spec).bounded_as(other.spec)
            if source.view == other.view and not same.differences(other.spec):
                kept[number] = replace(other, spec=_widened(other.spec, source.spec))
                break
        else:
            kept.append(source)
    return tuple(kept) if any(source.view != View() for source in kept) else ()


def _widened(one: Spec, other: Spec) -> Spec:
    """A spec with bounds of actions that contain those of another."""
    low = tuple(map(min, one.action.low, other.action.low))
    high = tuple(map(max, one.action.high, other.action.high))
    return replace(one, action=replace(one.action, low=low, high=high))
