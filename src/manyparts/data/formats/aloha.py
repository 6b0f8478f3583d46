"""Read ALOHA's and ACT's HDF5: a folder of files `episode_N.hdf5`, one episode each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from manyparts.core.columns import ACTION, STATE
from manyparts.core.errors import UserError
from manyparts.core.printing import first_of
from manyparts.core.spec import Spec
from manyparts.data.formats import arrays
from manyparts.data.formats.arrays import EpisodeArrays, Plan
from manyparts.data.formats.errors import Complain, UnsupportedFormatError, refuse
from manyparts.data.formats.hdf5 import Hdf5File
from manyparts.data.formats.hdf5_nodes import holds_bytes
from manyparts.data.formats.hdf5_rows import read_images, row_info
from manyparts.data.formats.instructions import StoredInstruction, instruction_of
from manyparts.data.formats.kinds import NUMBERS, ArrayInfo, is_image
from manyparts.data.formats.numbering import missing_numbers, natural_key
from manyparts.data.formats.options import JpegColours, ReadOptions
from manyparts.data.formats.reader import Contents
from manyparts.data.formats.texts import changing_note
from manyparts.embodiment.statistics import Statistics

_ACTION, _BASE_ACTION = "action", "base_action"
_OBSERVATIONS, _QPOS = "observations/", "observations/qpos"
_ARMS = 14  # numbers of two arms: six joints and a gripper each
_KNOWN = {
    "compress_len"
}  # lengths of JPEGs without the zeros behind them, which decoders pass over
_LANGUAGE = "language_raw"  # the instruction in files of programs that extend ACT
_FPS = 50.0  # ALOHA's rate; the files do not say
_JPEG: JpegColours = "bgr"
_NUMBERED = re.compile(r"(?P<name>.*?)(?P<number>[0-9]+)")
_MAX_SHOWN = 5


class AlohaReader:
    """See `formats.reader.Reader`.

    The state is qpos, and the action that of the two arms, with that of a mobile base behind it.
    """

    def __init__(
        self,
        path: Path,
        files: Sequence[Path],
        complain: Complain = refuse,
        options: ReadOptions | None = None,
        others: Mapping[str, str] | None = None,
    ) -> None:
        """Read the arrays' shapes of all files, and all states and actions once.

        Args:
            path: the folder, or its only file.
            files: the episodes, of which libhdf5 survives the reading.
            complain: called for each file that is torn, or not like most.
            options: jpeg says how encoded images were encoded; the default is as ACT does it.
            others: files that are no episodes, and why, by their names.

        Raises:
            UserError: if no file is an episode that can be read.
        """
        self.path = path
        self._options = options or ReadOptions()
        self._exchanges_red_and_blue = (self._options.jpeg or _JPEG) == "bgr"
        surveys = _surveys(sorted(files, key=lambda file: natural_key(file.name)), complain)
        self._files = list(surveys)
        infos, left_out = arrays.majority_layout([each.layout for each in surveys.values()])
        self._actions = _actions(infos, left_out, self._files[0])
        self._plan = _plan(infos, left_out, self._actions, path)
        encoded = {name for each in surveys.values() for name in each.encoded}
        self._encoded = [
            camera for camera, (name, _, _) in self._plan.cameras.items() if name in encoded
        ]
        if self._options.jpeg and not self._encoded:
            raise UserError(f"{path} has no encoded images; leave {self._options} out")
        contents = self._describe(surveys, infos, complain)
        self.contents = replace(contents, episodes_left_out=others or {})

    def columns(self, index: int) -> dict[str, np.ndarray]:
        with Hdf5File(self._files[index]) as file:
            names = (*self._actions, *self._plan.state)
            values = {name: file.read(file.array(name)) for name in names}
        length = len(values[_ACTION])
        actions = [values[name].astype(np.float32).reshape(length, -1) for name in self._actions]
        state = {name: values[name][:length] for name in self._plan.state}
        return {
            STATE: self._plan.state_of(state, length),
            ACTION: np.concatenate(actions, axis=1),
        }

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        name, _, _ = self._plan.cameras[camera]
        with Hdf5File(self._files[index]) as file:
            array = file.array(name)
            frames, is_encoded = read_images(file, array, rows), holds_bytes(array)
        return frames[..., ::-1] if is_encoded and self._exchanges_red_and_blue else frames

    def files(self) -> Sequence[Path]:
        return self._files

    def _describe(
        self,
        surveys: Mapping[Path, _Survey],
        infos: Mapping[str, ArrayInfo],
        complain: Complain,
    ) -> Contents:
        """Read all states and actions once, and keep the episodes that are like most."""
        cameras = [name for name, _, _ in self._plan.cameras.values()]
        expected = {name: infos[name] for name in (*self._actions, *self._plan.state, *cameras)}

        def read(index: int) -> dict[str, np.ndarray]:
            file = self._files[index]
            if why := surveys[file].layout.difference_from(expected):
                raise UserError(f"{file}: {why}")
            return self.columns(index)

        every = [file.stem for file in self._files]
        readable, statistics = arrays.collect_episodes(
            every, read, self.path, complain, self._plan.state_names
        )
        names = [every[index] for index in readable]
        self._files = [self._files[index] for index in readable]
        kept = [surveys[file] for file in self._files]
        name = self.path.absolute().name
        if self.path.is_file():
            name = self.path.absolute().parent.name
        texts = [each.instruction for each in kept]
        tasks, episode_task = arrays.tasks_of([each.text or name for each in texts])
        return Contents(
            format="ALOHA HDF5",
            spec=self._spec(statistics),
            fps=_FPS,
            tasks=tasks,
            lengths=np.asarray([each.steps for each in kept], dtype=np.int64),
            episode_task=episode_task,
            statistics=statistics,
            images=self._stored_images(),
            left_out=self._plan.left_out,
            episode_names=tuple(names),
            options=str(self._options),
            notes=(
                *self._notes(every),
                *_notes_of_texts(names, texts, name),
                *changing_note(sum(each.changes for each in texts)),
            ),
        )

    def _spec(self, statistics: Statistics) -> Spec:
        spec = arrays.spec_of(self._plan, statistics, embodiment="aloha", named=False, fps=_FPS)
        base = spec.action.dimension - _ARMS
        if len(self._plan.state_names) != _ARMS or base != (2 if len(self._actions) > 1 else 0):
            return spec  # another robot in the same layout
        what = "joint_position" if not base else "joint_position, base_velocity"
        return replace(spec, action=replace(spec.action, representation=what))

    def _stored_images(self) -> str:
        if not self._plan.cameras:
            return "none"
        return "encoded" if self._encoded else "raw"

    def _notes(self, names: Sequence[str]) -> Iterator[str]:
        """Notes for users. names: the episodes of all files."""
        if self.path.is_dir() and (missing := _missing(names)):
            yield f"missing episodes: {missing}; the others keep their names"
        if not self._encoded:
            return
        how, other = "taken as a decoder gives them", "bgr"
        if self._exchanges_red_and_blue:
            how, other = "exchanged, since ACT's programs encode them so", "rgb"
        said = f" (jpeg={self._options.jpeg})" if self._options.jpeg else ""
        yield (
            f"{first_of(self._encoded, _MAX_SHOWN)}: encoded images, and no file says in which "
            f"order colours are; red and blue are {how}{said}; if they look exchanged, put "
            f"@jpeg={other} behind the location"
        )


@dataclass(frozen=True)
class _Survey:
    """What one file holds."""

    layout: EpisodeArrays
    """Its arrays."""
    steps: int
    """How many actions it has."""
    encoded: frozenset[str]
    """Its arrays of encoded images."""
    instruction: StoredInstruction
    """Its instruction."""


def _surveys(files: Sequence[Path], complain: Complain) -> dict[Path, _Survey]:
    """The content of all files that are not torn. Raises UserError if all are."""
    surveys: dict[Path, _Survey] = {}
    first_error = ""
    for file in files:
        try:
            with Hdf5File(file) as opened:
                surveys[file] = _survey(opened)
        except UserError as error:
            first_error = first_error or str(error)
            complain(str(error), file.stem)
    if not surveys:
        raise UserError(first_error)
    return surveys


def _survey(file: Hdf5File) -> _Survey:
    """Look at a file's arrays without reading them. Raises UserError if it is no episode."""
    root = file.group("")
    leaves = file.leaves(root)
    shape = leaves[_ACTION].shape if _ACTION in leaves else ()
    if not shape or not shape[0]:
        raise UserError(f"{file.path} has no rows of {_ACTION}")
    steps = shape[0]
    instruction = instruction_of(file, root, steps)
    if not instruction.text and _LANGUAGE in leaves:
        texts = [text for text in file.texts(leaves[_LANGUAGE]) if text]
        instruction = StoredInstruction(texts[0] if texts else "", array=_LANGUAGE)
    infos, faults, encoded = {}, {}, set()
    for name, array in leaves.items():
        if name in _KNOWN or name == instruction.array:
            continue
        info = row_info(file, array, steps)
        if isinstance(info, str):
            faults[name] = info
            continue
        infos[name] = info
        if holds_bytes(array) and is_image(info):
            encoded.add(name)
    return _Survey(EpisodeArrays(infos, faults), steps, frozenset(encoded), instruction)


