"""Arrays under names, as HDF5, Arrow, TFRecord and .npz hold them, as cameras, one state and one action."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from manyparts.data.formats.errors import Complain
from manyparts.data.formats.reader import ACTION, EXPERT_ACTION, STATE
from manyparts.data.statistics import RunningStatistics, Statistics
from manyparts.types import ActionContract, Spec, TaskEntry, UserError

UNKNOWN = "unknown"
_CHANNELS = (1, 3)
_SMALLEST_GREY = 8  # pixels a side: smaller (h, w) of uint8 are tables of numbers
_MOST_WHOLE = 256  # whole numbers of state per step: longer rows are text, or encoded in a way that is not known
_TEXT_WORDS = {"instruction", "instructions", "language", "sentence", "text", "token", "tokens", "caption", "prompt"}
_EMBEDDINGS = {"embedding", "embeddings", "embed", "emb", "feature", "features"}
_ENDINGS = ("_jpeg", "_jpg", "_png", "_image", "_rgb")


@dataclass(frozen=True)
class Entry:
    """One array's shape per step and its dtype; of encoded images those of their pixels. more: the rows that it has
    beyond the episode's steps."""

    shape: tuple[int, ...]
    dtype: np.dtype
    more: int = 0


@dataclass(frozen=True)
class Look:
    """What the arrays of one episode are like. faults: arrays that have no `Entry`, and why."""

    entries: Mapping[str, Entry]
    faults: Mapping[str, str] = field(default_factory=dict)

    def unlike(self, wanted: Mapping[str, Entry]) -> str:
        """How the episode's arrays differ from the wanted ones; "" where they do not."""
        for name, entry in wanted.items():
            if name in self.faults:
                return f"{name} {self.faults[name]}"
            if name not in self.entries:
                return f"{name} is missing"
            if self.entries[name] != entry:
                return f"{name} is {_described(self.entries[name])}, in most episodes {_described(entry)}"
        return ""


@dataclass(frozen=True)
class Plan:
    """How observations are put together. cameras: name to (array, height, width). state: names of arrays that are laid
    side by side. state_names: one a dimension. left_out: arrays that are neither, by name, and why."""

    cameras: Mapping[str, tuple[str, int, int]]
    state: tuple[str, ...]
    state_names: tuple[str, ...]
    left_out: Mapping[str, str]

    def state_of(self, arrays: Mapping[str, np.ndarray], length: int) -> np.ndarray:
        """float32 (T, s) of an episode's arrays (T, ...)."""
        parts = [np.asarray(arrays[name], np.float32).reshape(length, -1) for name in self.state]
        return np.concatenate(parts, axis=1) if parts else np.zeros((length, 0), np.float32)

    def require(self, spec: Spec, where: object) -> Spec:
        """The spec that a dataset says it has. Raises UserError if its arrays are others."""
        sizes = {name: (height, width) for name, (_, height, width) in self.cameras.items()}
        if sizes != dict(spec.cameras) or len(self.state_names) != spec.state_dimension:
            raise UserError(
                f"{where} says that it has cameras {dict(spec.cameras)} and {spec.state_dimension} numbers of state; "
                f"it has {sizes} and {len(self.state_names)}"
            )
        return spec


def agreed(looks: Sequence[Look]) -> tuple[dict[str, Entry], dict[str, str]]:
    """What each array is in most episodes, and why the others are left out."""
    entries: dict[str, Entry] = {}
    left_out: dict[str, str] = {}
    for name in dict.fromkeys(name for look in looks for name in [*look.entries, *look.faults]):
        seen = Counter(look.entries[name] for look in looks if name in look.entries)
        faults = [look.faults[name] for look in looks if name in look.faults]
        entry, count = seen.most_common(1)[0] if seen else (None, 0)
        if entry is not None and 2 * count >= len(looks):
            entries[name] = entry
        elif faults and len(faults) >= seen.total():
            left_out[name] = faults[0]
        elif len(seen) > 1:
            left_out[name] = f"differs between episodes: {', '.join(map(_described, list(seen)[:3]))}"
        else:
            left_out[name] = f"only {seen.total()} of {len(looks)} episodes have it"
    return entries, left_out


def plan(entries: Mapping[str, Entry], left_out: Mapping[str, str] | None = None) -> Plan:
    """Pictures (uint8, (h, w), (h, w, 1) or (h, w, 3)) are cameras, other numbers the state, in the order of their
    names.

    left_out: what is left out already, and why; the plan's says it of all arrays.
    """
    pictures, state, left_out = {}, [], dict(left_out or {})
    for name in sorted(entries):
        entry = entries[name]
        if why := _why_not(name, entry):
            left_out[name] = why
        elif _is_picture(entry):
            pictures[name] = entry
        else:
            state.append(name)
    cameras = {camera: (name, *pictures[name].shape[:2]) for name, camera in _cameras(list(pictures)).items()}
    names = [each for name in state for each in _dimensions(name, entries[name].shape)]
    return Plan(cameras, tuple(state), tuple(names), left_out)


