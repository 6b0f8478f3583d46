"""gymnasium's spaces as Minari writes them down: boxes, choices, and trees of these."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import one_line

_DEEPEST, _MOST_CHOICES = 16, 2**16


class Space:
    """One space. shape: of one step. dtype: object for what holds no numbers. choices: of a
    Discrete, else 0.

    start: what the first choice of a Discrete or MultiDiscrete is stored as; 0 for other spaces.
    counts: of the choices that each number of a step is one of; empty for boxes.
    """

    def __init__(self, values: Mapping[str, Any], where: Path, depth: int = 0) -> None:
        if depth > _DEEPEST:
            raise UserError(f"{where} has a space that is nested more than {_DEEPEST} deep")
        self._values = values
        self.kind = str(values["type"])
        self.children: dict[str, Space] = {}
        self.shape, self.dtype, self.choices = tuple[int, ...](), np.dtype("O"), 0
        self.start, self.counts = np.zeros((), np.int64), np.zeros(0, np.int64)
        if self.kind in ("Dict", "Tuple"):
            inner = values["subspaces"]
            named = (
                inner.items()
                if self.kind == "Dict"
                else ((f"_index_{n}", each) for n, each in enumerate(inner))
            )
            self.children = {str(name): Space(each, where, depth + 1) for name, each in named}
        elif self.kind == "Box":
            self.shape, self.dtype = (
                tuple(int(side) for side in values["shape"]),
                np.dtype(str(values["dtype"])),
            )
        elif self.kind == "Discrete":
            self.dtype, self.choices = np.dtype(np.int64), int(values["n"])
            self.start, self.counts = (
                np.asarray(int(values.get("start", 0)), np.int64),
                np.array([self.choices]),
            )
            if not 1 <= self.choices <= _MOST_CHOICES:
                raise UserError(
                    f"{where} has {self.choices} choices; 1 to {_MOST_CHOICES} can be read"
                )
        elif self.kind in ("MultiDiscrete", "MultiBinary"):
            size = (
                np.shape(values["nvec"]) if self.kind == "MultiDiscrete" else np.ravel(values["n"])
            )
            self.shape, self.dtype = tuple(int(side) for side in size), np.dtype(np.int64)
            self.counts = np.full(math.prod(self.shape), 2)
            if self.kind == "MultiDiscrete":
                self.counts = np.ravel(values["nvec"])
                self.start = np.broadcast_to(
                    np.asarray(values.get("start", 0), np.int64), self.shape
                )

    @classmethod
    def read(cls, text: Any, where: Path) -> Space:
        """Of JSON, or of the values in it. Raises UserError naming `where`."""
        try:
            values = json.loads(text) if isinstance(text, str) else text
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{where} has a space that is not readable JSON: {one_line(error)}"
            ) from error
        return cls(values, where)

    @property
    def numbers(self) -> int:
        """Of one step."""
        return math.prod(self.shape)

    @property
    def holds_choices(self) -> bool:
        """Whether its numbers stand for one choice each."""
        return self.kind in ("Discrete", "MultiDiscrete", "MultiBinary")

    @property
    def why_no_numbers(self) -> str:
        """Why this is no array of numbers; empty if it is one."""
        return (
            ""
            if self.dtype.kind in "biuf"
            else "text"
            if self.kind == "Text"
            else f"a space of type {self.kind}"
        )

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Space]]:
        """Boxes and choices with their paths; "" for a space that is no tree."""
        if self.kind not in ("Dict", "Tuple"):
            yield prefix, self
        for name, child in self.children.items():
            yield from child.leaves(f"{prefix}/{name}" if prefix else name)

    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The least and greatest numbers (d,) of a space that is no tree, choices counted from 0.
        None if unknown."""
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
        return np.broadcast_to(low, self.shape or 1).ravel(), np.broadcast_to(
            high, self.shape or 1
        ).ravel()

    def unfit(self, values: np.ndarray, start: np.ndarray | None = None) -> str:
        """How stored values (T, ...) are no choices of this space; empty if they are. start:
        instead of the space's."""
        if not self.holds_choices:
            return ""
        flat = values.reshape(len(values), -1).astype(np.float64)
        first = np.broadcast_to(np.ravel(self.start if start is None else start), flat.shape[1:])
        broken = ~((flat >= first) & (flat < first + self.counts) & (flat == np.rint(flat)))
        if not broken.any():
            return ""
        row, number = np.argwhere(broken)[0].tolist()
        last = first[number] + self.counts[number] - 1
        return f"{flat[row, number]:g} in row {row}, which is none of the choices {first[number]} to {last}"

    def counted(self, values: np.ndarray) -> np.ndarray:
        """float32 (T, d) of stored values (T, ...); choices are counted from 0, wherever they
        begin."""
        flat = values.reshape(len(values), -1)
        if self.start.any():
            flat = flat.astype(np.int64) - self.start.ravel()
        return flat.astype(np.float32)
