"""Subtasks in the metadata of a LeRobotDataset: ranges of rows in meta/episodes, and the table that
subtask_index counts in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.data.formats.lerobot.tasks import read_numbered_texts
from manyparts.data.formats.lerobot.values import Columns, whole_numbers

INDEX, TABLE = "subtask_index", "meta/subtasks.parquet"
# SARM's columns of meta/episodes are called so, some with "sparse_" or "dense_" before it.
_NAMES, _STARTS, _ENDS = "_names", "_start_frames", "_end_frames"
_SPANS = "subtask"


@dataclass(frozen=True)
class Spans:
    """Texts that each hold for some rows of an episode."""

    texts: tuple[str, ...]
    """The texts."""
    starts: tuple[int, ...]
    """The first row of each text."""
    ends: tuple[int, ...]
    """The row after its last one."""

    def of_rows(self, length: int) -> list[str | None]:
        """The text of each of an episode's rows; None for rows without one."""
        rows: list[str | None] = [None] * length
        for text, start, end in zip(self.texts, self.starts, self.ends, strict=True):
            for row in range(start, min(end, length)):
                rows[row] = text
        return rows


def read_spans(
    episodes: Columns, numbers: np.ndarray
) -> tuple[dict[str, list[Spans | None]], dict[str, str]]:
    """Read the texts of ranges of rows that meta/episodes has.

    Args:
        episodes: the columns of meta/episodes, n rows.
        numbers: int64 (n,), episode_index.

    Returns:
        The texts' name, such as "sparse_subtask", to what each episode has; and why its columns
        are not read with everything else, by the name of the column.
    """
    spans: dict[str, list[Spans | None]] = {}
    reasons: dict[str, str] = {}
    for column in episodes.names:
        name = column.removesuffix(_NAMES)
        parts = [f"{name}{part}" for part in (_NAMES, _STARTS, _ENDS)]
        if not column.endswith(_SPANS + _NAMES) or not all(part in episodes for part in parts):
            continue
        try:
            rows = zip(numbers.tolist(), *(episodes[part] for part in parts), strict=True)
            spans[name] = [_spans_of(f"episode {row[0]}", row[1:]) for row in rows]
            reasons |= dict.fromkeys(parts, why_on_request(name))
        except UserError as error:
            reasons |= dict.fromkeys(parts, f"no texts of rows: {error}")
    return spans, reasons


def read_subtasks(path: Path) -> Mapping[int, str]:
    """The text of each subtask_index. Raises UserError if the table is missing or torn."""
    if not (path / TABLE).is_file():
        raise UserError(f"{TABLE} is missing")
    return read_numbered_texts(path / TABLE, INDEX, "subtask")


def why_on_request(name: str) -> str:
    """Why a feature is left out that is read as a text column."""
    return f"text, read as the text column {name} where it is asked for"


def _spans_of(where: str, values: tuple[Any, ...]) -> Spans | None:
    """An episode's texts with the rows that they begin and end at; None if it has none.

    Raises:
        UserError: the lists do not fit together, or two texts hold for one row.
    """
    if any(value is None or value != value for value in values):  # null, or NaN for it
        return None
    if not all(isinstance(value, list) for value in values):
        raise UserError(f"{where} has no lists")
    texts, starts, ends = values
    if not len(texts) == len(starts) == len(ends):
        raise UserError(
            f"{where} has {len(texts)} names, {len(starts)} starts and {len(ends)} ends"
        )
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise UserError(f"{where} has a name that is no text")
    first = whole_numbers(starts, f"{where}: start").tolist()
    after = whole_numbers(ends, f"{where}: end").tolist()
    order = sorted(range(len(texts)), key=lambda index: (first[index], after[index]))
    reached = 0
    for index in order:
        if first[index] < reached or after[index] < first[index]:
            raise UserError(
                f"{where}: {texts[index]!r} in rows {first[index]} to {after[index]} overlaps "
                "another one, or ends before it begins"
            )
        reached = after[index]
    return Spans(tuple(map(str.strip, texts)), tuple(first), tuple(after))