def unlike_action(expert: Entry, action: Entry) -> str | None:
    """Why an array is not the expert's actions, though its name says so; None if it can stand in for the action."""
    if expert.dtype.kind in "iuf" and expert.shape == action.shape:
        return None
    return f"{expert.dtype} {expert.shape} a step, unlike the action's {action.dtype} {action.shape}"


def colour(frames: np.ndarray) -> np.ndarray:
    """uint8 (n, h, w) or (n, h, w, 1 or 3) to (n, h, w, 3)."""
    frames = frames if frames.ndim == 4 else frames[..., None]
    return frames if frames.shape[-1] == 3 else np.repeat(frames, 3, axis=-1)


def one_a_step(values: np.ndarray, length: int, where: str) -> np.ndarray:
    """(T,) of an episode's numbers, (T,) or (T, 1), such as its rewards. Raises UserError beginning with `where` for
    another shape."""
    if values.size != length:
        raise UserError(f"{where} has shape {values.shape}; expected one number a step, ({length},) or ({length}, 1)")
    return values.reshape(length)


def spec_of(
    plan: Plan,
    statistics: Statistics,
    *,
    embodiment: str,
    fps: float,
    named: bool = True,
    bounds: tuple[np.ndarray, np.ndarray] | None = None,
    choices: tuple[str, ...] = (),
) -> Spec:
    """What can be derived of an embodiment that others recorded; what actions mean is not written there.

    named: whether the dataset names its robot so, see `Spec`. bounds: of actions, where they are known and finite; else
    those that were seen.
    """
    (low, high), measured = seen_bounds(statistics), True
    if bounds is not None and np.isfinite(bounds).all() and (bounds[0] < bounds[1]).all():
        measured = False
        low, high = (tuple(np.ravel(bound).astype(float).tolist()) for bound in bounds)
    contract = ActionContract(
        representation=UNKNOWN,
        frame=UNKNOWN,
        names=tuple(f"action_{number}" for number in range(len(low))),
        low=low,
        high=high,
        control_rate_hz=fps,
        choices=choices,
        measured=measured,
    )
    cameras = {name: (height, width) for name, (_, height, width) in plan.cameras.items()}
    return Spec(embodiment, cameras, plan.state_names, contract, named=named)


