"""Arrays under names, as HDF5, Arrow, TFRecord and .npz hold them, as cameras, one state and one
action."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from manyparts.core.columns import ACTION, EXPERT_ACTION, STATE
from manyparts.core.errors import UserError
from manyparts.core.spec import ActionContract, Spec, TaskEntry
from manyparts.data.formats.errors import Complain
from manyparts.data.formats.kinds import ArrayInfo, is_image, why_not_observed, why_not_state
from manyparts.embodiment.statistics import RunningStatistics, Statistics

UNKNOWN = "unknown"
_ENDINGS = ("_jpeg", "_jpg", "_png", "_image", "_rgb")


@dataclass(frozen=True)
class EpisodeArrays:
    """What the arrays of one episode are like. faults: arrays that have no `ArrayInfo`, and why."""

    entries: Mapping[str, ArrayInfo]
    faults: Mapping[str, str] = field(default_factory=dict)

    def unlike(self, wanted: Mapping[str, ArrayInfo]) -> str:
        """How the episode's arrays differ from the wanted ones; "" where they do not."""
        for name, entry in wanted.items():
            if name in self.faults:
                return f"{name} {self.faults[name]}"
            if name not in self.entries:
                return f"{name} is missing"
            if self.entries[name].kind != entry.kind:
                return f"{name} is {_described(self.entries[name])}, in most episodes {_described(entry)}"
        return ""


@dataclass(frozen=True)
class Plan:
    """How observations are put together. cameras: name to (array, height, width). state: names of
    arrays that are laid side by side. state_names: one a dimension. left_out: arrays that are
    neither, by name, and why."""

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


def majority_layout(layouts: Sequence[EpisodeArrays]) -> tuple[dict[str, ArrayInfo], dict[str, str]]:
    """What each array is in most episodes, and why the others are left out."""
    entries: dict[str, ArrayInfo] = {}
    left_out: dict[str, str] = {}
    for name in dict.fromkeys(name for look in layouts for name in [*look.entries, *look.faults]):
        there = [look.entries[name] for look in layouts if name in look.entries]
        seen = Counter(entry.kind for entry in there)
        faults = [look.faults[name] for look in layouts if name in look.faults]
        kind, count = seen.most_common(1)[0] if seen else (None, 0)
        if kind is not None and 2 * count >= len(layouts):
            entries[name] = Counter(entry for entry in there if entry.kind == kind).most_common(1)[
                0
            ][0]
        elif faults and len(faults) >= seen.total():
            left_out[name] = faults[0]
        elif len(seen) > 1:
            left_out[name] = (
                f"differs between episodes: {', '.join(map(_described, list(dict.fromkeys(there))[:3]))}"
            )
        else:
            left_out[name] = f"only {seen.total()} of {len(layouts)} episodes have it"
    return entries, left_out


def plan(
    entries: Mapping[str, ArrayInfo],
    left_out: Mapping[str, str] | None = None,
    seen: Callable[[str], Iterable[np.ndarray]] = lambda _: (),
) -> Plan:
    """Pictures (uint8, (h, w), (h, w, 1) or (h, w, 3)) are cameras, other numbers the state, in the
    order of their names.

    Args:
        entries: what the observations are like, by name.
        left_out: what is left out already, and why; the plan's says it of all arrays.
        seen: an array's values (T, ...) in some episodes, which are looked at for what is no state.
    """
    pictures, state, left_out = {}, [], dict(left_out or {})
    for name in sorted(entries):
        entry = entries[name]
        if why := why_not_observed(name, entry, entries.keys() | left_out.keys()):
            left_out[name] = why
        elif is_image(entry):
            pictures[name] = entry
        elif why := why_not_state(seen(name)):
            left_out[name] = why
        else:
            state.append(name)
    cameras = {
        camera: (name, *pictures[name].shape[:2])
        for name, camera in _cameras(list(pictures)).items()
    }
    names = [each for name in state for each in _dimensions(name, entries[name].shape)]
    return Plan(cameras, tuple(state), tuple(names), left_out)


def colour(frames: np.ndarray) -> np.ndarray:
    """uint8 (n, h, w) or (n, h, w, 1 or 3) to (n, h, w, 3)."""
    frames = frames if frames.ndim == 4 else frames[..., None]
    return frames if frames.shape[-1] == 3 else np.repeat(frames, 3, axis=-1)


def extra_row_note(names: Collection[str], actions: str) -> list[str]:
    """What users have to know of arrays that have one row more than the actions."""
    have = f"{', '.join(names)} {'have' if len(names) > 1 else 'has'}"
    return [f"{have} one row more than {actions}; the last one is not read"] if names else []


