"""Detect arrays that divide a file into episodes, and count these: flags, counters that restart,
lists of ends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from manyparts.data.formats.kinds import NUMBERS, snake_case

# Parts of names: _OF stands before a mark ("episode_done"), _AS after it ("done_flag").
_OF = r"(?:is_|in_)?(?:(?:episodes?|eps?|traj|trajectory|env|path)_)?"
_AS = r"(?:_(?:f|floats?|flags?|bools?))?"
_ENDS = re.compile(
    rf"{_OF}(?:dones?|terminals?|terminateds?|terminations?|terminates?"
    rf"|timeouts?|truncateds?|truncations?){_AS}"
    rf"|is_last|(?:episodes?|eps?|traj|trajectory)_(?:ends?|last|over|finished){_AS}"
    r"|ends?_of_(?:an_)?(?:episodes?|traj|trajectory)"
)
_FIRSTS = re.compile(
    rf"{_OF}firsts?{_AS}|(?:episodes?|eps?|traj|trajectory)_(?:starts?|begins?){_AS}|new_episodes?"
)
_CONTINUES = re.compile(
    r"valids?|discounts?|(?:not_?|non_?)(?:dones?|terminals?|terminateds?)|continues?|conts?"
)
_UNSURE = re.compile(
    rf"{_OF}(?:ends?|last|final|over|finished|starts?|begins?|resets?|masks?){_AS}"
    r"|(?:done|end|terminal)_masks?"
)
_COUNTER = re.compile(
    r"(?:(?:episode|ep|env|traj|sim|elapsed)_)?"
    r"(?:time_?steps?|steps?|t|times?|time_?stamps?|frames?|ticks?)"
    r"(?:_?(?:ids?|idx|index|indices|number|num|no|count|counter))?"
)
_EPISODE = re.compile(
    r"(?:episodes?|eps?|traj|trajs|trajectory|trajectories|demos?|demonstrations?|rollouts?)"
    rf"(?:_?(?:ids?|idxs?|index|indexes|indices|numbers?|nums?|no))?{_AS}"
)
# Minimum mean length of the episodes that an array with an unsure name or a counter may divide a
# file into, and of those that a clock may: with shorter ones, it is something else.
_MIN_ROWS, _MIN_CLOCK_ROWS = 3, 5
# Beginnings of names of lists that divide an episode, and not a file, into parts.
_PARTS_OF_EPISODE = re.compile(
    r"sub|phase|skill|stage|contact|segment|option|key|primitive|waypoint|gripper|stroke"
)
_MAX_END_ROWS = 2  # OGBench's loader marks the last two rows of an episode

MARKS_END = "says where an episode ends"


def may_mark_episodes(name: str, shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether an array of a whole file may mark episodes, so that it is worth reading.

    Args:
        name: the array's name.
        shape: its whole shape, time axis included.
        dtype: its dtype.
    """
    if len(shape) != 1 and not (len(shape) == 2 and shape[1] == 1):
        return False
    word = _last_part(name)
    if dtype.kind in "SU":
        return bool(_EPISODE.fullmatch(word))
    if dtype.kind in "iu":
        return True
    patterns = (_ENDS, _FIRSTS, _CONTINUES, _UNSURE, _COUNTER, _EPISODE)
    by_name = any(pattern.fullmatch(word) for pattern in patterns) or _is_list(word)
    return dtype.kind in NUMBERS and by_name


def why_episode_mark(name: str, values: Iterable[np.ndarray]) -> str:
    """Why an array with one value per step marks episodes and is no observation; "" if it is one.

    Args:
        name: the array's name.
        values: the array in some episodes, each (T,); read only where the name is not sure.
    """
    word = _last_part(name)
    if any(pattern.fullmatch(word) for pattern in (_ENDS, _FIRSTS, _CONTINUES)):
        return MARKS_END
    if _EPISODE.fullmatch(word):
        return "says which episode it is"
    if not _UNSURE.fullmatch(word):
        return ""
    return MARKS_END if all(_are_flags(of_episode) for of_episode in values) else ""


def marked_episodes(arrays: Mapping[str, np.ndarray], rows: int) -> tuple[str, int] | None:
    """Find the array that divides a file into several episodes.

    Args:
        arrays: the file's arrays that `may_mark_episodes`.
        rows: number of the file's actions.

    Returns:
        The array's name and the number of episodes; None if the file is one episode.
    """
    for name, values in arrays.items():
        if may_mark_episodes(name, values.shape, values.dtype):
            flat = values.reshape(-1)
            if len(flat) in (rows, rows + 1):
                count = _count_by_rows(_last_part(name), flat)
            else:
                count = _count_by_list(_last_part(name), flat, rows)
            if count > 1:
                return name, count
    return None


