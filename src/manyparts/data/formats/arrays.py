"""Read named arrays, as HDF5, Arrow, TFRecord and .npz hold them, as cameras, state and action."""

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
    """Shapes and dtypes of the arrays of one episode."""

    infos: Mapping[str, ArrayInfo]
    """Arrays with a row per step, by name."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """All other arrays by name, and why they cannot be read."""

    def difference_from(self, expected: Mapping[str, ArrayInfo]) -> str:
        """How the episode's arrays differ from the expected ones; "" where they do not."""
        for name, info in expected.items():
            if name in self.faults:
                return f"{name} {self.faults[name]}"
            if name not in self.infos:
                return f"{name} is missing"
            if self.infos[name].kind != info.kind:
                return f"{name} is {_text_of(self.infos[name])}, in most episodes {_text_of(info)}"
        return ""


@dataclass(frozen=True)
class Plan:
    """Which arrays are cameras, and which ones are concatenated to the state."""

    cameras: Mapping[str, tuple[str, int, int]]
    """Camera name to (array's name, height, width)."""
    state: tuple[str, ...]
    """Names of the arrays that are concatenated to the state, in this order."""
    state_names: tuple[str, ...]
    """A name for each dimension of the state."""
    left_out: Mapping[str, str]
    """Arrays that are neither, by name, and why."""

    def state_of(self, arrays: Mapping[str, np.ndarray], length: int) -> np.ndarray:
        """Concatenate an episode's arrays to its state.

        Args:
            arrays: the arrays (T, ...) by name, at least those of `state`.
            length: T, the number of steps.

        Returns:
            float32 (T, s); s is 0 if no array is read as state.
        """
        parts = [np.asarray(arrays[name], np.float32).reshape(length, -1) for name in self.state]
        return np.concatenate(parts, axis=1) if parts else np.zeros((length, 0), np.float32)

    def require(self, spec: Spec, where: object) -> Spec:
        """Return the spec that a dataset's description states.

        Args:
            spec: what the description states.
            where: the file or folder, for the error.

        Raises:
            UserError: beginning with `where`, if the dataset's arrays do not fit it.
        """
        sizes = {name: (height, width) for name, (_, height, width) in self.cameras.items()}
        if sizes != dict(spec.cameras) or len(self.state_names) != spec.state_dimension:
            raise UserError(
                f"{where} says that it has cameras {dict(spec.cameras)} and "
                f"{spec.state_dimension} numbers of state; it has {sizes} and "
                f"{len(self.state_names)}"
            )
        return spec


def majority_layout(
    layouts: Sequence[EpisodeArrays],
) -> tuple[dict[str, ArrayInfo], dict[str, str]]:
    """What each array is in most episodes, by name; and why the other arrays are left out."""
    infos: dict[str, ArrayInfo] = {}
    left_out: dict[str, str] = {}
    names: dict[str, None] = {}
    for layout in layouts:
        names |= dict.fromkeys([*layout.infos, *layout.faults])
    for name in names:
        variants = [layout.infos[name] for layout in layouts if name in layout.infos]
        kinds = Counter(info.kind for info in variants)
        faults = [layout.faults[name] for layout in layouts if name in layout.faults]
        kind, count = kinds.most_common(1)[0] if kinds else (None, 0)
        if kind is not None and 2 * count >= len(layouts):
            same_kind = Counter(info for info in variants if info.kind == kind)
            infos[name] = same_kind.most_common(1)[0][0]
        elif faults and len(faults) >= kinds.total():
            left_out[name] = faults[0]
        elif len(kinds) > 1:
            examples = ", ".join(map(_text_of, list(dict.fromkeys(variants))[:3]))
            left_out[name] = f"differs between episodes: {examples}"
        else:
            left_out[name] = f"only {kinds.total()} of {len(layouts)} episodes have it"
    return infos, left_out


def plan(
    infos: Mapping[str, ArrayInfo],
    left_out: Mapping[str, str] | None = None,
    values_of: Callable[[str], Iterable[np.ndarray]] = lambda _: (),
) -> Plan:
    """Decide which observations are cameras and which are state.

    Images (uint8, (h, w), (h, w, 1) or (h, w, 3)) are cameras. Other numbers are the state, in the
    order of their names.

    Args:
        infos: shape and dtype of the observations, by name.
        left_out: what is left out already, and why; the plan's `left_out` begins with it.
        values_of: returns an array's values (T, ...) in some episodes, which may show that the
            array is no state.
    """
    images, state, left_out = {}, [], dict(left_out or {})
    for name in sorted(infos):
        info = infos[name]
        if why := why_not_observed(name, info, infos.keys() | left_out.keys()):
            left_out[name] = why
        elif is_image(info):
            images[name] = info
        elif why := why_not_state(values_of(name)):
            left_out[name] = why
        else:
            state.append(name)
    cameras = {
        camera: (name, *images[name].shape[:2]) for name, camera in _cameras(list(images)).items()
    }
    state_names: list[str] = []
    for name in state:
        state_names += _dimensions(name, infos[name].shape)
    return Plan(cameras, tuple(state), tuple(state_names), left_out)


def colour(frames: np.ndarray) -> np.ndarray:
    """Convert uint8 (n, h, w) or (n, h, w, 1 or 3) to (n, h, w, 3)."""
    frames = frames if frames.ndim == 4 else frames[..., None]
    return frames if frames.shape[-1] == 3 else np.repeat(frames, 3, axis=-1)


