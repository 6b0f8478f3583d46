"""What an array is, by its dtype, shape, name and values: an image, numbers of the state, or
neither.

All readers of named arrays share these rules.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from manyparts.data.formats.texts import reads_as_text

NUMBERS = "biuf"
_CHANNELS = (1, 3)
_MIN_GREY_SIDE = 8  # pixels; smaller (h, w) of uint8 are tables of numbers
_MAX_INTEGERS = 128  # integers of state per step; longer rows are text, or encoded somehow
# Numbers per step; fewer may look like text, or hardly change like tokens, by chance.
_MIN_CODES, _MIN_TOKENS = 8, 16
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

_OBS = r"(?:o|ob|obs|obses|observations?|s|states?)"
_NEXT_STEP = re.compile(
    rf"next.*|(?:.*_)?next|{_OBS}next|.+_(?:tp1|t_?plus_?1)"
    rf"|(?:new|future|following|successor|subsequent|final|terminal|post)_{_OBS}(?:_.*)?"
    rf"|(?:.*_)?{_OBS}_(?:tp1|t1|tplus1|t_plus_1|plus_?1|prime|after|following|future)"
)
_FIRST, _SECOND = re.compile(_OBS), re.compile(rf"{_OBS}2")
_ACTIONS = {"action", "actions", "acts"}
_NO_CURRENT_ACTION = {"prev", "previous", "last", "past", "history", "tm1", "old"} | {
    *("mask", "masks", "available", "avail", "valid", "legal", "space")
}
_LATER = re.compile(r"rewards?|(?:mc_)?returns?(?:_to_go)?|rtgs?|advantages?")
_DISTANCES = re.compile(r"[a-z]*depths?|depth[a-z]*|[a-z]*disparit(?:y|ies)")
_CLASSES = re.compile(
    r"segs?|segm[a-z]*|semantics?|panoptic|instances?|[a-z]*masks?|labels?|labelmaps?"
)


@dataclass(frozen=True)
class ArrayInfo:
    """Shape and dtype of an array of an episode; of encoded images those of their pixels."""

    shape: tuple[int, ...]
    """Shape per step, so without the time axis."""
    dtype: np.dtype
    """The array's dtype."""
    extra_rows: int = 0
    """Rows beyond the episode's steps."""

    @property
    def kind(self) -> Hashable:
        """Equal for arrays that are read in the same way: numbers of any dtype are."""
        numbers = self.dtype.kind in NUMBERS and not is_image(self)
        return self.shape, self.extra_rows, "numbers" if numbers else self.dtype


