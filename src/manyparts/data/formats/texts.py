"""The text that asks for a task, as others store it: strings, bytes or character codes, per step or
per episode."""

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
_LETTERS = 0.8  # of a text's characters are letters or spaces, at least: numbers may be printable by chance
_WORD = re.compile(r"[^\W\d_]{3}")
_NUMBERED = re.compile(r"(?P<word>.*?)(?:_(?P<number>\d+))?")


def instruction_names(names: Iterable[str]) -> list[str]:
    """Those names that an instruction may stand under, the likeliest first;
    `language_instruction_2` comes after `language_instruction`, and what is given per step before
    what is given per episode."""
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
    """All texts of an array of strings or bytes, of a list of bytes, or of rows of character codes,
    whole numbers (n,) or (T, n) with zeros after the end. None if it is no text."""
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
    """Whether whole numbers (T, n) are character codes: each row decodes, to letters for the most
    part."""
    if not (rows[:, :1] >= ord(" ")).any() or rows.min() < 0 or rows.max() > 255:
        return False
    said = [text for text in _of_codes(rows) or [] if text]
    letters = [
        sum(letter.isalpha() or letter == " " for letter in text) >= _LETTERS * len(text)
        for text in said
    ]
    return bool(said) and all(letters) and any(_WORD.search(text) for text in said)


def distinct_texts(sources: Iterable[Sequence[str]]) -> list[str]:
    """The texts that are not empty, each once, of the first source that has any."""
    for source in sources:
        kept = [text for text in dict.fromkeys(source) if text]
        if kept:
            return kept
    return []


def changing_note(count: int) -> list[str]:
    """What users have to know of episodes whose instruction is not the same in all steps."""
    if not count:
        return []
    episodes = "1 episode has" if count == 1 else f"{count} episodes have"
    return [
        f"{episodes} several instructions, which change from step to step: the first one is used for all steps"
    ]


def _of_codes(rows: np.ndarray) -> list[str] | None:
    unique, inverse = np.unique(rows, axis=0, return_inverse=True)
    decoded = []
    for row in unique:
        ended = np.flatnonzero(row <= 0)
        codes = row[: ended[0]] if len(ended) else row
        if codes.size and codes.max() > 255:
            return None  # numbers of a vocabulary
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