def seen_bounds(
    statistics: Statistics, columns: Sequence[str] = (ACTION, EXPERT_ACTION)
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The least and greatest number a dimension of what was done and of what the expert wanted to do, a little apart
    where it never changed: an agent that imitates is to reach as far as either."""
    seen = [statistics[name] for name in columns if name in statistics.features]
    low, high = np.min([each.min for each in seen], axis=0), np.max([each.max for each in seen], axis=0)
    width, middle = np.maximum(high - low, 1e-6), (low + high) / 2
    return tuple((middle - width / 2).tolist()), tuple((middle + width / 2).tolist())


class Gathering:
    """Statistics of state and actions, gathered an episode at a time."""

    def __init__(self) -> None:
        self._running: dict[str, RunningStatistics] = {}

    def add(self, columns: Mapping[str, np.ndarray], where: str) -> None:
        """Take in an episode's columns. Raises UserError beginning with `where`, and takes in nothing, for numbers that
        are not finite."""
        chosen = {name: columns[name] for name in (STATE, ACTION, EXPERT_ACTION) if name in columns}
        chosen = {name: values for name, values in chosen.items() if values.shape[1]}
        for name, values in chosen.items():
            if not (finite := np.isfinite(values)).all():
                row, number = np.argwhere(~finite)[0].tolist()
                raise UserError(f"{where}: {name} holds NaN or infinity (row {row}, dimension {number})")
        for name, values in chosen.items():
            self._running.setdefault(name, RunningStatistics(values.shape[1])).update(values)

    def finish(self, where: object) -> Statistics:
        """Of all episodes that were added. Raises UserError if there were none."""
        if ACTION not in self._running:
            raise UserError(f"{where} holds no actions")
        return Statistics({name: each.finish() for name, each in self._running.items()})


def gather_statistics(episodes: Iterable[Mapping[str, np.ndarray]], where: object) -> Statistics:
    """Of state and action, in one pass over all episodes' columns. Raises UserError for numbers that are not finite."""
    gathering = Gathering()
    for index, columns in enumerate(episodes):
        gathering.add(columns, f"{where}: episode {index}")
    return gathering.finish(where)


def gather_sound(
    names: Sequence[str], read: Callable[[int], Mapping[str, np.ndarray]], where: object, complain: Complain
) -> tuple[list[int], Statistics]:
    """The episodes that can be read and hold finite numbers, and the statistics of their state and action, in one pass.

    names: what the dataset calls its episodes. read: an episode's columns, by its number among the names. Raises
    UserError where none is left; `complain` is called for each that is not.
    """
    gathering, sound, first = Gathering(), [], ""
    for number, name in enumerate(names):
        try:
            gathering.add(read(number), f"{where}: episode {name}")
        except UserError as error:
            first = first or str(error)
            complain(str(error), name)
        else:
            sound.append(number)
    if not sound:
        raise UserError(f"{where} holds no episode that can be read; of the first: {first}")
    return sound, gathering.finish(where)


def tasks_of(sentences: Sequence[str]) -> tuple[tuple[TaskEntry, ...], np.ndarray]:
    """The tasks that are told apart by their sentences alone, and each episode's: int64 (n,)."""
    known = {sentence: number for number, sentence in enumerate(dict.fromkeys(sentences))}
    tasks = tuple(TaskEntry(f"{UNKNOWN}/{number}", sentence) for sentence, number in known.items())
    return tasks, np.asarray([known[sentence] for sentence in sentences], dtype=np.int64)


def same_for_all(
    wanted: Mapping[str, Entry], found: Callable[[int], Mapping[str, Entry]], count: int, where: object
) -> None:
    """Raises UserError naming the first episode whose arrays are not those of the first one."""
    for index in range(1, count):
        given = found(index)
        for name, entry in wanted.items():
            if given.get(name) != entry:
                raise UserError(f"{where}: episode {index} has {name} as {given.get(name)}, episode 0 as {entry}")


def _is_picture(entry: Entry) -> bool:
    if entry.dtype != np.uint8 or not entry.shape or min(entry.shape) < 1:
        return False
    if len(entry.shape) == 2:
        return min(entry.shape) >= _SMALLEST_GREY
    return len(entry.shape) == 3 and entry.shape[2] in _CHANNELS


def _why_not(name: str, entry: Entry) -> str:
    """Why an array is neither a camera nor state; empty if it is."""
    size = int(np.prod(entry.shape, dtype=object))
    if any(re.match(r"next([_.]|$)", part) for part in name.split("/")):
        return "of the step that follows"
    if entry.dtype.kind in "OSUV":
        return "text or objects"
    if len(entry.shape) >= 2 and "depth" in name.rsplit("/", 1)[-1].lower():
        return f"depth, {entry.dtype} {entry.shape}"
    if _is_picture(entry):
        return ""
    if entry.dtype.kind not in "biuf" or len(entry.shape) > 1:
        return _not_a_picture(entry)
    whole = entry.dtype.kind in "iu"
    if entry.dtype == np.uint8 and size > _MOST_WHOLE:
        return f"{size} bytes a step that are no image"
    if whole and size > _MOST_WHOLE:
        return f"{size} whole numbers per step, such as bytes or codes of text"
    if size > 1 and entry.dtype.kind != "b" and _is_called_text(name, whole):
        return f"{size} numbers per step that are codes of text, by their name"
    return "" if size else "empty"


def _is_called_text(name: str, whole: bool) -> bool:
    """Whether an array's name says that its numbers stand for text; an embedding's are measurements of a kind."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    return bool(words & (_TEXT_WORDS if whole else _TEXT_WORDS - {"language"})) and not words & _EMBEDDINGS


def _not_a_picture(entry: Entry) -> str:
    shape, what = entry.shape, f"{entry.dtype} {entry.shape}"
    flat = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    if len(shape) == 3 and entry.dtype == np.uint8 and shape[2] == 4:
        return f"{what}, an image of 4 channels, not of 1 or 3"
    if len(shape) == 3 and entry.dtype == np.uint8 and shape[0] in (1, 3, 4):
        return f"{what}, an image with its channels first"
    if flat and entry.dtype.kind in "uf" and entry.dtype.itemsize > 1 and min(shape[:2]) >= _SMALLEST_GREY:
        return f"{what}, an image of more than 8 bits, such as depth"
    return f"{what} is neither an 8-bit image nor a row of numbers"


def _described(entry: Entry) -> str:
    return f"{entry.dtype} {entry.shape}" + (f" with {entry.more} row more than actions" if entry.more else "")


def _cameras(names: Sequence[str]) -> dict[str, str]:
    """ "obs/agentview_image" is camera "agentview"; "pixels" keeps its name. Where two would get one name, both keep
    theirs."""
    short = {name: _without_endings(name.rsplit("/", 1)[-1]) for name in names}
    used = Counter(short.values())
    return {name: camera if used[camera] == 1 else name.replace("/", "_") for name, camera in short.items()}


def _without_endings(name: str) -> str:
    for ending in _ENDINGS:
        name = name.removesuffix(ending) or name
    return name or "image"


def _dimensions(name: str, shape: tuple[int, ...]) -> list[str]:
    count = int(np.prod(shape))
    return [name] if count == 1 else [f"{name}_{number}" for number in range(count)]
