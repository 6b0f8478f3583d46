"""Texts of each row of a LeRobotDataset, read where they are asked for: columns of strings,
subtasks by their index, by their time, and by ranges of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from manyparts.core.errors import UserError
from manyparts.data.formats.lerobot import subtasks
from manyparts.data.formats.lerobot.locating import DataFile
from manyparts.data.formats.lerobot.metadata import Metadata
from manyparts.data.formats.lerobot.subtasks import Spans, why_on_request
from manyparts.data.formats.lerobot.values import whole_numbers

_PERSISTENT = "language_persistent"
_SUBTASK = "subtask"  # the text column, and the style of language rows
_TOLERANCE = 0.01  # of a frame, since times are stored in single precision
_NONE = -1  # subtask_index of a row without a subtask


@dataclass(frozen=True)
class EpisodeTexts:
    """What the texts of one episode's rows are found by."""

    index: int
    """The episode."""
    table: pa.Table | None
    """Its rows of the source's columns; None if the source has none."""
    stamps: np.ndarray
    """float64 (T,), times in seconds."""
    seconds_per_frame: float
    """Seconds from one frame to the next."""


class TextSource(Protocol):
    """Where the texts of a text column come from."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the data files that it reads."""
        ...

    def texts(self, rows: EpisodeTexts) -> list[str | None]:
        """The text of each row; None for rows without one. Raises UserError if it is unclear."""
        ...


def find_text_columns(
    path: Path, features: Mapping[str, Any], metadata: Metadata, files: Sequence[DataFile]
) -> tuple[dict[str, TextSource], dict[str, str]]:
    """Find the text columns of a dataset.

    Args:
        path: the dataset's folder.
        features: the features of info.json.
        metadata: the dataset's metadata.
        files: the content of the data files; none if they are not fetched yet.

    Returns:
        The sources by the name of the text column, and why features are not read with everything
        else, by the name of the feature.
    """
    sources: dict[str, TextSource] = {}
    reasons: dict[str, str] = {}

    def add(name: str, feature: str, source: TextSource) -> None:
        """Names have to differ: a second "subtask" is called as its feature."""
        name = feature if name in sources else name
        sources[name] = source
        reasons[feature] = why_on_request(name)

    dtypes = {
        name: item.get("dtype") for name, item in features.items() if isinstance(item, Mapping)
    }
    for name, dtype in dtypes.items():
        if dtype == "string" and _in_all(name, files):
            add(name, name, StringColumn(name))
    if subtasks.INDEX in dtypes and _in_all(subtasks.INDEX, files):
        try:
            add(_SUBTASK, subtasks.INDEX, IndexColumn(subtasks.read_subtasks(path)))
        except UserError as error:
            reasons[subtasks.INDEX] = f"the texts of its numbers are unknown: {error}"
    if dtypes.get(_PERSISTENT) == "language" and _in_all(_PERSISTENT, files):
        add(_SUBTASK, _PERSISTENT, LanguageColumn())
    for name, spans in metadata.spans.items():
        sources[f"meta/episodes {name}" if name in sources else name] = SpansColumn(tuple(spans))
    return sources, reasons


@dataclass(frozen=True)
class StringColumn:
    """A column of strings."""

    name: str
    """The column."""

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.name,)

    def texts(self, rows: EpisodeTexts) -> list[str | None]:
        return [_text(value) for value in _values(rows, self.name)]


@dataclass(frozen=True)
class IndexColumn:
    """The column subtask_index, which counts in meta/subtasks.parquet; -1 and null are none."""

    names: Mapping[int, str]
    """The text of each number."""

    @property
    def columns(self) -> tuple[str, ...]:
        return (subtasks.INDEX,)

    def texts(self, rows: EpisodeTexts) -> list[str | None]:
        values = [_NONE if value is None else value for value in _values(rows, subtasks.INDEX)]
        numbers = whole_numbers([_alone(value) for value in values], subtasks.INDEX).tolist()
        for row, number in enumerate(numbers):
            if number != _NONE and number not in self.names:
                raise UserError(
                    f"{subtasks.INDEX} is {number} in row {row}; {subtasks.TABLE} has no such one"
                )
        return [None if number == _NONE else self.names[number] for number in numbers]


@dataclass(frozen=True)
class LanguageColumn:
    """The column language_persistent, in which a text holds from its time until the next of its
    style."""

    @property
    def columns(self) -> tuple[str, ...]:
        return (_PERSISTENT,)

    def texts(self, rows: EpisodeTexts) -> list[str | None]:
        slack = _TOLERANCE * rows.seconds_per_frame
        texts: list[str | None] = []
        for row, entries in enumerate(_values(rows, _PERSISTENT)):
            started = [
                (time, text)
                for time, text in _subtasks_with_times(entries, row)
                if time <= rows.stamps[row] + slack
            ]
            latest = max((time for time, _ in started), default=0.0)
            last = {text for time, text in started if time == latest}
            if len(last) > 1:
                raise UserError(f"row {row} has several subtasks from {latest:g} s on")
            texts.append(next(iter(last), None))
        return texts


@dataclass(frozen=True)
class SpansColumn:
    """Ranges of rows in meta/episodes."""

    spans: tuple[Spans | None, ...]
    """Those of each episode."""
    columns: tuple[str, ...] = ()
    """See `TextSource`."""

    def texts(self, rows: EpisodeTexts) -> list[str | None]:
        spans = self.spans[rows.index]
        return (spans or Spans((), (), ())).of_rows(len(rows.stamps))


def _in_all(name: str, files: Sequence[DataFile]) -> bool:
    """Whether all data files have a column, as far as they are known."""
    return all(name in file.numbers | file.others for file in files)


def _values(rows: EpisodeTexts, name: str) -> list[Any]:
    assert rows.table is not None
    return rows.table[name].to_pylist()


def _alone(value: Any) -> Any:
    """The only value of a list of one; anything else as it is."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _text(value: Any) -> str | None:
    """A text without spaces around it; None for null and for an empty one."""
    value = _alone(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if value is not None and not isinstance(value, str):
        raise UserError(f"holds {value!r}; expected text")
    return (value or "").strip() or None


def _subtasks_with_times(entries: Any, row: int) -> list[tuple[float, str | None]]:
    """The subtasks of a row's language, each with the time that it begins at."""
    timed: list[tuple[float, str | None]] = []
    for entry in entries or ():
        if not isinstance(entry, Mapping) or entry.get("style") != _SUBTASK:
            continue
        time = entry.get("timestamp")
        if not isinstance(time, int | float) or not np.isfinite(time):
            raise UserError(f"row {row} has a subtask that begins at {time!r}; expected seconds")
        timed.append((float(time), _text(entry.get("content"))))
    return timed
