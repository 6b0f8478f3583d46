"""Read a folder of LIBERO's HDF5 files, one task each, as one dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.spec import Spec
from manyparts.data.formats import arrays
from manyparts.data.formats.arrays import StatisticsCollector
from manyparts.data.formats.errors import Complain, refuse
from manyparts.data.formats.hdf5 import Hdf5File
from manyparts.data.formats.numbering import natural_key
from manyparts.data.formats.reader import Contents, notes_of_files
from manyparts.data.formats.robomimic import RobomimicReader


class LiberoFolderReader:
    """See `formats.reader.Reader`. Episodes are those of all files, in the order of their names."""

    def __init__(
        self,
        path: Path,
        files: Mapping[Path, Hdf5File],
        complain: Complain = refuse,
        others: Mapping[str, str] | None = None,
    ) -> None:
        """Open all files.

        Args:
            path: the folder.
            files: the opened files.
            complain: called for each demonstration and each file that is torn, or not like most.
            others: files that are not read, and why, by their names.

        Raises:
            UserError: if no file can be read.
        """
        self.path = path
        self._readers = _of_one_layout(_opened(files, complain), complain)
        self._episodes = [
            (reader, index)
            for reader in self._readers
            for index in range(len(reader.contents.lengths))
        ]
        self.contents = self._describe(others or {})

    def columns(self, index: int) -> dict[str, np.ndarray]:
        reader, inside = self._episodes[index]
        return reader.columns(inside)

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        reader, inside = self._episodes[index]
        return reader.frames(inside, camera, rows)

    def files(self) -> Sequence[Path]:
        return [reader.path for reader in self._readers]

    def _describe(self, others: Mapping[str, str]) -> Contents:
        parts = [reader.contents for reader in self._readers]
        collector = StatisticsCollector()
        for index, (reader, _) in enumerate(self._episodes):
            collector.add(self.columns(index), str(reader.path), parts[0].spec.state_names)
        instructions = [
            part.tasks[number].instruction for part in parts for number in part.episode_task
        ]
        tasks, episode_task = arrays.tasks_of(instructions)
        succeeded = [part.succeeded for part in parts if part.succeeded is not None]
        left_out: dict[str, str] = {}
        episodes_left_out = dict(others)
        for reader in self._readers:
            left_out |= reader.contents.left_out
            for name, why in reader.contents.episodes_left_out.items():
                episodes_left_out[_named(reader, name)] = why
        return replace(
            parts[0],
            format="LIBERO HDF5",
            spec=_spec(self.path, parts),
            tasks=tasks,
            lengths=np.concatenate([part.lengths for part in parts]),
            episode_task=episode_task,
            statistics=collector.finish(self.path),
            succeeded=np.concatenate(succeeded) if len(succeeded) == len(parts) else None,
            left_out=left_out,
            episodes_left_out=episodes_left_out,
            episode_names=tuple(
                _named(reader, reader.contents.name_of(index)) for reader, index in self._episodes
            ),
            notes=notes_of_files(
                {reader.path.stem: reader.contents.notes for reader in self._readers}
            ),
        )


@dataclass
class _Faults:
    """A `Complain` that keeps what it is given."""

    kept: list[tuple[str, str | None]] = field(default_factory=list)
    """What is wrong, and with which episode."""

    def __call__(self, what: str, episode: str | None = None) -> None:
        self.kept.append((what, episode))


def _opened(files: Mapping[Path, Hdf5File], complain: Complain) -> list[RobomimicReader]:
    """Readers of all files that can be read. Raises UserError if there are none."""
    readers: list[RobomimicReader] = []
    first_error = ""
    for path in sorted(files, key=lambda file: natural_key(file.name)):
        faults = _Faults()
        try:
            reader = RobomimicReader(path, files[path], faults)
        except UserError as error:
            first_error = first_error or str(error)
            complain(str(error), path.stem)
            continue
        for what, episode in faults.kept:
            complain(what, f"{path.stem}/{episode}" if episode else None)
        readers.append(reader)
    if not readers:
        raise UserError(first_error)
    return readers


def _of_one_layout(readers: Sequence[RobomimicReader], complain: Complain) -> list[RobomimicReader]:
    """The readers with the cameras, state and actions of most."""
    layouts = [_layout(reader.contents) for reader in readers]
    (common, _), *_ = Counter(layouts).most_common(1)
    kept = []
    for reader, layout in zip(readers, layouts, strict=True):
        if layout == common:
            kept.append(reader)
        else:
            what = f"{layout}, unlike most files of the folder, which have {common}"
            complain(f"{reader.path} has {what}", reader.path.stem)
    return kept


def _layout(contents: Contents) -> str:
    """What all files have to agree in, for people."""
    spec = contents.spec
    cameras = [f"{name} {height}x{width}" for name, (height, width) in spec.cameras.items()]
    return (
        f"cameras {', '.join(cameras) or 'none'}, state {_widths(spec.state_names)}, "
        f"{spec.action.dimension} actions at {contents.fps:g} Hz"
    )


def _widths(names: Sequence[str]) -> str:
    """Arrays of the state, with how many numbers each has: "ee_pos (3), joint_states (7)"."""
    counts = Counter(name.rpartition("_")[0] or name for name in names)
    return ", ".join(f"{name} ({count})" for name, count in counts.items()) or "none"


def _spec(path: Path, parts: Sequence[Contents]) -> Spec:
    """The spec of all files: bounds that all keep, and their robot's name if they agree on it."""
    spec = parts[0].spec
    actions = [part.spec.action for part in parts]
    action = replace(
        spec.action,
        low=tuple(np.min([each.low for each in actions], axis=0).tolist()),
        high=tuple(np.max([each.high for each in actions], axis=0).tolist()),
        measured=any(each.measured for each in actions),
    )
    if len({part.spec.embodiment for part in parts}) == 1:
        return replace(spec, action=action)
    return replace(spec, action=action, embodiment=path.absolute().name, named=False)


def _named(reader: RobomimicReader, episode: str) -> str:
    return f"{reader.path.stem}/{episode}"
