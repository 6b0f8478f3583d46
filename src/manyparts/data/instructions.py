"""Split instructions of any script into words, and find tasks that their instructions do not tell
apart."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import lru_cache

from manyparts.core.printing import first_of

_MAX_SHOWN = 3
# Scripts that put no spaces between words, by their Unicode blocks: each of their characters is a
# word.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Myanmar
    # Khmer, Tai Le, Tai Lue, Tai Tham, Tai Viet
    "\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf"
    "\u1b00-\u1b7f\ua980-\ua9df"  # Balinese, Javanese
    # radicals, Hiragana, Katakana, Bopomofo
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    # Han, Yi, Tangut
    "\u3400-\u4dbf\u4e00-\ua4cf\uf900-\ufaff\U00016fe0-\U0001b2ff\U00020000-\U0003ffff]"
)
_BREAK = "\u200b"  # a space without width; other invisible characters stand within words
# Unicode categories: mathematics, currencies, others such as emoji, private use, not yet assigned.
_SYMBOLS = ("Sm", "Sc", "So", "Co", "Cn")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # how a character is drawn


@lru_cache(maxsize=10_000)
def words(instruction: str) -> tuple[str, ...]:
    """The words of an instruction in any script, casefolded and in NFC.

    A word is a run of letters, digits and the marks on them. In scripts without spaces (Han,
    Hiragana, Katakana, Thai, Lao, Khmer, Myanmar, ...) each character is a word, and so is each
    symbol that is not ASCII, such as an emoji. Punctuation and ASCII symbols divide words.
    Full-width and half-width forms are read as the usual ones; invisible characters are dropped.
    """
    split: list[str] = []
    last = ""  # what the character before was: "", "run" or "alone"
    for character in _comparable(instruction):
        kind = _kind(character)
        if (kind == "mark" and last) or (kind == last == "run"):
            split[-1] += character
            continue
        if kind:
            split.append(character)
        last = "run" if kind == "mark" else kind
    return tuple(split)


def taken_for_equal(
    instructions: Mapping[str, Iterable[str]], tokens: Callable[[str], Hashable] = words
) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Pairs of tasks with instructions that differ for people but are equal for the agent.

    Instructions that differ only in case, spaces or a final full stop are not listed.

    Args:
        instructions: the name of each task to all its instructions.
        tokens: how the agent tokenises an instruction.

    Returns:
        ((task, instruction), (other task, its instruction)), one pair for equal tokens.
    """
    first: dict[Hashable, tuple[str, str]] = {}
    pairs: dict[Hashable, tuple[tuple[str, str], tuple[str, str]]] = {}
    for task, of_task in instructions.items():
        for instruction in of_task:
            key = tokens(instruction)
            other = first.setdefault(key, (task, instruction))
            if other[0] != task and _plain(other[1]) != _plain(instruction):
                pairs.setdefault(key, (other, (task, instruction)))
    return list(pairs.values())


def instruction_warnings(
    instructions: Mapping[str, Iterable[str]], tokens: Callable[[str], Hashable] = words
) -> list[str]:
    """Warnings of instructions that several tasks have, and of instructions without any word.

    Args:
        instructions: the name of each task to all its instructions.
        tokens: how the agent tokenises an instruction.

    Returns:
        One line for each instruction concerned.
    """
    tasks_by_tokens: dict[Hashable, dict[str, str]] = {}  # tokens to task to instruction
    for task, of_task in instructions.items():
        for instruction in of_task:
            tasks_by_tokens.setdefault(tokens(instruction), {}).setdefault(task, instruction)
    no_words = tokens("")
    lines = []
    for key, tasks in tasks_by_tokens.items():
        names, example = _first_names(list(tasks)), next(iter(tasks.values()))
        if key == no_words:
            has = "has" if len(tasks) == 1 else "have"
            lines.append(
                f"{names} {has} an instruction without a word ({example!r}): no prompt asks for it"
            )
        elif len(tasks) > 1:
            lines.append(
                f"{names} have the same instruction {example!r}: no prompt tells them apart"
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
    """ "run": continues the word before it; "alone": is a word; "mark": belongs to the character
    before it; "": divides words."""
    category = unicodedata.category(character)
    if category[0] == "M":
        return "mark"
    if _UNSPACED.match(character) and category[0] in "LN":
        return "alone"
    if category[0] in "LN":
        return "run"
    return "alone" if category in _SYMBOLS and not character.isascii() else ""


def _plain(instruction: str) -> str:
    """Without differences that people do not count: case, spaces, a final full stop."""
    return " ".join(_comparable(instruction).split()).rstrip(".!。！ ")


def _first_names(names: list[str]) -> str:
    """The first three task names, and how many more there are."""
    shown = first_of(map(repr, names), _MAX_SHOWN)
    return f"task {shown}" if len(names) == 1 else f"tasks {shown}"
