"""Text from files and people on its way to a terminal, which would obey what is hidden in it."""

from __future__ import annotations

import dataclasses
import html
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

_OBEYED = {
    "Cc",
    "Cs",
    "Zl",
    "Zp",
}  # control characters, halves of pairs, separators of lines and paragraphs
Kind = TypeVar("Kind", bound=type)
_ENTRIES, _LETTERS = 6, 80
_TURNING = set(
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)  # they show text in another order


def printable(text: object, *, keep: str = "") -> str:
    """The text with escapes such as \\x1b for what a terminal obeys rather than shows, newlines and
    tabs included.

    Args:
        text: whatever is to be shown.
        keep: control characters that stay as they are.
    """
    shown = str(text)
    if shown.isprintable():  # most are
        return shown
    return "".join(
        letter if letter in keep or not _is_obeyed(letter) else _escape(letter) for letter in shown
    )


def say(text: object, *, error: bool = False) -> None:
    """Print one line, on stderr if it is not the command's answer."""
    print(printable(text), file=sys.stderr if error else sys.stdout)


def _is_obeyed(letter: str) -> bool:
    return unicodedata.category(letter) in _OBEYED or letter in _TURNING


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


def short(value: Any, *, depth: int = 1) -> str:
    """A value in a few words: arrays by dtype and shape, of many entries the first, of records what
    is not usual.

    Args:
        value: anything.
        depth: so many records within each other are looked into.
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _short_record(value, depth=depth - 1) if depth else f"{type(value).__name__}(...)"
    if isinstance(value, Mapping):
        return (
            "{"
            + _some([f"{key!r}: {short(each, depth=depth)}" for key, each in value.items()])
            + "}"
        )
    if isinstance(value, tuple | list):
        inner = _some([short(each, depth=depth) for each in value])
        return (
            f"[{inner}]"
            if isinstance(value, list)
            else f"({inner}{',' if len(value) == 1 else ''})"
        )
    text = repr(value)
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 4]}...{text[-1]}"


def shown_short(kind: Kind) -> Kind:
    """Give a dataclass a `repr` of a line or two, whatever arrays it holds."""
    setattr(kind, "__repr__", _short_record)  # noqa: B010, a dataclass has a repr of its own
    return kind


def _short_record(record: Any, *, depth: int = 1) -> str:
    """Those of a dataclass's fields that have other values than usual."""
    shown = []
    for item in dataclasses.fields(record):
        value = getattr(record, item.name)
        if item.repr and not _is_usual(item, value):
            shown.append(f"{item.name}={short(value, depth=depth)}")
    return f"{type(record).__name__}({', '.join(shown)})"


def html_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A title and a table for notebooks, with everything escaped."""

    def row(tag: str, cells: Sequence[object]) -> str:
        return f"<tr>{''.join(f'<{tag}>{_html(cell)}</{tag}>' for cell in cells)}</tr>"

    body = "".join(row("td", cells) for cells in rows)
    return f"<p>{_html(title)}</p><table><thead>{row('th', heads)}</thead><tbody>{body}</tbody></table>"


def _is_usual(item: dataclasses.Field[Any], value: Any) -> bool:
    usual = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
    return type(usual) is type(value) and not hasattr(value, "shape") and bool(usual == value)


def _some(parts: Sequence[str]) -> str:
    more = f", ... {len(parts) - _ENTRIES} more" if len(parts) > _ENTRIES else ""
    return ", ".join(parts[:_ENTRIES]) + more


def _html(text: object) -> str:
    return html.escape(printable(text))
