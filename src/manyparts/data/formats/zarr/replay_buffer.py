"""Read a replay buffer of Diffusion Policy or UMI: a zarr store in which all rows stand end to end
in data/NAME, and meta/episode_ends says after which row each episode ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from manyparts.core.columns import ACTION, STATE, SUCCESS
from manyparts.core.errors import UserError
from manyparts.core.printing import counted
from manyparts.core.spec import Spec
from manyparts.data.formats import arrays
from manyparts.data.formats.errors import Complain, UnsupportedFormatError, refuse
from manyparts.data.formats.files import files_below
from manyparts.data.formats.reader import Contents
from manyparts.data.formats.row_times import rate_of
from manyparts.data.formats.texts import changing_note, decode_texts, distinct_texts
from manyparts.data.formats.zarr.arrays import ZarrArray, open_arrays
from manyparts.data.formats.zarr.replay_layout import as_pixels, find_layout
from manyparts.data.formats.zarr.replay_videos import VIDEOS, ReplayVideos
from manyparts.data.formats.zarr.stores import is_store, open_store
from manyparts.embodiment.statistics import Statistics, sample_rows

_DATA, _ENDS = "data/", "meta/episode_ends"
_FPS = 20.0  # where the files do not say
_UMI_FPS = 60000 / 1001  # of the cameras that UMI records with
_MAX_EPISODES = 10_000_000
_SAMPLE_EPISODES = 8  # that show what an array holds
_GENERIC_NAMES = ("dataset", "replay_buffer", "data")
_ENDINGS = (".zarr.zip", ".zarr", ".zip")


def find_store(path: Path) -> Path | None:
    """The zarr store at a path: the path itself, or the one store in a folder.

    Raises:
        UnsupportedFormatError: a folder has several.
    """
    if path.is_file():
        return path if is_store(path) else None
    if is_store(path):
        return path
    stores = [
        child
        for child in sorted(path.iterdir())
        if child.name.lower().endswith(_ENDINGS[:2]) and not child.name.startswith(".")
    ]
    if len(stores) > 1:
        raise UnsupportedFormatError(
            f"{path} is a folder of {len(stores)} zarr stores", f"give one, such as {stores[0]}"
        )
    return stores[0] if stores else None


class ReplayBufferReader:
    """See `formats.reader.Reader`."""

    def __init__(self, path: Path, store: Path, complain: Complain = refuse) -> None:
        """Open a replay buffer, and read all its numbers once.

        Args:
            path: the store, or the folder that it lies in.
            store: the store.
            complain: called for each episode that cannot be read.

        Raises:
            UserError: naming what is missing, torn, or disagrees with something else.
        """
        self._videos = None
        if (store.parent / VIDEOS).is_dir() and store.is_dir():
            self._videos = ReplayVideos(store.parent / VIDEOS)
            path = store.parent
        self.path, self._store = path, open_store(store)
        stored, faults = open_arrays(self._store)
        self._spans = _spans(stored, faults, store)
        rows = self._spans[-1][1]
        self._arrays, left_out, notes = _with_rows(stored, faults, rows)
        self._layout = find_layout(self._arrays, left_out, self._sample, store)
        if self._videos is not None and (why := self._why_no_videos()):
            notes.append(f"{VIDEOS}: {why}")
            self._videos = None
        self._name = _name_of(store)
        self.contents = self._describe(notes, complain)

    def columns(self, index: int) -> dict[str, np.ndarray]:
        layout, length = self._layout, self._length(index)
        values = {name: self._rows(name, index) for name in (*layout.plan.state, *layout.actions)}
        columns = {STATE: layout.plan.state_of(values, length)}
        actions = [values[name].reshape(length, -1) for name in layout.actions]
        action = np.concatenate(actions, axis=1).astype(np.float32)
        columns[ACTION] = np.concatenate([action[1:], action[-1:]]) if self._follows else action
        for column, name in layout.per_step.items():
            where = f"{self._store.path}: {name}"
            columns[column] = arrays.one_per_step(self._rows(name, index), length, where)
        return columns

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        if self._videos is not None and camera in self._videos.cameras:
            return self._videos.frames(self._number(index), camera, self._stamps(index), rows)
        name, _, _ = self._layout.plan.cameras[camera]
        array, first = self._arrays[name], self._spans[index][0]
        where = f"{self._store.path}: episode {self._number(index)}: {name}: its images"
        wanted, parts = first + rows, []
        of_next_chunk = np.flatnonzero(np.diff(wanted // array.layout.chunks[0])) + 1
        for of_chunk in np.split(wanted, of_next_chunk):
            begin, end = int(of_chunk[0]), int(of_chunk[-1]) + 1
            read = array.rows(begin, end)[of_chunk - begin]
            parts.append(as_pixels(read, self._layout.scales.get(name), where))
        return np.concatenate(parts)

    def files(self) -> Sequence[Path]:
        videos = [] if self._videos is None else files_below(self._videos.folder)
        return [*self._store.files(), *videos]

    @property
    def _follows(self) -> bool:
        return self._layout.actions_follow

    def _length(self, index: int) -> int:
        first, stop = self._spans[index]
        return stop - first

    def _number(self, index: int) -> int:
        """The episode's number in the store."""
        return self._numbers[index]

    def _rows(self, name: str, index: int) -> np.ndarray:
        return self._arrays[name].rows(*self._spans[index])

    def _stamps(self, index: int) -> np.ndarray:
        """The times of an episode's rows, float64 (T,)."""
        assert self._layout.times is not None
        return self._rows(self._layout.times, index).reshape(-1).astype(np.float64)

    def _sample(self, name: str) -> Iterator[np.ndarray]:
        for index in sample_rows(len(self._spans), _SAMPLE_EPISODES).tolist():
            if self._length(index):
                yield self._rows(name, index)

    def _why_no_videos(self) -> str:
        """Why the videos are not read; "" if they are."""
        assert self._videos is not None
        if not self._videos.cameras:
            return "not read, since there is no EPISODE/CAMERA.mp4"
        if self._layout.times is None:
            return "not read, since no timestamp says which frame belongs to a row"
        both = set(self._videos.cameras) & self._layout.plan.cameras.keys()
        return (
            f"not read, since arrays have the names of cameras, too: {sorted(both)}" if both else ""
        )

    def _describe(self, notes: Sequence[str], complain: Complain) -> Contents:
        """Read all episodes once, and keep those that can be read."""
        plan, videos = self._layout.plan, self._videos
        if videos is not None:
            sizes = {camera: ("", *videos.size(camera)) for camera in videos.cameras}
            plan = replace(plan, cameras={**plan.cameras, **sizes})
        self._numbers = list(range(len(self._spans)))
        texts, succeeded = {}, {}

        def read(index: int) -> dict[str, np.ndarray]:
            if not self._length(index):
                raise UserError(f"{self._store.path}: episode {index} has no rows")
            if videos is not None:
                videos.require(index, self._stamps(index))
            columns = self.columns(index)
            texts[index] = distinct_texts(
                decode_texts(self._rows(name, index)) or [] for name in self._layout.texts
            )
            succeeded[index] = SUCCESS in columns and bool(columns[SUCCESS].any())
            return columns

        readable, statistics = arrays.collect_episodes(
            list(map(str, self._numbers)), read, self._store.path, complain, plan.state_names
        )
        fps, more = self._rate(readable)
        notes = [*notes, *more, *self._notes(len(self._spans))]
        self._spans = [self._spans[index] for index in readable]
        names = () if readable == self._numbers else tuple(str(index) for index in readable)
        self._numbers = readable
        tasks, episode_task = arrays.tasks_of(
            [(texts[index] or [self._name])[0] for index in readable]
        )
        return Contents(
            format=f"replay buffer in zarr{', of UMI' if self._follows else ''}",
            spec=self._spec(plan, statistics, fps),
            fps=fps,
            tasks=tasks,
            lengths=np.asarray([stop - first for first, stop in self._spans], dtype=np.int64),
            episode_task=episode_task,
            statistics=statistics,
            images=self._image_format(plan),
            succeeded=np.asarray([succeeded[index] for index in readable])
            if SUCCESS in self._layout.per_step
            else None,
            left_out=plan.left_out,
            episode_names=names,
            notes=(*notes, *changing_note(sum(len(texts[index]) > 1 for index in readable))),
        )

    def _rate(self, readable: Sequence[int]) -> tuple[float, list[str]]:
        """Rows per second, and notes for users on where it is from."""
        if self._layout.times is not None:
            try:
                return rate_of([self._stamps(index) for index in readable], readable)
            except UserError as error:
                return _FPS, [f"{self._layout.times}: {error}; taken for {_FPS:g} Hz"]
        if self._follows:
            why = "nothing says the rate: taken for 59.94 Hz, that of UMI's cameras"
            return _UMI_FPS, [why]
        return _FPS, [f"nothing says the rate: taken for {_FPS:g} Hz"]

    def _notes(self, episodes: int) -> Iterator[str]:
        layout = self._layout
        if self._follows:
            yield (
                f"there are no actions: the action is {', '.join(layout.actions)} of the next "
                "row, and of the last row its own"
            )
        for name, scale in layout.scales.items():
            limit = 255 / scale
            yield f"{name}: {self._arrays[name].dtype} from 0 to {limit:g}, read as 8-bit images"
        used = {*layout.plan.state, *layout.actions, *layout.per_step.values()}
        used |= {name for name, _, _ in layout.plan.cameras.values()}
        for name in sorted(used):
            if note := self._arrays[name].missing_note():
                yield note
        if self._videos is not None:
            yield from self._videos.notes(episodes)

    def _spec(self, plan: arrays.Plan, statistics: Statistics, fps: float) -> Spec:
        spec = arrays.spec_of(plan, statistics, embodiment=self._name, named=False, fps=fps)
        if not self._follows:
            return spec
        # The state is the same arrays in the same order, unless there are further ones.
        names: list[str] = []
        for name in self._layout.actions:
            count = int(np.prod(self._arrays[name].shape[1:]))
            names += [name] if count == 1 else [f"{name}_{number}" for number in range(count)]
        return replace(
            spec, action=replace(spec.action, names=tuple(names), representation="absolute_pose")
        )

    def _image_format(self, plan: arrays.Plan) -> str:
        kinds = set()
        for name, _, _ in plan.cameras.values():
            codecs = self._arrays[name].layout.codecs if name else ()
            encoded = [
                codec["id"].partition("_")[2]
                for codec in codecs
                if codec["id"].startswith("imagecodecs_")
            ]
            kinds.add(encoded[0] if encoded else ("raw" if name else "video"))
        return ", ".join(sorted(kinds)) or "none"


