"""Arrays under names, as HDF5, Arrow, TFRecord and .npz hold them, as cameras, one state and one action."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from manyparts.data.formats.reader import ACTION, STATE
from manyparts.data.statistics import FeatureStatistics, RunningStatistics, Statistics
from manyparts.types import ActionContract, Spec, TaskEntry, UserError

UNKNOWN = "unknown"
_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Entry:
    """One array's shape a step and its dtype; of encoded pictures those of their pixels."""

    shape: tuple[int, ...]
    dtype: np.dtype


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


def plan(entries: Mapping[str, Entry]) -> Plan:
    """Pictures (uint8, (h, w, 1 or 3)) are cameras, other numbers the state, in the order of their names."""
    cameras, state, left_out = {}, [], {}
    for name in sorted(entries):
        entry = entries[name]
        if len(entry.shape) == 3 and entry.dtype == np.uint8 and entry.shape[2] in _CHANNELS:
            cameras[_camera(name)] = (name, *entry.shape[:2])
        elif entry.dtype.kind in "biuf" and len(entry.shape) <= 1:
            state.append(name)
        else:
            left_out[name] = f"{entry.dtype} {entry.shape} is neither a picture nor a row of numbers"
    names = [each for name in state for each in _dimensions(name, entries[name].shape)]
    return Plan(cameras, tuple(state), tuple(names), left_out)


def unlike_action(expert: Entry, action: Entry) -> str | None:
    """Why an array is not the expert's actions, though its name says so; None if it can stand in for the action."""
    if expert.dtype.kind in "iuf" and expert.shape == action.shape:
        return None
    return f"{expert.dtype} {expert.shape} a step, unlike the action's {action.dtype} {action.shape}"


def colour(frames: np.ndarray) -> np.ndarray:
    """uint8 (n, h, w, 1 or 3) to (n, h, w, 3)."""
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
    bounds: tuple[np.ndarray, np.ndarray] | None = None,
    choices: tuple[str, ...] = (),
) -> Spec:
    """What can be derived of an embodiment that others recorded; what actions mean is not written there.

    bounds: of actions, where they are known and finite; else those that were seen.
    """
    (low, high), measured = seen_bounds(statistics[ACTION]), True
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
    return Spec(embodiment, cameras, plan.state_names, contract)


def seen_bounds(seen: FeatureStatistics) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The least and greatest value a dimension, a little apart where it never changed."""
    width = np.maximum(np.subtract(seen.max, seen.min), 1e-6)
    middle = np.add(seen.max, seen.min) / 2
    return tuple((middle - width / 2).tolist()), tuple((middle + width / 2).tolist())


def gather_statistics(episodes: Iterable[Mapping[str, np.ndarray]], where: object) -> Statistics:
    """Of state and action, in one pass over all episodes' columns. Raises UserError for numbers that are not finite."""
    running: dict[str, RunningStatistics] = {}
    for index, columns in enumerate(episodes):
        for name in (STATE, ACTION):
            values = columns[name]
            if not values.shape[1]:
                continue
            if not np.isfinite(values).all():
                raise UserError(f"{where}: {name} of episode {index} holds NaN or infinity")
            running.setdefault(name, RunningStatistics(values.shape[1])).update(values)
    if ACTION not in running:
        raise UserError(f"{where} holds no actions")
    return Statistics({name: each.finish() for name, each in running.items()})


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


def _camera(name: str) -> str:
    """ "obs/agentview_image" is camera "agentview"; "pixels" keeps its name."""
    short = name.rsplit("/", 1)[-1]
    return short.removesuffix("_image").removesuffix("_rgb") or short


def _dimensions(name: str, shape: tuple[int, ...]) -> list[str]:
    count = int(np.prod(shape))
    return [name] if count == 1 else [f"{name}_{number}" for number in range(count)]
