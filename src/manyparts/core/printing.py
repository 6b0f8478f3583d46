"""Text on its way to a terminal: control characters escaped, long values and lists shortened."""

from __future__ import annotations

import dataclasses
import html
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=type)

# Unicode categories that a terminal acts on: control characters, halves of surrogate pairs, and
# separators of lines and paragraphs.
_CONTROL_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
# Characters that change the direction of text, so that it reads in another order than it has.
_DIRECTION_CHARACTERS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_MAX_ENTRIES = 6  # of a collection that `short` shows
_MAX_CHARACTERS = 80  # of any other value that `short` shows


def printable(text: object, *, keep: str = "") -> str:
    """Escape what a terminal would act on rather than show, such as \\x1b, newlines and tabs.

    Names from files and from people may hide such characters.

    Args:
        text: What is to be shown.
        keep: Control characters that stay as they are.
    """
    shown = str(text)
    if shown.isprintable():  # the usual case, without a loop over characters
        return shown
    return "".join(
        _escape(character) if _is_control(character) and character not in keep else character
        for character in shown
    )


def say(text: object, *, error: bool = False) -> None:
    """Print one line, which whoever reads a pipe sees at once.

    Args:
        text: The line; control characters in it are escaped.
        error: Print to stderr, as for everything that is not the command's answer.
    """
    print(printable(text), file=sys.stderr if error else sys.stdout, flush=True)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Count things: "1 episode", "2 episodes", "2 tries".

    Args:
        number: How many there are.
        noun: What one of them is called.
        plural: What several are called; if empty, the noun with an s.
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def first_of(items: Iterable[object], count: int, *, separator: str = ", ") -> str:
    """List the first items and say how many more there are: "a, b, c and 4 more".

    Args:
        items: What is listed, each as its `str`.
        count: How many items are listed at most.
        separator: What stands between two of them.
    """
    texts = [str(item) for item in items]
    listed = separator.join(texts[:count])
    return f"{listed} and {len(texts) - count} more" if len(texts) > count else listed


def short(value: Any, *, depth: int = 1) -> str:
    """Describe a value in a few words.

    Arrays become their dtype and shape, collections their first entries, dataclasses those of their
    fields that differ from the default.

    Args:
        value: Anything.
        depth: How many levels of nested dataclasses are shown.
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _short_record(value, depth=depth - 1) if depth else f"{type(value).__name__}(...)"
    if isinstance(value, Mapping):
        entries = [f"{key!r}: {short(entry, depth=depth)}" for key, entry in value.items()]
        return "{" + _first_entries(entries) + "}"
    if isinstance(value, tuple | list):
        inner = _first_entries([short(entry, depth=depth) for entry in value])
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    text = repr(value)
    # The last character is kept: it closes a quote or a bracket.
    return text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 4]}...{text[-1]}"


def shown_short(kind: Kind) -> Kind:
    """Give a dataclass a `repr` of a line or two, whatever arrays it holds (a class decorator)."""
    setattr(kind, "__repr__", _short_record)  # noqa: B010, a dataclass has a repr of its own
    return kind


def html_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Render a title and a table as HTML for notebooks, with everything escaped.

    Args:
        title: The line above the table.
        heads: The heads of the columns.
        rows: The cells of each row, one per column.
    """
    head = f"<thead>{_html_row('th', heads)}</thead>"
    body = f"<tbody>{''.join(_html_row('td', cells) for cells in rows)}</tbody>"
    return f"<p>{_html(title)}</p><table>{head}{body}</table>"


def _is_control(character: str) -> bool:
    category = unicodedata.category(character)
    return category in _CONTROL_CATEGORIES or character in _DIRECTION_CHARACTERS


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _short_record(record: Any, *, depth: int = 1) -> str:
    """Show those of a dataclass's fields that differ from their default."""
    shown = []
    for item in dataclasses.fields(record):
        value = getattr(record, item.name)
        if item.repr and not _is_default(item, value):
            shown.append(f"{item.name}={short(value, depth=depth)}")
    return f"{type(record).__name__}({', '.join(shown)})"


def _is_default(item: dataclasses.Field[Any], value: Any) -> bool:
    if item.default_factory is dataclasses.MISSING:
        default = item.default
    else:
        default = item.default_factory()
    if hasattr(value, "shape"):  # arrays compare elementwise, and are never a default
        return False
    return type(default) is type(value) and bool(default == value)


def _first_entries(entries: Sequence[str]) -> str:
    listed = ", ".join(entries[:_MAX_ENTRIES])
    left = len(entries) - _MAX_ENTRIES
    return f"{listed}, ... {left} more" if left > 0 else listed


def _html_row(tag: str, cells: Sequence[object]) -> str:
    return f"<tr>{''.join(f'<{tag}>{_html(cell)}</{tag}>' for cell in cells)}</tr>"


def _html(text: object) -> str:
    return html.escape(printable(text))