def _last_part(name: str) -> str:
    return snake_case(re.split(r"[/.]", name)[-1])


def _is_list(word: str) -> bool:
    return bool(re.search(r"end|last|start|begin|offset|len|bound", word))


def _are_flags(values: np.ndarray) -> bool:
    """Whether there are at most two different values, one of which is 0 or 1."""
    if values.dtype.kind not in NUMBERS:
        return False
    kinds = np.unique(values)
    return len(kinds) <= 2 and (0 in kinds or 1 in kinds)


def _count_by_rows(word: str, values: np.ndarray) -> int:
    """How many episodes an array (T,) with one value per step tells apart."""
    if _EPISODE.fullmatch(word):
        count = len(np.unique(values)) if values.dtype.kind in "SU" or _are_whole(values) else 1
        return count if count * _MIN_ROWS <= len(values) else 1  # else a waypoint's number
    if _COUNTER.fullmatch(word):
        return 1 + _count_restarts(values)
    if _CONTINUES.fullmatch(word):
        return _count_ends(values == 0)
    if not _are_flags(values):
        return 1
    if _FIRSTS.fullmatch(word):
        return 1 + int((values[1:] != 0).sum())
    if _ENDS.fullmatch(word):
        return _count_ends(values != 0)
    return _count_rarer_flags(values != 0) if _UNSURE.fullmatch(word) else 1


def _count_ends(ended: np.ndarray) -> int:
    """One more than the ends after which rows follow.

    A flag that is held for long and falls back is no end: it is a success that was lost, or a
    sensor that was blind for a while.
    """
    ends = int((ended[:-1] & ~ended[1:]).sum())
    return 1 + ends if ended.sum() <= _MAX_END_ROWS * (ends + 1) else 1


def _count_rarer_flags(flags: np.ndarray) -> int:
    """How often the rarer of two values (T,) stands, if it marks episodes.

    It does if it is isolated each time and stands in the first or the last row.
    """
    marks = flags if 2 * flags.sum() <= len(flags) else ~flags
    isolated = not (marks[1:] & marks[:-1]).any() and marks.sum() * _MIN_ROWS <= len(marks)
    return int(marks.sum()) if isolated and (marks[0] or marks[-1]) else 1


def _count_restarts(values: np.ndarray) -> int:
    """How often a counter or a clock (T,) falls back to about its minimum."""
    if len(values) < 2 or not np.isfinite(values := values.astype(np.float64)).all():
        return 0
    steps = np.diff(values)
    falls = steps < 0
    onward = steps[~falls]
    whole = _are_whole(values)
    if not falls.any() or falls.sum() * (_MIN_ROWS if whole else _MIN_CLOCK_ROWS) > len(values):
        return 0
    grows = (onward > 0).all() or (whole and onward.max() > 0)
    step = np.median(onward[onward > 0]) if (onward > 0).any() else 0.0
    return int(falls.sum()) if grows and (values[1:][falls] <= values.min() + step).all() else 0


def _count_by_list(word: str, values: np.ndarray, rows: int) -> int:
    """How many episodes a list of their ends, starts or lengths describes."""
    if (
        values.dtype.kind not in "iuf"
        or not 1 < len(values) < rows
        or not _are_whole(values)
        or _PARTS_OF_EPISODE.match(word)
    ):
        return 1
    whole = values.astype(np.int64)
    rising, of_ends = bool((np.diff(whole) > 0).all()), re.search(r"end|last|bound", word)
    from_zero = whole[0] == 0 and len(whole) > 2
    # Ends may be exclusive (the last one is the number of rows) or inclusive (one less).
    if rising and (
        (whole[-1] == rows and (of_ends or from_zero)) or (of_ends and whole[-1] == rows - 1)
    ):
        return len(whole) - int(whole[0] == 0)
    if rising and whole[0] == 0 and re.search(r"start|begin|offset|first", word):
        return len(whole)
    return len(whole) if "len" in word and int(whole.sum()) == rows else 1


def _are_whole(values: np.ndarray) -> bool:
    """Whether all values are whole numbers, whatever their dtype."""
    return values.dtype.kind in "biu" or (
        values.dtype.kind == "f"
        and bool(np.isfinite(values).all() and (values == np.rint(values)).all())
    )
