"""Decode instructions as other programs store them: strings, bytes or character codes, per step
or per episode."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

_NAMES = (
    "sentence",
    "language_instruction",
    "natural_language_instruction",
    "instruction",
    "task_description",
    "instructions",
    "language",
    "lang",
    "prompt",
    "task",
    "task_name",
)
# Minimum fraction of letters and spaces in a text: numbers may be printable by chance.
_MIN_LETTERS = 0.8
_WORD = re.compile(r"[^\W\d_]{3}")
_NUMBERED = re.compile(r"(?P<word>.*?)(?:_(?P<number>\d+))?")


def instruction_names(names: Iterable[str]) -> list[str]:
    """Those names that may hold an instruction, the likeliest first.

    `language_instruction_2` comes after `language_instruction`; names per step ("steps/...") come
    before those per episode.
    """
    ranked = []
    for name in names:
        match = _NUMBERED.fullmatch(name.rsplit("/", 1)[-1])
        if match and match["word"] in _NAMES:
            per_step = name.startswith("steps/") or "/" not in name
            ranked.append(
                (not per_step, _NAMES.index(match["word"]), int(match["number"] or 0), name)
            )
    return [name for *_, name in sorted(ranked)]


def decode_texts(values: Any) -> list[str] | None:
    """Decode texts.

    Args:
        values: an array of strings or bytes, a list of bytes, or character codes: integers (n,)
            or (T, n), with zeros after the end.

    Returns:
        All texts; None if the values are no text.
    """
    if isinstance(values, list):
        return [_decoded(bytes(value)) for value in values]
    values = np.asarray(values)
    if values.dtype.kind in "SU":
        return [
            _decoded(value) if isinstance(value, bytes) else _trimmed(value)
            for value in values.ravel().tolist()
        ]
    if values.dtype.kind in "iu" and values.ndim in (1, 2) and values.shape[-1] > 1 and values.size:
        return _of_codes(np.atleast_2d(values))
    return None


def reads_as_text(rows: np.ndarray) -> bool:
    """Whether integers (T, n) are character codes: each row decodes to text of mostly letters."""
    if not (rows[:, :1] >= ord(" ")).any() or rows.min() < 0 or rows.max() > 255:
        return False
    decoded = [text for text in _of_codes(rows) or [] if text]
    mostly_letters = [
        sum(letter.isalpha() or letter == " " for letter in text) >= _MIN_LETTERS * len(text)
        for text in decoded
    ]
    return bool(decoded) and all(mostly_letters) and any(_WORD.search(text) for text in decoded)


def distinct_texts(sources: Iterable[Sequence[str]]) -> list[str]:
    """The non-empty texts, each once, of the first source that has any."""
    for source in sources:
        kept = [text for text in dict.fromkeys(source) if text]
        if kept:
            return kept
    return []


def changing_note(count: int) -> list[str]:
    """A note for users of `count` episodes with an instruction that changes between steps."""
    if not count:
        return []
    episodes = "1 episode has" if count == 1 else f"{count} episodes have"
    return [
        f"{episodes} several instructions, which change from step to step: "
        "the first one is used for all steps"
    ]


def _of_codes(rows: np.ndarray) -> list[str] | None:
    """The texts of character codes (T, n); None if a row is no text."""
    # Most steps repeat their instruction: each different row is decoded once.
    unique, inverse = np.unique(rows, axis=0, return_inverse=True)
    decoded = []
    for row in unique:
        ends = np.flatnonzero(row <= 0)
        codes = row[: ends[0]] if len(ends) else row
        if codes.size and codes.max() > 255:
            return None  # tokens of a vocabulary
        try:
            text = bytes(codes.astype(np.uint8)).decode("utf-8")
        except UnicodeDecodeError:
            return None
        if not all(character.isprintable() or character.isspace() for character in text):
            return None
        decoded.append(_trimmed(text))
    return [decoded[index] for index in np.ravel(inverse)]


def _decoded(content: bytes) -> str:
    return _trimmed(content.decode("utf-8", "replace"))


def _trimmed(text: str) -> str:
    return text.strip().strip("\0").strip()
