"""What an array is, by its dtype, shape, name and values: a picture, numbers of the state, or
neither.

The rules hold for all readers whose arrays stand under names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from manyparts.data.formats.texts import reads_as_text

NUMBERS = "biuf"
_CHANNELS = (1, 3)
_SMALLEST_GREY = 8  # pixels a side: smaller (h, w) of uint8 are tables of numbers
_MOST_WHOLE = 128  # whole numbers of state per step: longer rows are text, or encoded in a way that is not known
_FEWEST_CODES, _FEWEST_TOKENS = (
    8,
    16,
)  # a step: fewer numbers may look like text, or stand still, by chance
_TEXT_WORDS = {
    "instruction",
    "instructions",
    "language",
    "sentence",
    "text",
    "token",
    "tokens",
    "caption",
    "prompt",
}
_EMBEDDINGS = {"embedding", "embeddings", "embed", "emb", "feature", "features"}

_SEEN = r"(?:o|ob|obs|obses|observations?|s|states?)"
_FOLLOWS = re.compile(
    rf"next.*|(?:.*_)?next|{_SEEN}next|.+_(?:tp1|t_?plus_?1)"
    rf"|(?:new|future|following|successor|subsequent|final|terminal|post)_{_SEEN}(?:_.*)?"
    rf"|(?:.*_)?{_SEEN}_(?:tp1|t1|tplus1|t_plus_1|plus_?1|prime|after|following|future)"
)
_FIRST, _SECOND = re.compile(_SEEN), re.compile(rf"{_SEEN}2")
_ACTIONS = {"action", "actions", "acts"}
_NO_ACTION_NOW = {"prev", "previous", "last", "past", "history", "tm1", "old"} | {
    *("mask", "masks", "available", "avail", "valid", "legal", "space")
}
_LATER = re.compile(r"rewards?|(?:mc_)?returns?(?:_to_go)?|rtgs?|advantages?")
_DISTANCES = re.compile(r"[a-z]*depths?|depth[a-z]*|[a-z]*disparit(?:y|ies)")
_CLASSES = re.compile(
    r"segs?|segm[a-z]*|semantics?|panoptic|instances?|[a-z]*masks?|labels?|labelmaps?"
)


@dataclass(frozen=True)
class ArrayInfo:
    """One array's shape per step and its dtype; of encoded images those of their pixels. more: the
    rows that it has beyond the episode's steps."""

    shape: tuple[int, ...]
    dtype: np.dtype
    extra_rows: int = 0

    @property
    def kind(self) -> Hashable:
        """Equal for arrays that are read in one way: numbers of one shape are, whatever their
        dtype."""
        numbers = self.dtype.kind in NUMBERS and not is_image(self)
        return self.shape, self.extra_rows, "numbers" if numbers else self.dtype


