"""Instructions as words, in any script, and tasks that nobody can tell apart by their
instructions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import lru_cache

from manyparts.core.printing import first_of

_SHOWN = 3
# Scripts that put no spaces between words, by their Unicode blocks: each of their characters is a
# word.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Myanmar
    "\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf"  # Khmer, Tai Le, Tai Lue, Tai Tham, Tai Viet
    "\u1b00-\u1b7f\ua980-\ua9df"  # Balinese, Javanese
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u312f\u31a0-\u31bf\u31f0-\u31ff"  # radicals, Hiragana, Katakana, Bopomofo
    "\u3400-\u4dbf\u4e00-\ua4cf\uf900-\ufaff\U00016fe0-\U0001b2ff\U00020000-\U0003ffff]"  # Han, Yi, Tangut
)
_BREAK = "\u200b"  # a space without width; other invisible characters stand within words
_SYMBOLS = (
    "Sm",
    "Sc",
    "So",
    "Co",
    "Cn",
)  # of mathematics, of money, others such as emoji, private ones, later ones
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # of how a character is drawn


@lru_cache(maxsize=10_000)
def words(instruction: str) -> tuple[str, ...]:
    """The words of an instruction in any script: runs of letters, digits and the marks on them,
    casefolded, in NFC.

    In scripts without spaces (Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar...) each character
    is a word, and so is each symbol that is not ASCII, such as an emoji. Punctuation and ASCII
    symbols divide words. Full-width and half-width forms count as the usual ones, and invisible
    characters as absent.
    """
    found: list[str] = []
    last = ""  # what the character before was: "", "run" or "alone"
    for character in _comparable(instruction):
        kind = _kind(character)
        if (kind == "mark" and last) or (kind == last == "run"):
            found[-1] += character
            continue
        if kind:
            found.append(character)
        last = "run" if kind == "mark" else kind
    return tuple(found)


def taken_for_equal(
    instructions: Mapping[str, Iterable[str]], tokens: Callable[[str], Hashable] = words
) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Pairs of two tasks and an instruction of each, which differ in more than case, spaces and a
    full stop, but not for the agent: their tokens are equal. One pair for each such tokens.

    Args:
        instructions: each task's name to all that it is called.
        tokens: what the agent makes of an instruction.
    """
    first: dict[Hashable, tuple[str, str]] = {}
    found: dict[Hashable, tuple[tuple[str, str], tuple[str, str]]] = {}
    for task, said in instructions.items():
        for instruction in said:
            key = tokens(instruction)
            other = first.setdefault(key, (task, instruction))
            if other[0] != task and _plain(other[1]) != _plain(instruction):
                found.setdefault(key, (other, (task, instruction)))
    return list(found.values())


def instruction_warnings(
    instructions: Mapping[str, Iterable[str]], tokens: Callable[[str], Hashable] = words
) -> list[str]:
    """A line for each instruction that several tasks share, and one for the tasks that are called
    by no word at all.

    Args:
        instructions: each task's name to all that it is called.
        tokens: what the agent makes of an instruction.
    """
    sharing: dict[Hashable, dict[str, str]] = {}
    for task, said in instructions.items():
        for instruction in said:
            sharing.setdefault(tokens(instruction), {}).setdefault(task, instruction)
    nothing = tokens("")
    lines = []
    for key, tasks in sharing.items():
        named, example = _some(list(tasks)), next(iter(tasks.values()))
        if key == nothing:
            has = "has" if len(tasks) == 1 else "have"
            lines.append(
                f"{named} {has} an instruction without a word ({example!r}): no prompt asks for it"
            )
        elif len(tasks) > 1:
            lines.append(
                f"{named} have the same instruction {example!r}: no prompt tells them apart"
            )
    return lines


def _comparable(instruction: str) -> str:
    """Equal for instructions that are written differently but read the same."""
    wide = "".join(map(_usual_width, _SELECTORS.sub("", instruction)))
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", wide).casefold())


def _usual_width(character: str) -> str:
    if unicodedata.decomposition(character).startswith(("<wide>", "<narrow>")):
        return unicodedata.normalize("NFKC", character)
    return "" if unicodedata.category(character) == "Cf" and character != _BREAK else character


def _kind(character: str) -> str:
    """ "run": goes on with the word before it; "alone": is a word; "mark": stands on what is before
    it; "": divides."""
    category = unicodedata.category(character)
    if category[0] == "M":
        return "mark"
    if _UNSPACED.match(character) and category[0] in "LN":
        return "alone"
    if category[0] in "LN":
        return "run"
    return "alone" if category in _SYMBOLS and not character.isascii() else ""


def _plain(instruction: str) -> str:
    """Without what does not change an instruction: case, spaces, a full stop."""
    return " ".join(_comparable(instruction).split()).rstrip(".!。！ ")


def _some(names: list[str]) -> str:
    shown = first_of(map(repr, names), _SHOWN)
    return f"task {shown}" if len(names) == 1 else f"tasks {shown}"