def _actions(
    infos: Mapping[str, ArrayInfo], left_out: Mapping[str, str], file: Path
) -> tuple[str, ...]:
    """The arrays that are concatenated to the action. Raises UserError if it is no numbers."""
    action = infos.get(_ACTION)
    if action is None or action.dtype.kind not in NUMBERS or len(action.shape) > 1:
        why = left_out.get(_ACTION, "")
        if action is not None:
            why = f"is {action.dtype} of shape {action.shape} per step"
        raise UnsupportedFormatError(f"{file}: {_ACTION} {why}", "write numbers (T, a)")
    base = infos.get(_BASE_ACTION)
    if base is None or base.dtype.kind not in NUMBERS or len(base.shape) > 1 or base.extra_rows:
        return (_ACTION,)
    return (_ACTION, _BASE_ACTION)


def _plan(
    infos: Mapping[str, ArrayInfo],
    left_out: Mapping[str, str],
    actions: Sequence[str],
    path: Path,
) -> Plan:
    """How observations are read: the state is qpos, or all numbers where there is none.

    Raises UnsupportedFormatError for a faulty qpos, as other numbers mean other things.
    """
    if _QPOS not in infos and _QPOS in left_out:
        raise UnsupportedFormatError(
            f"{path}: {_QPOS} has {left_out[_QPOS]}", "write numbers (T, s), with a row per action"
        )
    reasons, observed = dict(left_out), {}
    for name, info in infos.items():
        if name in actions:
            continue
        if not name.startswith(_OBSERVATIONS):
            reasons[name] = "not an observation"
        elif _QPOS in infos and name != _QPOS and len(info.shape) < 2 and not is_image(info):
            reasons[name] = "not part of the state, which is qpos"
        else:
            observed[name.removeprefix(_OBSERVATIONS)] = info
    plan = arrays.plan(observed, {_short(name): why for name, why in reasons.items()})
    return replace(
        plan,
        cameras={
            camera: (f"{_OBSERVATIONS}{name}", height, width)
            for camera, (name, height, width) in plan.cameras.items()
        },
        state=tuple(f"{_OBSERVATIONS}{name}" for name in plan.state),
    )


def _short(name: str) -> str:
    return name.removeprefix(_OBSERVATIONS)


def _missing(names: Sequence[str]) -> str:
    """The episodes that are missing among numbered ones; "" if none are, or names have none."""
    matches = [_NUMBERED.fullmatch(name) for name in names]
    numbered = [match for match in matches if match]
    if len(numbered) < len(names) or len({match["name"] for match in numbered}) > 1:
        return ""
    return missing_numbers([int(match["number"]) for match in numbered], numbered[0]["name"])


def _notes_of_texts(
    names: Sequence[str], texts: Sequence[StoredInstruction], name: str
) -> Iterator[str]:
    """Notes on the rate, and on missing instructions, for which `name` is used."""
    without = [each for each, stored in zip(names, texts, strict=True) if not stored.text]
    rate = f"there is no rate: {_FPS:g} Hz is used"
    if not without:
        yield rate
    elif len(without) == len(names):
        yield f"there is no instruction: the folder's name is used, {name!r}; {rate}"
    else:
        lack = f"{first_of(without, _MAX_SHOWN)} lack an instruction"
        yield f"{lack}: the folder's name is used, {name!r}; {rate}"
