"""What goes wrong with one file, as one line that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from understudy.types import UserError


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Turn what pyarrow raises about one parquet file into a UserError that names it."""
    if not file.is_file():
        raise UserError(f"{file} is missing")
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} cannot be read as parquet: {one_line(error)}") from error


@contextmanager
def fitting(where: Path, format: str) -> Iterator[None]:
    """Turn what Python raises about values of another kind than the format has into a UserError that names `where`."""
    try:
        yield
    except UserError:
        raise
    except KeyError as error:
        raise UserError(f"{where} lacks {error}") from error
    except (TypeError, AttributeError, IndexError, ValueError, OverflowError) as error:
        raise UserError(f"{where} is not as {format} has it: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """The first line of an error's text."""
    return str(error).split("\n")[0].split("BytesIO object")[0] or type(error).__name__