def extra_row_note(names: Collection[str], actions: str) -> list[str]:
    """A note for users of arrays that have one row more than the actions.

    Args:
        names: the names of these arrays.
        actions: the name of the array of actions.

    Returns:
        One note; none if there are no such arrays.
    """
    have = f"{', '.join(names)} {'have' if len(names) > 1 else 'has'}"
    return [f"{have} one row more than {actions}; the last one is not read"] if names else []


def one_per_step(values: np.ndarray, length: int, where: str) -> np.ndarray:
    """Flatten an episode's numbers, such as its rewards.

    Args:
        values: (T,) or (T, 1).
        length: T, the number of steps.
        where: which array of which file it is, for the error.

    Returns:
        (T,).

    Raises:
        UserError: beginning with `where`, for another shape.
    """
    if values.size != length:
        raise UserError(
            f"{where} has shape {values.shape}; expected one number per step, "
            f"({length},) or ({length}, 1)"
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
    """Derive the spec of a robot that another program recorded.

    The files do not say what actions mean: representation and frame are "unknown".

    Args:
        plan: how observations are read.
        statistics: of the state and the actions.
        embodiment: the robot's name.
        fps: frames per second.
        named: whether the dataset itself gives the robot this name, see `Spec`.
        bounds: lowest and highest action (a,); the observed ones are taken where they are None or
            not finite.
        choices: names of the choices of discrete actions.
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
    """The lowest and highest number of each dimension in some columns of actions.

    By default these are the executed and the expert's actions, since an agent that imitates has to
    reach as far as either. A dimension that never changes gets bounds that are slightly apart.

    Args:
        statistics: of the dataset.
        columns: the columns' names; one at least has statistics.

    Returns:
        Low and high, a numbers each.
    """
    observed = [statistics[name] for name in columns if name in statistics.features]
    low = np.min([each.min for each in observed], axis=0)
    high = np.max([each.max for each in observed], axis=0)
    width, middle = np.maximum(high - low, 1e-6), (low + high) / 2
    return tuple((middle - width / 2).tolist()), tuple((middle + width / 2).tolist())


class StatisticsCollector:
    """Collects statistics of state and actions, one episode at a time."""

    def __init__(self) -> None:
        self._running: dict[str, RunningStatistics] = {}

    def add(
        self, columns: Mapping[str, np.ndarray], where: str, state_names: Sequence[str]
    ) -> None:
        """Add an episode.

        Args:
            columns: the episode's columns, (T, d).
            where: how the error begins.
            state_names: a name for each dimension of the state.

        Raises:
            UserError: for numbers that are not finite; then nothing is added.
        """
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
        """The statistics of all episodes added. Raises UserError if there were none."""
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
    """Read all episodes once, and collect the statistics of their state and actions.

    Args:
        names: the dataset's names of its episodes.
        read: returns an episode's columns, by its index in `names`.
        where: the dataset, for errors.
        complain: called for each episode that cannot be read or holds numbers that are not finite.
        state_names: a name for each dimension of the state.

    Returns:
        The indices in `names` of the episodes that can be read, and their statistics.

    Raises:
        UserError: if no episode is left.
    """
    collector, readable, first_error = StatisticsCollector(), [], ""
    for index, name in enumerate(names):
        try:
            collector.add(read(index), f"{where}: episode {name}", state_names)
        except UserError as error:
            first_error = first_error or str(error)
            complain(str(error), name)
        else:
            readable.append(index)
    if not readable:
        raise UserError(f"{where} holds no episode that can be read; the first one: {first_error}")
    return readable, collector.finish(where)


def has_one_per_step(values: np.ndarray | None, length: int) -> bool:
    """Whether there is one value per step, or one more."""
    return values is not None and values.size == len(values) and len(values) in (length, length + 1)


def tasks_of(instructions: Sequence[str]) -> tuple[tuple[TaskEntry, ...], np.ndarray]:
    """Make one task of each different instruction.

    Args:
        instructions: n, one per episode.

    Returns:
        The tasks, and each episode's index into them, int64 (n,).
    """
    index_of = {text: index for index, text in enumerate(dict.fromkeys(instructions))}
    tasks = tuple(TaskEntry(f"{UNKNOWN}/{index}", text) for text, index in index_of.items())
    return tasks, np.asarray([index_of[text] for text in instructions], dtype=np.int64)


def _text_of(info: ArrayInfo) -> str:
    """An array's type for people."""
    more = f" with {info.extra_rows} row more than actions" if info.extra_rows else ""
    return f"{info.dtype} {info.shape}{more}"


def _cameras(names: Sequence[str]) -> dict[str, str]:
    """Each image's name to that of its camera.

    "obs/agentview_image" becomes camera "agentview"; "pixels" stays. Where two images would get
    the same camera, both keep their whole names.
    """
    short = {name: _without_endings(name.rsplit("/", 1)[-1]) for name in names}
    count = Counter(short.values())
    return {
        name: camera if count[camera] == 1 else name.replace("/", "_")
        for name, camera in short.items()
    }


def _without_endings(name: str) -> str:
    for ending in _ENDINGS:
        name = name.removesuffix(ending) or name
    return name or "image"


def _dimensions(name: str, shape: tuple[int, ...]) -> list[str]:
    count = int(np.prod(shape))
    return [name] if count == 1 else [f"{name}_{number}" for number in range(count)]
