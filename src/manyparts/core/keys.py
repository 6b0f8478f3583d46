"""Keys of servers, in files."""

from __future__ import annotations

from pathlib import Path

from manyparts.core.errors import UserError


def read_key(path: Path, *, at_least: int = 1) -> str:
    """Return the key in a file. No error shows any of it.

    Args:
        path: The file, which holds one line.
        at_least: Letters of a key.

    Raises:
        UserError: The file cannot be read, or holds no key.
    """
    try:
        key = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UserError(f"cannot read the key file {path}: {error}") from error
    except UnicodeDecodeError:
        key = ""
    if len(key) < at_least or not key.isprintable() or not key.isascii():
        letters = f" of at least {at_least} letters" if at_least > 1 else ""
        raise UserError(f"{path} holds no key; expected one line{letters}")
    return key
