"""Pieces of Markdown that several pages need."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

NOTE = (
    "<!-- Written by scripts/docs/reference.py. Change the code that it reads, not this file. -->\n"
)


def page(title: str, introduction: str, parts: Iterable[str]) -> str:
    """A page: its title, what it is for, and its parts, which end without a line break."""
    return "\n\n".join([f"{NOTE}\n# {title}", introduction.strip(), *parts]) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with cells that are Markdown already."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(text: str) -> str:
    """Plain text as a table's cell: one line, in which nothing but code between backticks has a
    meaning."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(_code_part(part) if part.startswith("`") else _text_part(part) for part in parts)


def code(text: str) -> str:
    """Text in code font, for a cell; nothing for no text."""
    return _code_part(f"`{text}`") if text else ""


def _code_part(text: str) -> str:
    """A bar would end the cell."""
    return f"<code>{_html(text[1:-1]).replace('|', '&#124;')}</code>" if "|" in text else text


def _text_part(text: str) -> str:
    return re.sub(r"([*_\[\]])", r"\\\1", _html(text)).replace("|", "&#124;")


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
