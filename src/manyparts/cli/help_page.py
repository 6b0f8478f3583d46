"""A command's help page as people read it: whole paragraphs, and no defaults that say nothing."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

_RULE = re.compile(r" +-{10,}")
_FLAG = re.compile(r"--[a-zA-Z][\w.-]*")
_NO_DEFAULT = re.compile(r" *\(default:( None)?\s*\)")
_COLUMN = 26  # where descriptions begin if the page has none that says so
WIDTH = 80


def tidy(page: str) -> str:
    """The page that tyro rendered, laid out again.

    tyro ends a line wherever a docstring does, and shows None among choices and as a default; a
    flag that is left out is None.
    """
    lines = [line.rstrip() for line in _without_none(page).splitlines()]
    rules = [len(line) for line in lines if _RULE.fullmatch(line)]
    width = max(rules, default=WIDTH)
    indents = [_indent(line) for line in lines if _indent(line) > 4]
    layout = _Layout(width, min(indents, default=_COLUMN))
    for line in lines:
        layout.add(line)
    return "\n".join(layout.finished()) + "\n"


def flags_on(page: str) -> list[str]:
    """The flags that a tidy help page lists, in their order."""
    flags: list[str] = []
    for line in page.splitlines():
        if line.startswith("  -"):
            header = line.strip().partition("  ")[0]
            flags += _FLAG.findall(header)
    return flags


class _Layout:
    """Collects lines of a page into blocks, and wraps each block to the width.

    A block is a paragraph of lines with one indent, or a flag with its description. Headings,
    rules and the line of usage stay as they are.
    """

    def __init__(self, width: int, column: int) -> None:
        self._width = width
        self._column = column
        self._lines: list[str] = []
        self._header = ""  # of a flag, or empty in a paragraph
        self._indent = 0
        self._words: list[str] = []
        self._lists_arguments = False

    def add(self, line: str) -> None:
        """Take in the next line."""
        if not line or _RULE.fullmatch(line) or line.startswith("usage:") or _is_heading(line):
            self._end_block()
            self._lines.append(line)
            if _is_heading(line):
                self._lists_arguments = line.strip() == "positional arguments"
        elif _indent(line) == 2 and (line.startswith("  -") or self._lists_arguments):
            self._end_block()
            header, _, text = line.strip().partition("  ")
            self._header = header
            self._words = text.split()
        else:
            if not self._words and not self._header:
                self._indent = _indent(line)
            self._words += line.split()

    def finished(self) -> list[str]:
        """The lines of the page."""
        self._end_block()
        return self._lines

    def _end_block(self) -> None:
        text = _NO_DEFAULT.sub("", " ".join(self._words))
        if self._header:
            self._lines += self._described(text)
        elif text:
            indent = " " * self._indent
            self._lines += _wrapped(text, self._width, first=indent, then=indent)
        self._header, self._words = "", []

    def _described(self, text: str) -> Iterator[str]:
        """A flag, and its description next to it or, if it is long, below it."""
        header, indent = f"  {self._header}", " " * self._column
        if len(header) + 2 > self._column:
            yield header
            yield from _wrapped(text, self._width, first=indent, then=indent)
        elif text:
            first = header.ljust(self._column)
            yield from _wrapped(text, self._width, first=first, then=indent)
        else:
            yield header


def _without_none(page: str) -> str:
    """The page with no None among choices."""
    page = page.replace("{None}|", "").replace("{None,", "{").replace(",None}", "}")
    return re.sub(r"\{([A-Z]+(?: [A-Z]+)+)\}", r"\1", page)  # {PATH PATH} are two paths


def _is_heading(line: str) -> bool:
    return _indent(line) == 1 and not _RULE.fullmatch(line)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _wrapped(text: str, width: int, *, first: str, then: str) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )
