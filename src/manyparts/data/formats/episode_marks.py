"""Whether an array says where episodes end, and how many of them: flags, counters that start again,
lists of ends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from manyparts.data.formats.kinds import NUMBERS, snake_case

_OF = r"(?:is_|in_)?(?:(?:episodes?|eps?|traj|trajectory|env|path)_)?"
_AS = r"(?:_(?:f|floats?|flags?|bools?))?"
_ENDS = re.compile(
    rf"{_OF}(?:dones?|terminals?|terminateds?|terminations?|terminates?|timeouts?|truncateds?|truncations?){_AS}"
    rf"|is_last|(?:episodes?|eps?|traj|trajectory)_(?:ends?|last|over|finished){_AS}"
    r"|ends?_of_(?:an_)?(?:episodes?|traj|trajectory)"
)
_FIRSTS = re.compile(
    rf"{_OF}firsts?{_AS}|(?:episodes?|eps?|traj|trajectory)_(?:starts?|begins?){_AS}|new_episodes?"
)
_GOES_ON = re.compile(
    r"valids?|discounts?|(?:not_?|non_?)(?:dones?|terminals?|terminateds?)|continues?|conts?"
)
_UNSURE = re.compile(
    rf"{_OF}(?:ends?|last|final|over|finished|starts?|begins?|resets?|masks?){_AS}|(?:done|end|terminal)_masks?"
)
_COUNTER = re.compile(
    r"(?:(?:episode|ep|env|traj|sim|elapsed)_)?(?:time_?steps?|steps?|t|times?|time_?stamps?|frames?|ticks?)"
    r"(?:_?(?:ids?|idx|index|indices|number|num|no|count|counter))?"
)
_EPISODE = re.compile(
    rf"(?:episodes?|eps?|traj|trajs|trajectory|trajectories|demos?|demonstrations?|rollouts?)"
    rf"(?:_?(?:ids?|idxs?|index|indexes|indices|numbers?|nums?|no))?{_AS}"
)
_FEWEST_ROWS, _FEWEST_TIMES = (
    3,
    5,
)  # of an episode, on average, where an unsure name or a counter, or a clock tells

_OTHERS = re.compile(
    r"sub|phase|skill|stage|contact|segment|option|key|primitive|waypoint|gripper|stroke"
)

_LONGEST_END = 2  # rows: OGBench's loader marks the last two of an episode

FLOW = "says where an episode ends"


def may_mark_episodes(name: str, shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether an array of a whole file may mark episodes, so that it is worth reading."""
    if len(shape) != 1 and not (len(shape) == 2 and shape[1] == 1):
        return False
    word = _word(name)
    if dtype.kind in "SU":
        return bool(_EPISODE.fullmatch(word))
    called = (_ENDS, _FIRSTS, _GOES_ON, _UNSURE, _COUNTER, _EPISODE)
    return dtype.kind in "iu" or (
        dtype.kind in NUMBERS and (any(each.fullmatch(word) for each in called) or _is_list(word))
    )


def why_episode_mark(name: str, values: Iterable[np.ndarray]) -> str:
    """Why an array with a value a step is no observation, since it tells episodes apart; empty if
    it may be one.

    values: of some episodes, each (T,); they are looked at where the name is not sure.
    """
    word = _word(name)
    if any(each.fullmatch(word) for each in (_ENDS, _FIRSTS, _GOES_ON)):
        return FLOW
    if _EPISODE.fullmatch(word):
        return "says which episode it is"
    if not _UNSURE.fullmatch(word):
        return ""
    return FLOW if all(_are_flags(each) for each in values) else ""


def marked_episodes(arrays: Mapping[str, np.ndarray], rows: int) -> tuple[str, int] | None:
    """The array of one file that ends episodes before the last row, and how many episodes it marks;
    None in one episode's file. rows: of the file's actions."""
    for name, values in arrays.items():
        if may_mark_episodes(name, values.shape, values.dtype):
            flat = values.reshape(-1)
            by_rows = len(flat) in (rows, rows + 1)
            count = (
                _count_by_rows(_word(name), flat)
                if by_rows
                else _count_by_list(_word(name), flat, rows)
            )
            if count > 1:
                return name, count
    return None


def _word(name: str) -> str:
    return snake_case(re.split(r"[/.]", name)[-1])


def _is_list(word: str) -> bool:
    return bool(re.search(r"end|last|start|begin|offset|len|bound", word))


def _are_flags(values: np.ndarray) -> bool:
    """Whether there are two values at most, one of which is 0 (or True and False)."""
    return (
        values.dtype.kind in NUMBERS
        and len(kinds := np.unique(values)) <= 2
        and (0 in kinds or 1 in kinds)
    )


def _count_by_rows(word: str, values: np.ndarray) -> int:
    """How many episodes an array (T,) with a value a step tells apart."""
    if _EPISODE.fullmatch(word):
        count = len(np.unique(values)) if values.dtype.kind in "SU" or _are_whole(values) else 1
        return count if count * _FEWEST_ROWS <= len(values) else 1  # else a waypoint's number
    if _COUNTER.fullmatch(word):
        return 1 + _restarts(values)
    if _GOES_ON.fullmatch(word):
        return _count_ends(values == 0)
    if not _are_flags(values):
        return 1
    if _FIRSTS.fullmatch(word):
        return 1 + int((values[1:] != 0).sum())
    if _ENDS.fullmatch(word):
        return _count_ends(values != 0)
    return _count_by_rarer(values != 0) if _UNSURE.fullmatch(word) else 1


def _count_ends(ended: np.ndarray) -> int:
    """Ends after which rows follow, and one more. A flag that is held, and falls back, is no end: a
    success that was lost, or a sensor that was blind for a while."""
    ends = int((ended[:-1] & ~ended[1:]).sum())
    return 1 + ends if ended.sum() <= _LONGEST_END * (ends + 1) else 1


def _count_by_rarer(flags: np.ndarray) -> int:
    """By the rarer of two values (T,), where it stands alone each time, and in the first or the
    last row."""
    marks = flags if 2 * flags.sum() <= len(flags) else ~flags
    alone = not (marks[1:] & marks[:-1]).any() and marks.sum() * _FEWEST_ROWS <= len(marks)
    return int(marks.sum()) if alone and (marks[0] or marks[-1]) else 1


def _restarts(values: np.ndarray) -> int:
    """How often a counter or a clock (T,) falls back to about its least value."""
    if len(values) < 2 or not np.isfinite(values := values.astype(np.float64)).all():
        return 0
    steps = np.diff(values)
    falls = steps < 0
    onward = steps[~falls]
    whole = _are_whole(values)
    if not falls.any() or falls.sum() * (_FEWEST_ROWS if whole else _FEWEST_TIMES) > len(values):
        return 0
    grows = (onward > 0).all() or (whole and onward.max() > 0)
    step = np.median(onward[onward > 0]) if (onward > 0).any() else 0.0
    return int(falls.sum()) if grows and (values[1:][falls] <= values.min() + step).all() else 0


def _count_by_list(word: str, values: np.ndarray, rows: int) -> int:
    """How many episodes a list of their ends, starts or lengths counts."""
    if (
        values.dtype.kind not in "iuf"
        or not 1 < len(values) < rows
        or not _are_whole(values)
        or _OTHERS.match(word)
    ):
        return 1
    whole = values.astype(np.int64)
    rising, named = bool((np.diff(whole) > 0).all()), re.search(r"end|last|bound", word)
    from_first = whole[0] == 0 and len(whole) > 2
    if rising and (
        (whole[-1] == rows and (named or from_first)) or (named and whole[-1] == rows - 1)
    ):
        return len(whole) - int(whole[0] == 0)
    if rising and whole[0] == 0 and re.search(r"start|begin|offset|first", word):
        return len(whole)
    return len(whole) if "len" in word and int(whole.sum()) == rows else 1


def _are_whole(values: np.ndarray) -> bool:
    return values.dtype.kind in "biu" or (
        values.dtype.kind == "f"
        and bool(np.isfinite(values).all() and (values == np.rint(values)).all())
    )