def one_per_step(values: np.ndarray, length: int, where: str) -> np.ndarray:
    """(T,) of an episode's numbers, (T,) or (T, 1), such as its rewards. Raises UserError beginning
    with `where` for another shape."""
    if values.size != length:
        raise UserError(
            f"{where} has shape {values.shape}; expected one number a step, ({length},) or ({length}, 1)"
        )
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
    """What can be derived of an embodiment that others recorded; what actions mean is not written
    there.

    named: whether the dataset names its robot so, see `Spec`. bounds: of actions, where they are
    known and finite; else those that were seen.
    """
    (low, high), measured = observed_bounds(statistics), True
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


def observed_bounds(
    statistics: Statistics, columns: Sequence[str] = (ACTION, EXPERT_ACTION)
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The least and greatest number a dimension of what was done and of what the expert wanted to
    do, a little apart where it never changed: an agent that imitates is to reach as far as
    either."""
    seen = [statistics[name] for name in columns if name in statistics.features]
    low, high = (
        np.min([each.min for each in seen], axis=0),
        np.max([each.max for each in seen], axis=0),
    )
    width, middle = np.maximum(high - low, 1e-6), (low + high) / 2
    return tuple((middle - width / 2).tolist()), tuple((middle + width / 2).tolist())


class StatisticsCollector:
    """Statistics of state and actions, gathered an episode at a time."""

    def __init__(self) -> None:
        self._running: dict[str, RunningStatistics] = {}

    def add(
        self, columns: Mapping[str, np.ndarray], where: str, state_names: Sequence[str]
    ) -> None:
        """Take in an episode's columns. Raises UserError beginning with `where`, and takes in
        nothing, for numbers that are not finite. state_names: of each dimension of the state."""
        chosen = {name: columns[name] for name in (STATE, ACTION, EXPERT_ACTION) if name in columns}
        chosen = {name: values for name, values in chosen.items() if values.shape[1]}
        for name, values in chosen.items():
            if not (finite := np.isfinite(values)).all():
                row, number = np.argwhere(~finite)[0].tolist()
                called = f", {state_names[number]}" if name == STATE else ""
                raise UserError(
                    f"{where}: {name} holds NaN or infinity (row {row}, dimension {number}{called})"
                )
        for name, values in chosen.items():
            self._running.setdefault(name, RunningStatistics(values.shape[1])).update(values)

    def finish(self, where: object) -> Statistics:
        """Of all episodes that were added. Raises UserError if there were none."""
        if ACTION not in self._running:
            raise UserError(f"{where} holds no actions")
        return Statistics({name: each.finish() for name, each in self._running.items()})


def collect_episodes(
    names: Sequence[str],
    read: Callable[[int], Mapping[str, np.ndarray]],
    where: object,
    complain: Complain,
    state_names: Sequence[str],
) -> tuple[list[int], Statistics]:
    """The episodes that can be read and hold finite numbers, and the statistics of their state and
    action, in one pass.

    names: what the dataset calls its episodes. read: an episode's columns, by its number among the
    names. Raises UserError where none is left; `complain` is called for each that is not.
    """
    gathering, sound, first = StatisticsCollector(), [], ""
    for number, name in enumerate(names):
        try:
            gathering.add(read(number), f"{where}: episode {name}", state_names)
        except UserError as error:
            first = first or str(error)
            complain(str(error), name)
        else:
            sound.append(number)
    if not sound:
        raise UserError(f"{where} holds no episode that can be read; of the first: {first}")
    return sound, gathering.finish(where)


def tasks_of(instructions: Sequence[str]) -> tuple[tuple[TaskEntry, ...], np.ndarray]:
    """The tasks that are told apart by their instructions alone, and each episode's: int64 (n,)."""
    known = {instruction: number for number, instruction in enumerate(dict.fromkeys(instructions))}
    tasks = tuple(
        TaskEntry(f"{UNKNOWN}/{number}", instruction) for instruction, number in known.items()
    )
    return tasks, np.asarray([known[instruction] for instruction in instructions], dtype=np.int64)


def _described(entry: ArrayInfo) -> str:
    return f"{entry.dtype} {entry.shape}" + (
        f" with {entry.extra_rows} row more than actions" if entry.extra_rows else ""
    )


def _cameras(names: Sequence[str]) -> dict[str, str]:
    """ "obs/agentview_image" is camera "agentview"; "pixels" keeps its name. Where two would get
    one name, both keep theirs."""
    short = {name: _without_endings(name.rsplit("/", 1)[-1]) for name in names}
    used = Counter(short.values())
    return {
        name: camera if used[camera] == 1 else name.replace("/", "_")
        for name, camera in short.items()
    }


def _without_endings(name: str) -> str:
    for ending in _ENDINGS:
        name = name.removesuffix(ending) or name
    return name or "image"


def _dimensions(name: str, shape: tuple[int, ...]) -> list[str]:
    count = int(np.prod(shape))
    return [name] if count == 1 else [f"{name}_{number}" for number in range(count)]