def snake_case(name: str) -> str:
    """A name in lower case with words apart: "nextObs" and "next-obs" become "next_obs"."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).replace("+", "plus")
    return re.sub(r"[^a-z0-9]+", "_", apart.lower()).strip("_")


def is_image(info: ArrayInfo) -> bool:
    """Whether an array is 8-bit colour (h, w, 3) or grey (h, w) or (h, w, 1)."""
    if info.dtype != np.uint8 or not info.shape or min(info.shape) < 1:
        return False
    if len(info.shape) == 2:
        return min(info.shape) >= _MIN_GREY_SIDE
    return len(info.shape) == 3 and info.shape[2] in _CHANNELS


def why_not_observed(name: str, info: ArrayInfo, others: Collection[str] = ()) -> str:
    """Why an array is neither a camera nor state, by its name and type; "" if it is one.

    Args:
        name: the array's name.
        info: its shape and dtype.
        others: the names of all observations.
    """
    size = int(np.prod(info.shape, dtype=object))
    if why := leak_by_name(name, others, image=is_image(info)):
        return why
    if info.dtype.kind in "OSUV":
        return "text or objects"
    if len(info.shape) >= 2 and "depth" in name.rsplit("/", 1)[-1].lower():
        return f"depth, {info.dtype} {info.shape}"
    if is_image(info):
        return why_no_camera(name, info.shape[2] if len(info.shape) == 3 else 1)
    if info.dtype.kind not in NUMBERS or len(info.shape) > 1:
        return _why_no_image(info)
    integers = info.dtype.kind in "iu"
    if info.dtype == np.uint8 and size > _MAX_INTEGERS:
        return f"{size} bytes per step that are no image"
    if integers and size > _MAX_INTEGERS:
        return f"{size} whole numbers per step, such as bytes or codes of text"
    if size > 1 and info.dtype.kind != "b" and _is_text_by_name(name, integers=integers):
        return f"{size} numbers per step that are codes of text, by their name"
    return "" if size else "empty"


def why_no_camera(name: str, channels: int) -> str:
    """Why images are not a camera's, by their name; "" if they are.

    Images with three channels are colours, whatever their name. With one channel, each pixel may
    also be a distance or a class: "agentview_seg", "masks/left".

    Args:
        name: the array's name.
        channels: how many channels its images have.
    """
    *folders, last = (
        [word.rstrip("0123456789") for word in snake_case(part).split("_")]
        for part in re.split(r"[/.]", name)
    )
    for pattern, what in ((_DISTANCES, "depth"), (_CLASSES, "numbers of classes or objects")):
        by_last = any(map(pattern.fullmatch, last))
        by_folder = any(all(map(pattern.fullmatch, words)) for words in folders)
        if channels == 1 and (by_last or by_folder):
            return f"{what}, by its name"
    return ""


def leak_by_name(name: str, others: Collection[str] = (), *, image: bool = False) -> str:
    """Why an observation would leak what is known only after the step, by its name; "" if not.

    Args:
        name: the array's name.
        others: the names of all observations: `obs2` is the next step's `obs` where there is no
            `obs1`.
        image: whether it is an image, and so no action, even if its name is `action_cam`.
    """
    for part in (snake_case(part) for part in re.split(r"[/.]", name)):
        if _NEXT_STEP.fullmatch(part) or _is_second(name, part, others):
            return "of the step that follows, by its name"
        if image:
            continue
        words = set(part.split("_"))
        is_action = words & _ACTIONS or {"act", "expert"} <= words
        if is_action and not words & _NO_CURRENT_ACTION:
            return "an action, by its name"
        if _LATER.fullmatch(part):
            return "known only after the step, by its name"
    return ""


def why_not_state(episodes: Iterable[np.ndarray]) -> str:
    """Why numbers are no state, by their values; "" if they are.

    Args:
        episodes: the numbers in some episodes, each (T, ...). All episodes have to agree; the
            first that looks like state ends the reading.
    """
    first_reason = ""
    for values in episodes:
        why = _why_not_state_in(values)
        if why == "":
            return ""
        first_reason = first_reason or why or ""
    return first_reason


def _is_second(name: str, part: str, others: Collection[str]) -> bool:
    """Whether a name such as `obs2` goes with one such as `obs`, and is not one of obs0 to obs3."""
    if not _SECOND.fullmatch(part) or not name.endswith("2"):
        return False
    folder = name.rpartition("/")[0]
    neighbours = {
        snake_case(other.rpartition("/")[2])
        for other in others
        if other.rpartition("/")[0] == folder
    }
    numbered = {f"{part[:-1]}{number}" for number in "013"} & neighbours
    return not numbered and any(_FIRST.fullmatch(other) for other in neighbours)


def _why_not_state_in(values: np.ndarray) -> str | None:
    """Why one episode's numbers are no state; "" if they look like it, None if undecided."""
    if not values.size:
        return None
    if values.dtype.kind == "f" and not np.isfinite(values).any():
        return "NaN or infinite throughout"
    if values.ndim != 2 or values.dtype.kind not in "iuf" or values.shape[1] < _MIN_CODES:
        return ""
    width = values.shape[1]
    is_text = f"{width} numbers per step that read as text"
    if values.dtype.kind == "f":
        may_be_codes = (
            np.isfinite(values).all()
            and (values == np.rint(values)).all()
            and np.abs(values).max() < 256
        )
        return is_text if may_be_codes and reads_as_text(values.astype(np.int64)) else ""
    if reads_as_text(values):
        return is_text
    if width < _MIN_TOKENS or len(np.unique(values, axis=0)) > 1 + len(values) // 4:
        return ""
    if values.min() >= 0 and values.max() <= 1:
        return None  # perhaps a one-hot vector of a state; perhaps tokens of an empty text
    return f"{width} whole numbers per step that hardly change, such as tokens or bytes"


def _is_text_by_name(name: str, *, integers: bool) -> bool:
    """Whether an array's name says that its numbers are codes of text, and no embedding of it."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    text_words = _TEXT_WORDS if integers else _TEXT_WORDS - {"language"}
    return bool(words & text_words) and not words & _EMBEDDINGS


def _why_no_image(info: ArrayInfo) -> str:
    """Why an array that is no row of numbers is no 8-bit image either."""
    shape, what = info.shape, f"{info.dtype} {info.shape}"
    flat = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    if len(shape) == 3 and info.dtype == np.uint8 and shape[2] == 4:
        return f"{what}, an image of 4 channels, not of 1 or 3"
    if len(shape) == 3 and info.dtype == np.uint8 and shape[0] in (1, 3, 4):
        return f"{what}, an image with its channels first"
    deep = info.dtype.kind in "uf" and info.dtype.itemsize > 1
    if flat and deep and min(shape[:2]) >= _MIN_GREY_SIDE:
        return f"{what}, an image of more than 8 bits, such as depth"
    return f"{what} is neither an 8-bit image nor a row of numbers"