def snake_case(name: str) -> str:
    """A name in lower case, with words apart: "nextObs" and "next-obs" are "next_obs"."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).replace("+", "plus")
    return re.sub(r"[^a-z0-9]+", "_", apart.lower()).strip("_")


def is_image(entry: ArrayInfo) -> bool:
    if entry.dtype != np.uint8 or not entry.shape or min(entry.shape) < 1:
        return False
    if len(entry.shape) == 2:
        return min(entry.shape) >= _SMALLEST_GREY
    return len(entry.shape) == 3 and entry.shape[2] in _CHANNELS


def why_not_observed(name: str, entry: ArrayInfo, others: Collection[str] = ()) -> str:
    """Why an array is neither a camera nor state; empty if it is. others: the names of all
    observations."""
    size = int(np.prod(entry.shape, dtype=object))
    if answers := leak_by_name(name, others, picture=is_image(entry)):
        return answers
    if entry.dtype.kind in "OSUV":
        return "text or objects"
    if len(entry.shape) >= 2 and "depth" in name.rsplit("/", 1)[-1].lower():
        return f"depth, {entry.dtype} {entry.shape}"
    if is_image(entry):
        return why_no_camera(name, entry.shape[2] if len(entry.shape) == 3 else 1)
    if entry.dtype.kind not in NUMBERS or len(entry.shape) > 1:
        return _not_a_picture(entry)
    whole = entry.dtype.kind in "iu"
    if entry.dtype == np.uint8 and size > _MOST_WHOLE:
        return f"{size} bytes a step that are no image"
    if whole and size > _MOST_WHOLE:
        return f"{size} whole numbers per step, such as bytes or codes of text"
    if size > 1 and entry.dtype.kind != "b" and _is_called_text(name, whole):
        return f"{size} numbers per step that are codes of text, by their name"
    return "" if size else "empty"


def why_no_camera(name: str, channels: int) -> str:
    """Why pictures with so many numbers a pixel are none of a camera, by their name; empty if they
    are.

    Colours are seen, whatever they are called. One number may be a distance or a class:
    "agentview_seg", "masks/left".
    """
    *folders, last = (
        [word.rstrip("0123456789") for word in snake_case(part).split("_")]
        for part in re.split(r"[/.]", name)
    )
    for pattern, what in ((_DISTANCES, "depth"), (_CLASSES, "numbers of classes or objects")):
        said = any(map(pattern.fullmatch, last)) or any(
            all(map(pattern.fullmatch, words)) for words in folders
        )
        if channels == 1 and said:
            return f"{what}, by its name"
    return ""


def leak_by_name(name: str, others: Collection[str] = (), *, picture: bool = False) -> str:
    """Why something among the observations is known only after the step, by its name; empty if it
    is not.

    others: the names of all observations: `obs2` follows `obs` where there is no `obs1`. picture:
    it is one, and so no action, even if it is called `action_cam`.
    """
    for part in (snake_case(part) for part in re.split(r"[/.]", name)):
        if _FOLLOWS.fullmatch(part) or _is_second(name, part, others):
            return "of the step that follows, by its name"
        if picture:
            continue
        words = set(part.split("_"))
        acts = words & _ACTIONS or {"act", "expert"} <= words
        if acts and not words & _NO_ACTION_NOW:
            return "an action, by its name"
        if _LATER.fullmatch(part):
            return "known only after the step, by its name"
    return ""


def why_not_state(episodes: Iterable[np.ndarray]) -> str:
    """Why numbers are no state, by their values in some episodes, each (T, ...); empty if they are.

    All episodes have to say so; the first that does not ends the reading.
    """
    found = ""
    for values in episodes:
        why = _doubt(values)
        if why == "":
            return ""
        found = found or why or ""
    return found


def _is_second(name: str, part: str, others: Collection[str]) -> bool:
    """Whether a name such as `obs2` stands beside one such as `obs` or `observations`, and is not
    one of many."""
    if not _SECOND.fullmatch(part) or not name.endswith("2"):
        return False
    folder = name.rpartition("/")[0]
    beside = {
        snake_case(other.rpartition("/")[2]) for other in others if other.rpartition("/")[0] == folder
    }
    many = {f"{part[:-1]}{number}" for number in "013"} & beside
    return not many and any(_FIRST.fullmatch(other) for other in beside)


def _doubt(values: np.ndarray) -> str | None:
    """Why one episode's numbers are no state; "" if they look like it, None if they do not tell."""
    if not values.size:
        return None
    if values.dtype.kind == "f" and not np.isfinite(values).any():
        return "NaN or infinite throughout"
    if values.ndim != 2 or values.dtype.kind not in "iuf" or values.shape[1] < _FEWEST_CODES:
        return ""
    width = values.shape[1]
    if values.dtype.kind == "f":
        if not (
            np.isfinite(values).all()
            and (values == np.rint(values)).all()
            and np.abs(values).max() < 256
        ):
            return ""
        return (
            f"{width} numbers per step that read as text"
            if reads_as_text(values.astype(np.int64))
            else ""
        )
    if reads_as_text(values):
        return f"{width} numbers per step that read as text"
    if width < _FEWEST_TOKENS or len(np.unique(values, axis=0)) > 1 + len(values) // 4:
        return ""
    if values.min() >= 0 and values.max() <= 1:
        return None  # one of many, perhaps; or tokens of no text
    return f"{width} whole numbers per step that hardly change, such as tokens or bytes"


def _is_called_text(name: str, whole: bool) -> bool:
    """Whether an array's name says that its numbers stand for text; an embedding's are measurements
    of a kind."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    return (
        bool(words & (_TEXT_WORDS if whole else _TEXT_WORDS - {"language"}))
        and not words & _EMBEDDINGS
    )


def _not_a_picture(entry: ArrayInfo) -> str:
    shape, what = entry.shape, f"{entry.dtype} {entry.shape}"
    flat = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    if len(shape) == 3 and entry.dtype == np.uint8 and shape[2] == 4:
        return f"{what}, an image of 4 channels, not of 1 or 3"
    if len(shape) == 3 and entry.dtype == np.uint8 and shape[0] in (1, 3, 4):
        return f"{what}, an image with its channels first"
    if (
        flat
        and entry.dtype.kind in "uf"
        and entry.dtype.itemsize > 1
        and min(shape[:2]) >= _SMALLEST_GREY
    ):
        return f"{what}, an image of more than 8 bits, such as depth"
    return f"{what} is neither an 8-bit image nor a row of numbers"
