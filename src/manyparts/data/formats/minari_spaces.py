"""gymnasium's spaces as Minari stores them: boxes, choices, and trees of these."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import one_line

_MAX_DEPTH, _MAX_CHOICES = 16, 2**16


class Space:
    """One space of gymnasium.

    Attributes:
        kind: its class, such as "Box".
        children: the spaces of a Dict or Tuple by name.
        shape: shape of one step.
        dtype: dtype of the numbers; object for what holds no numbers.
        choices: number of choices of a Discrete, else 0.
        start: the number that stands for the first choice of a Discrete or MultiDiscrete; 0 for
            other spaces.
        counts: number of choices of each number of a step; empty for boxes.
    """

    def __init__(self, values: Mapping[str, Any], where: Path, depth: int = 0) -> None:
        if depth > _MAX_DEPTH:
            raise UserError(f"{where} has a space that is nested more than {_MAX_DEPTH} deep")
        self._values = values
        self.kind = str(values["type"])
        self.children: dict[str, Space] = {}
        self.shape, self.dtype, self.choices = tuple[int, ...](), np.dtype("O"), 0
        self.start, self.counts = np.zeros((), np.int64), np.zeros(0, np.int64)
        if self.kind == "Dict":
            for name, child in values["subspaces"].items():
                self.children[str(name)] = Space(child, where, depth + 1)
        elif self.kind == "Tuple":
            for number, child in enumerate(values["subspaces"]):
                self.children[f"_index_{number}"] = Space(child, where, depth + 1)
        elif self.kind == "Box":
            self.shape = tuple(int(side) for side in values["shape"])
            self.dtype = np.dtype(str(values["dtype"]))
        elif self.kind == "Discrete":
            self.dtype, self.choices = np.dtype(np.int64), int(values["n"])
            self.start = np.asarray(int(values.get("start", 0)), np.int64)
            self.counts = np.array([self.choices])
            if not 1 <= self.choices <= _MAX_CHOICES:
                raise UserError(
                    f"{where} has {self.choices} choices; 1 to {_MAX_CHOICES} can be read"
                )
        elif self.kind == "MultiDiscrete":
            self.shape = tuple(int(side) for side in np.shape(values["nvec"]))
            self.dtype, self.counts = np.dtype(np.int64), np.ravel(values["nvec"])
            start = np.asarray(values.get("start", 0), np.int64)
            self.start = np.broadcast_to(start, self.shape)
        elif self.kind == "MultiBinary":
            self.shape = tuple(int(side) for side in np.ravel(values["n"]))
            self.dtype, self.counts = np.dtype(np.int64), np.full(math.prod(self.shape), 2)

    @classmethod
    def read(cls, text: Any, where: Path) -> Space:
        """Parse a space.

        Args:
            text: JSON, or the values that were parsed from it.
            where: the file that it is from, for the error.

        Raises:
            UserError: naming `where`, if it cannot be read.
        """
        try:
            values = json.loads(text) if isinstance(text, str) else text
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{where} has a space that is not readable JSON: {one_line(error)}"
            ) from error
        return cls(values, where)

    @property
    def numbers(self) -> int:
        """How many numbers a step has."""
        return math.prod(self.shape)

    @property
    def holds_choices(self) -> bool:
        """Whether each of its numbers stands for a choice."""
        return self.kind in ("Discrete", "MultiDiscrete", "MultiBinary")

    @property
    def why_no_numbers(self) -> str:
        """Why this is no array of numbers; "" if it is one."""
        if self.dtype.kind in "biuf":
            return ""
        return "text" if self.kind == "Text" else f"a space of type {self.kind}"

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Space]]:
        """Boxes and choices with their paths; the path is "" for a space that is no tree."""
        if self.kind not in ("Dict", "Tuple"):
            yield prefix, self
        for name, child in self.children.items():
            yield from child.leaves(f"{prefix}/{name}" if prefix else name)

    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Lowest and highest numbers (d,) of a space that is no tree, choices counted from 0; None
        if unknown."""
        if self.kind == "Box":
            low, high = (np.asarray(self._values[name], np.float64) for name in ("low", "high"))
        elif self.kind == "Discrete":
            low, high = np.zeros(1), np.full(1, self.choices - 1.0)
        elif self.kind == "MultiDiscrete":
            low, high = np.zeros(self.shape), np.asarray(self._values["nvec"], np.float64) - 1
        elif self.kind == "MultiBinary":
            low, high = np.zeros(self.shape), np.ones(self.shape)
        else:
            return None
        shape = self.shape or 1
        return np.broadcast_to(low, shape).ravel(), np.broadcast_to(high, shape).ravel()

    def why_invalid(self, values: np.ndarray, start: np.ndarray | None = None) -> str:
        """Why stored values are no choices of this space; "" if they are, or this is a box.

        Args:
            values: (T, ...).
            start: the number of the first choice, if not the space's own.
        """
        if not self.holds_choices:
            return ""
        flat = values.reshape(len(values), -1).astype(np.float64)
        first = np.broadcast_to(np.ravel(self.start if start is None else start), flat.shape[1:])
        invalid = ~((flat >= first) & (flat < first + self.counts) & (flat == np.rint(flat)))
        if not invalid.any():
            return ""
        row, number = np.argwhere(invalid)[0].tolist()
        last = first[number] + self.counts[number] - 1
        return (
            f"{flat[row, number]:g} in row {row}, which is none of the choices "
            f"{first[number]} to {last}"
        )

    def from_zero(self, values: np.ndarray) -> np.ndarray:
        """Stored values (T, ...) as float32 (T, d), with choices counted from 0."""
        flat = values.reshape(len(values), -1)
        if self.start.any():
            flat = flat.astype(np.int64) - self.start.ravel()
        return flat.astype(np.float32)


def require_shapes(
    stored: Mapping[str, np.ndarray], spaces: Mapping[str, Space], where: str
) -> None:
    """Raise UserError if an array is not as large as its space, or holds no numbers."""
    for name, space in spaces.items():
        dtype, size = stored[name].dtype, int(np.prod(stored[name].shape[1:]))
        if size != space.numbers or dtype.kind not in "biuf":
            raise UserError(
                f"{where} has {name} of {dtype}, {size} per step; its space has {space.numbers}"
            )