def _spans(
    stored: Mapping[str, ZarrArray], faults: Mapping[str, str], store: Path
) -> list[tuple[int, int]]:
    """The first row of each episode, and the row after its last one."""
    if _ENDS in faults:
        raise UserError(f"{store}: {_ENDS}: {faults[_ENDS]}")
    if _ENDS not in stored:
        shown = ", ".join(list(stored)[:5]) or "no arrays"
        raise UnsupportedFormatError(
            f"{store} is a zarr store without {_ENDS}, so that nothing says where episodes end; "
            f"it has {shown}",
            "write it as Diffusion Policy's ReplayBuffer does, or convert it to a LeRobotDataset",
        )
    array = stored[_ENDS]
    if array.dtype.kind not in "iu" or len(array.shape) != 1:
        raise UserError(f"{store}: {_ENDS} is {array.dtype} {array.shape}; expected integers (n,)")
    if not 0 < array.length <= _MAX_EPISODES:
        raise UserError(f"{store}: {_ENDS} has {counted(array.length, 'entry', 'entries')}")
    if array.missing:
        raise UserError(f"{store}: {_ENDS} is missing: it is described, and not stored")
    ends = array.rows(0, array.length).astype(np.int64).tolist()
    spans = list(zip([0, *ends[:-1]], ends, strict=True))
    for episode, (first, stop) in enumerate(spans):
        if stop < first:
            raise UserError(
                f"{store}: {_ENDS} does not ascend: episode {episode} would be rows {first} to "
                f"{stop - 1}"
            )
    if not ends[-1]:
        raise UserError(f"{store}: {_ENDS} counts no rows")
    return spans


def _with_rows(
    stored: Mapping[str, ZarrArray], faults: Mapping[str, str], rows: int
) -> tuple[dict[str, ZarrArray], dict[str, str], list[str]]:
    """The arrays of data/ that have all rows, by their names there; why others are not read; and
    notes for users."""
    kept: dict[str, ZarrArray] = {}
    left_out: dict[str, str] = {}
    longer: list[str] = []
    for name, array in stored.items():
        short = name.removeprefix(_DATA)
        if not name.startswith(_DATA):
            if name != _ENDS:
                left_out[name] = f"lies outside of {_DATA}"
        elif array.length < rows:
            left_out[short] = f"has {array.length} rows; {_ENDS} counts {rows}"
        else:
            kept[short] = array
            longer += [short] * (array.length > rows)
    left_out |= {name.removeprefix(_DATA): why for name, why in faults.items() if name != _ENDS}
    notes = []
    if longer:
        notes = [f"{', '.join(sorted(longer))}: rows after the last episode's end are not read"]
    return kept, left_out, notes


def _name_of(store: Path) -> str:
    """What a store is called: by its own name, unless all stores are called so."""
    name = store.absolute().name
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return store.absolute().parent.name if name in _GENERIC_NAMES else name
