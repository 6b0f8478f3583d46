"""Errors of one file, as one line that names the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from manyparts.core.errors import UserError
from manyparts.core.serialisation import without_repeats

_JSON_BYTES = 2**30


# What pyarrow raises about a file that is torn or holds other types than expected.
ARROW_ERRORS = (
    pa.ArrowException,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    MemoryError,
)


@contextmanager
def parquet_errors(file: Path) -> Iterator[None]:
    """Turn the errors of pyarrow about one parquet file into a UserError that names the file."""
    if not file.is_file():
        raise UserError(f"{file} is missing")
    try:
        yield
    except UserError:
        raise
    except ARROW_ERRORS as error:
        raise UserError(f"{file} cannot be read as parquet: {one_line(error)}") from error


@contextmanager
def format_errors(where: object, format: str) -> Iterator[None]:
    """Turn Python's errors about values that the format does not allow into a UserError.

    Args:
        where: the file or folder that the error names.
        format: the format's name.
    """
    try:
        yield
    except UserError:
        raise
    except KeyError as error:
        raise UserError(f"{where} lacks {error}") from error
    except (
        TypeError,
        AttributeError,
        IndexError,
        ValueError,
        OverflowError,
        AssertionError,
    ) as error:
        raise UserError(f"{where} is not as {format} has it: {one_line(error)}") from error


class UnsupportedFormatError(UserError):
    """Data of a kind that is recognised and not read.

    Attributes:
        what: which data, and what they are.
        remedy: what to do instead.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what, self.remedy = what, remedy


@dataclass(frozen=True)
class UnsupportedFormat:
    """A kind of data that is recognised and not read."""

    what: str
    """Completes "PATH is ..."."""
    remedy: str
    """What to do instead."""

    def error(self, path: Path) -> UnsupportedFormatError:
        """The error for a file or folder of this kind."""
        return UnsupportedFormatError(f"{path} is {self.what}", self.remedy)


@runtime_checkable
class Complain(Protocol):
    """A callback for faults of a dataset that its reader meets while opening it.

    If the callback returns, the reader goes on: without that episode, or with what can be trusted.
    """

    def __call__(self, what: str, episode: str | None = None) -> None:
        """Report a fault.

        Args:
            what: what is wrong.
            episode: the name of the unreadable episode; None if the whole dataset is concerned.
        """
        ...


def refuse(what: str, episode: str | None = None) -> None:
    """Raise a UserError that says how to go on without the unreadable episode.

    Args:
        what: what is wrong.
        episode: the name of the unreadable episode; None if the whole dataset is concerned.

    Raises:
        UserError: always.
    """
    if episode is not None:
        what = f"{what}; `manyparts data check DATASET --fix COPY` leaves it out"
    raise UserError(what)


def read_json(path: Path, *, by_hand: bool = False) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        by_hand: whether a user wrote it, so that a name that stands twice is a mistake.

    Raises:
        UserError: naming the file that is missing or torn.
    """
    try:
        if path.stat().st_size > _JSON_BYTES:
            raise UserError(
                f"{path} has {path.stat().st_size} bytes; at most {_JSON_BYTES} are read"
            )
        hook = without_repeats if by_hand else None
        values = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=hook)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing") from error
    except UserError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not readable JSON: {one_line(error)}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a JSON object")
    return values


def one_line(error: BaseException) -> str:
    """The first line of an error's text, without Python's addresses of buffers."""
    return str(error).split("\n")[0].split("BytesIO object")[0] or type(error).__name__
