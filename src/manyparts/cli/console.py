"""Tables for terminals and files, in which nothing is cut, whatever the width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from manyparts.core.printing import printable

Cell = str | Text
_FILE_COLUMNS = 120
_PADDING = 3  # characters between a column and the next one
_GAP = "   "


def console() -> Console:
    """A console on stdout, 120 columns wide if that is not a terminal."""
    shown = Console()
    return shown if shown.is_terminal else Console(width=_FILE_COLUMNS)


def print_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    title: str = "",
    names: int = 1,
    summary: Sequence[Cell] | None = None,
) -> None:
    """Print rows as a table, or each row as a paragraph if columns would be too narrow for their
    words.

    Args:
        heads: the columns' names; if all are empty, none are shown.
        rows: cells as plain text, in which brackets mean nothing, or as styled `Text`.
        title: a line above the table.
        names: number of first columns that say what a row is about. They are aligned to the left,
            numbers in other columns to the right.
        summary: a last row beneath a line.
    """
    lines = [[_clean(cell) for cell in row] for row in rows]
    last = None if summary is None else [_clean(cell) for cell in summary]
    shown, every = console(), lines if last is None else [*lines, last]
    minimum, natural = _measured(heads, every)
    needed = sum(minimum) + _PADDING * len(heads) + 1
    if not shown.is_terminal and needed > shown.width:
        shown = Console(width=needed)
    if title:
        shown.print(Text(printable(title), style="italic"))
    if needed > shown.width:
        for row in every:
            _print_paragraph(shown, heads, row, names)
        return
    widths = _widths(minimum, natural, shown.width - _PADDING * len(heads) - 1)
    table = Table(box=SIMPLE, show_header=any(heads))
    for number, (head, width) in enumerate(zip(heads, widths, strict=True)):
        is_right = number >= names and _is_numeric([row[number] for row in every])
        justify = "right" if is_right else "left"
        table.add_column(Text(printable(head)), width=width, justify=justify, overflow="fold")
    for row in lines:
        table.add_row(*row)
    if last is not None:
        table.add_section()
        table.add_row(*last, style="bold")
    shown.print(table)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names with their values, in two columns if there is room."""
    shown, pairs = console(), [(printable(name), printable(value)) for name, value in facts]
    width = max((cell_len(name) for name, _ in pairs), default=0)
    if shown.width - width < _FILE_COLUMNS // 4:
        for name, value in pairs:
            _print_filled(shown, [Text(f"{name}: {value}")], first="", then="    ")
        return
    table = Table(box=None, show_header=False)
    table.add_column(width=width)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(Text(name), Text(value))
    shown.print(table)


def significant(value: float, digits: int = 2) -> str:
    """A number of so many significant digits, without an exponent if it is below a million.

    Args:
        value: the number.
        digits: how many significant digits; at least 1.
    """
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e+" in text and abs(value) < 1e6 else text


def _clean(cell: Cell) -> Text:
    if isinstance(cell, Text):
        return Text(printable(cell.plain), style=cell.style)
    return Text(printable(cell))


def _measured(heads: Sequence[str], rows: Sequence[Sequence[Text]]) -> tuple[list[int], list[int]]:
    """For each column the width of its longest word, and that of its longest cell."""
    columns = [[head, *(row[number].plain for row in rows)] for number, head in enumerate(heads)]
    words = [[cell_len(word) for word in " ".join(column).split()] for column in columns]
    cells = [[cell_len(cell) for cell in column] for column in columns]
    return [max(widths, default=1) for widths in words], [max([*widths, 1]) for widths in cells]


def _widths(minimum: Sequence[int], natural: Sequence[int], room: int) -> list[int]:
    """The columns' widths: as wide as their cells, or with the room beyond their longest words
    divided in proportion to what each lacks."""
    lacking = [wide - narrow for wide, narrow in zip(natural, minimum, strict=True)]
    spare = min(room - sum(minimum), sum(lacking))
    total = max(1, sum(lacking))
    return [narrow + spare * more // total for narrow, more in zip(minimum, lacking, strict=True)]


def _is_numeric(cells: Sequence[Text]) -> bool:
    return all(not cell.plain or cell.plain[0] in "+-.0123456789" for cell in cells)


def _print_paragraph(shown: Console, heads: Sequence[str], row: Sequence[Text], names: int) -> None:
    """Print the names in a line, then each other cell after its head."""
    shown.print(Text("  ").join(row[:names]), overflow="fold")
    items = [
        Text(f"{printable(head)}: " if head else "").append_text(cell)
        for head, cell in zip(heads[names:], row[names:], strict=True)
        if cell.plain
    ]
    _print_filled(shown, items, first="  ", then="      ")


def _print_filled(shown: Console, items: Sequence[Text], *, first: str, then: str) -> None:
    """Print items on as few lines as possible; one that is longer than a line continues with the
    indent `then`."""
    line = Text(first)
    for item in items:
        if (
            line.plain.strip()
            and cell_len(line.plain) + len(_GAP) + cell_len(item.plain) > shown.width
        ):
            shown.print(line)
            line = Text(first)
        line.append_text(Text(_GAP if line.plain.strip() else "").append_text(item))
        if cell_len(line.plain) > shown.width:
            begin, *more = item.wrap(shown, shown.width - len(then), overflow="fold")
            shown.print(Text(first).append_text(begin))
            for part in more:
                shown.print(Text(then).append_text(part))
            line = Text(first)
    if line.plain.strip():
        shown.print(line)
