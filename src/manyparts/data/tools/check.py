"""What is wrong with a dataset: every finding with its place, its weight and what to do; and a
repaired copy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from manyparts.core.arguments import path_of
from manyparts.core.columns import ACTION, EXPERT_ACTION, STATE
from manyparts.core.errors import UserError
from manyparts.core.progress import progress_bar
from manyparts.core.records import Episode
from manyparts.core.spec import ActionContract
from manyparts.core.storage.atomic import make_folder
from manyparts.data.dataset import DatasetWriter, EpisodeDataset
from manyparts.data.formats.errors import UnsupportedFormatError
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.reader import LeRobotReader
from manyparts.data.formats.lerobot.writer import Images
from manyparts.data.locations import open_location
from manyparts.data.tools.alignment import response_lag
from manyparts.data.tools.bounds import beyond, measured_bounds
from manyparts.data.tools.check_instructions import instruction_findings
from manyparts.data.tools.check_numbers import Jumps, outlier_findings
from manyparts.data.tools.findings import Finding, Severity
from manyparts.data.tools.outliers import Outliers
from manyparts.embodiment.statistics import FeatureStatistics, RunningStatistics, sample_rows

_COPY, _AGAIN = "--fix leaves the episode out", "--fix computes it anew"
_SHOWN, _MOVES, _MOVE_ROWS = 5, 200, 400
_NUMBERS = (STATE, ACTION, EXPERT_ACTION)  # whose values are looked at one by one
_LAGS = (-1, 0)  # the state answers at once, or a step later where forces or filters lie between


@dataclass
class _Inspection:
    """What is gathered while the episodes go by. spoilt: those that a repaired copy leaves out;
    unread: the names of those that not even the reader gives. names: what the dataset calls an
    episode."""

    path: str
    findings: list[Finding] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    spoilt: set[int] = field(default_factory=set)
    names: Callable[[int], str] = str
    statistics: dict[str, RunningStatistics] = field(default_factory=dict)
    seen: dict[bytes, int] = field(default_factory=dict)
    motion: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    outliers: dict[str, Outliers] = field(default_factory=dict)
    jumps: Jumps = field(default_factory=Jumps)
    found: dict[tuple[str, Severity, str, str], list[str]] = field(default_factory=dict)

    def report(self, check: str, severity: Severity, what: str, remedy: str, where: str) -> None:
        """Equal findings of several episodes become one."""
        self.found.setdefault((check, severity, what, remedy), []).append(where)

    def spoil(self, check: str, what: str, episode: int) -> None:
        self.spoilt.add(episode)
        self.report(check, "error", what, _COPY, self.place(episode))

    def place(self, episode: int) -> str:
        return f"episode {self.names(episode)}"

    def complain(self, what: str, episode: str | None = None) -> None:
        """See `formats.errors.Complain`."""
        if episode is None:
            self.report("metadata", "error", what, "--fix counts anew", self.path)
        else:
            self.unread.append(episode)
            self.report("episode", "error", what, _COPY, f"episode {episode}")

    def told(self) -> list[Finding]:
        """All findings, errors first."""
        found = [
            Finding(check, severity, _listed(places), what, remedy)
            for (check, severity, what, remedy), places in self.found.items()
        ]
        return sorted([*self.findings, *found], key=lambda finding: finding.severity)


def check(path: str | Path, *, every_frame: bool = False) -> list[Finding]:
    """Look at all of a dataset: errors first. every_frame: decode all pictures rather than up to
    eight an episode.

    A sound dataset gives an empty list. Raises UserError only if there is no dataset at all.
    """
    return _examine(path, every_frame=every_frame)[0].told()


def repair(path: str | Path, output: str | Path) -> list[str]:
    """Write a copy without the episodes that are spoilt or there twice, with numbers, times and
    statistics computed anew and actions within their contract; bounds that are only measured become
    those of the copy. Returns the names of the episodes left out. Raises UserError if nothing is
    left, or `output` exists; the dataset itself is never touched.
    """
    output = path_of(output, "output")
    require_free(output)
    inspection, dataset = _examine(path, every_frame=True)
    if dataset is None:
        raise UserError(f"{path} cannot be repaired: {inspection.told()[0].what}")
    kept = [index for index in range(dataset.num_episodes) if index not in inspection.spoilt]
    spec = dataset.spec
    if spec.action.measured and kept:
        low, high = measured_bounds(dataset, kept)
        spec = replace(spec, action=replace(spec.action, low=low, high=high))
    stored: Images = "video" if dataset.reader.contents.images == "video" else "png"
    given = {"fps": dataset.fps, "tasks": dataset.tasks, "environment": dataset.environment}
    with DatasetWriter(output, spec, images=stored, **given) as writer:
        for index in kept:
            writer.add(_within(dataset.episode(index), spec.action))
    return [
        *inspection.unread,
        *(dataset.reader.contents.name_of(index) for index in sorted(inspection.spoilt)),
    ]


def require_free(output: str | Path) -> None:
    """Raises UserError if a copy cannot be written to `output`: something is there, or its folder
    cannot be made."""
    if Path(output).exists():
        raise UserError(f"{output} exists; choose another output")
    make_folder(Path(output).parent)


def _examine(path: str | Path, *, every_frame: bool) -> tuple[_Inspection, EpisodeDataset | None]:
    inspection = _Inspection(str(path))
    if "://" not in str(path) and not path_of(path, "dataset").exists():
        raise UserError(f"no dataset at {path}")
    try:
        dataset = EpisodeDataset(open_location(path, inspection.complain))
    except UserError as error:
        inspection.findings.append(_closed(path, error))
        return inspection, None
    _look_at_contents(dataset, inspection)
    with progress_bar("checking", dataset.num_episodes) as bar:
        for index in range(dataset.num_episodes):
            _look_at(dataset, index, inspection, every_frame=every_frame)
            bar.show(index + 1, "")
    _compare_statistics(dataset, inspection)
    _look_for_constants(inspection)
    _look_at_alignment(inspection)
    inspection.findings += [*instruction_findings(dataset), *_misleading(dataset, inspection)]
    return inspection, dataset


def _closed(path: str | Path, error: UserError) -> Finding:
    """Why nothing could be opened."""
    if isinstance(error, UnsupportedFormatError):
        return Finding("open", "error", str(path), error.what, error.remedy)
    remedy = "restore the file from its source, or mend what writes it"
    return Finding("open", "error", str(path), str(error), remedy)


def _look_at_contents(dataset: EpisodeDataset, inspection: _Inspection) -> None:
    """What the reader says itself: what it leaves out, and why."""
    known = dataset.reader.contents
    inspection.names = known.name_of
    for name, why in known.episodes_left_out.items():
        if name not in inspection.unread:
            inspection.complain(why, name)
    for note in known.notes:
        inspection.findings.append(
            Finding("notes", "warning", inspection.path, note, "see whether it is what you want")
        )


def _look_at(
    dataset: EpisodeDataset, index: int, inspection: _Inspection, *, every_frame: bool
) -> None:
    length = dataset.length(index)
    if not length:
        return inspection.spoil("empty episode", "it has no frames", index)
    try:
        columns = dataset.columns(index)
    except UserError as error:
        return inspection.spoil("torn file", str(error), index)
    short = [name for name, values in columns.items() if len(values) != length]
    if short:
        return inspection.spoil(
            "rows", f"{', '.join(short)} have fewer rows than the metadata counts", index
        )
    if unlike := list(_unlike_features(dataset, columns)):
        return inspection.spoil("schema", "; ".join(unlike), index)
    bad = [
        name
        for name, values in columns.items()
        if values.dtype.kind == "f" and not np.isfinite(values).all()
    ]
    if bad:
        return inspection.spoil("not a number", f"{', '.join(bad)} hold NaN or infinity", index)
    _look_at_indices(dataset, index, columns, inspection)
    _look_at_actions(dataset, index, columns, inspection)
    for name, values in columns.items():
        if values.dtype.kind in "fiub":
            rows = values.reshape(length, -1).astype(np.float64)
            inspection.statistics.setdefault(name, RunningStatistics(rows.shape[1])).update(rows)
            if name in _NUMBERS and rows.shape[1]:
                inspection.jumps.add(name, index, rows)
                inspection.outliers.setdefault(name, Outliers(rows.shape[1])).add(index, rows)
    if STATE in columns and index % max(1, dataset.num_episodes // _MOVES) == 0:
        inspection.motion.append(
            tuple(columns[name].reshape(length, -1)[:_MOVE_ROWS].copy() for name in (STATE, ACTION))
        )
    content = hashlib.sha256(
        columns[ACTION].tobytes() + columns.get(STATE, columns[ACTION]).tobytes()
    )
    for frames in _look_at_frames(dataset, index, inspection, every_frame=every_frame):
        content.update(frames.tobytes())
    if (
        inspection.seen.setdefault(content.digest(), index) != index
        and index not in inspection.spoilt
    ):
        inspection.spoilt.add(index)
        inspection.report(
            "duplicates",
            "warning",
            "an earlier episode holds the same",
            _COPY,
            inspection.place(index),
        )


def _unlike_features(dataset: EpisodeDataset, columns: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Columns that hold something else than a LeRobotDataset's info.json says; how exact numbers
    are is free."""
    features = dataset.reader.features if isinstance(dataset.reader, LeRobotReader) else {}
    for name, feature in features.items():
        if name not in columns or len(feature["shape"]) > 1:
            continue
        values, told = columns[name], np.dtype(feature["dtype"])
        width, wanted = values[0].size, int(np.prod(feature["shape"]))
        if values.dtype.kind != told.kind or width != wanted:
            yield f"{name} holds {width} {values.dtype} a row, {layout.INFO} says {wanted} {told}"


def _look_at_indices(
    dataset: EpisodeDataset, index: int, columns: Mapping[str, np.ndarray], inspection: _Inspection
) -> None:
    """Of LeRobot's own columns, those that are there."""
    if not isinstance(reader := dataset.reader, LeRobotReader):
        return
    rows, where, contents = (
        np.arange(dataset.length(index)),
        inspection.place(index),
        reader.contents,
    )
    wanted = {
        "frame_index": rows,
        "episode_index": np.full_like(rows, int(contents.name_of(index))),
    }
    if "index" in columns:
        # Where episodes are missing, their rows may have been counted.
        whole = not contents.episode_names and not contents.episodes_left_out
        wanted["index"] = rows + (
            dataset.starts[index] if whole else columns["index"].reshape(-1)[0]
        )
    wrong = [name for name, values in wanted.items() if not _equal(columns.get(name), values)]
    if (
        "task_index" in columns
        and not np.isin(columns["task_index"], list(reader.tasks_of(index))).all()
    ):
        wrong.append("task_index")
    for name in wrong:
        inspection.report("indices", "error", f"{name} does not count as it should", _AGAIN, where)
    if "timestamp" in columns:
        off = np.abs(columns["timestamp"].reshape(-1) - rows / dataset.fps)
        if off.max() > max(1e-4, 0.1 / dataset.fps):
            what = f"timestamps are not frame_index / fps ({dataset.fps:g})"
            inspection.report("timestamps", "error", what, _AGAIN, where)


def _equal(values: np.ndarray | None, wanted: np.ndarray) -> bool:
    """Whether a column that may be absent counts as it should."""
    return values is None or np.array_equal(values.reshape(-1), wanted)


def _look_at_actions(
    dataset: EpisodeDataset, index: int, columns: Mapping[str, np.ndarray], inspection: _Inspection
) -> None:
    contract = dataset.spec.action
    low, high = contract.low, contract.high
    for name in (ACTION, EXPERT_ACTION):
        values = columns.get(name)
        if values is None:
            continue
        values = values.reshape(-1, len(low))
        outside = beyond(contract, values)
        if contract.choices and outside.any():
            row, number = np.argwhere(outside)[0].tolist()
            choices = f"which is none of the choices 0 to {len(contract.choices) - 1}"
            inspection.spoil(
                "choices", f"{name} is {values[row, number]:g} in row {row}, {choices}", index
            )
            continue
        remedy = (
            "--fix measures the bounds anew"
            if contract.measured
            else "--fix clips it, or mend the contract"
        )
        severity = (
            "warning" if contract.measured and name == EXPERT_ACTION else "error"
        )  # no model forbids it
        for dimension in np.flatnonzero(outside.any(axis=0)):
            what = f"{name} {contract.names[dimension]} leaves [{low[dimension]:g}, {high[dimension]:g}]"
            inspection.report("action bounds", severity, what, remedy, inspection.place(index))


def _look_at_frames(
    dataset: EpisodeDataset, index: int, inspection: _Inspection, *, every_frame: bool
) -> Iterator[np.ndarray]:
    """Yields what could be decoded of each camera."""
    rows = np.arange(dataset.length(index)) if every_frame else sample_rows(dataset.length(index))
    for camera in dataset.spec.cameras:
        try:
            frames = dataset.frames(index, camera, rows)
        except UserError as error:
            return inspection.spoil("pictures", str(error), index)
        if len(frames) != len(rows):
            return inspection.spoil(
                "pictures", f"{camera} has {len(frames)} frames for {len(rows)} rows", index
            )
        if len(frames) > 2 and not frames.any():
            inspection.report(
                "pictures",
                "warning",
                f"{camera} is black",
                "look at the camera",
                inspection.place(index),
            )
        yield frames


def _compare_statistics(dataset: EpisodeDataset, inspection: _Inspection) -> None:
    """Those that are stored are of all episodes. If one cannot be read, only what its rows cannot
    explain is wrong."""
    left_out = inspection.unread or dataset.reader.contents.episodes_left_out
    for name, running in inspection.statistics.items():
        stored = dataset.statistics.features.get(name)
        if (
            stored is None or name in layout.STANDARD
        ):  # of LeRobot's counters nobody needs them; its own tools let them
            continue  # grow stale
        found = running.finish()
        whole = not left_out and found.count == dataset.num_frames
        wrong = [
            key for key in ("min", "max", "mean", "std") if _differ(found, stored, key, whole=whole)
        ]
        if wrong:
            what = f"stored {', '.join(wrong)} are not those of the rows"
            inspection.report("statistics", "error", what, _AGAIN, name)


def _differ(found: FeatureStatistics, stored: FeatureStatistics, key: str, *, whole: bool) -> bool:
    """whole: the rows found are all that there are; else others may reach further."""
    ours, theirs = np.asarray(getattr(found, key)), np.asarray(getattr(stored, key))
    if ours.shape != theirs.shape:
        return True
    size = np.maximum(np.asarray(found.std), 1e-6 * np.maximum(np.abs(ours), 1)) + 1e-9
    if not whole:
        reach = {"min": theirs - ours, "max": ours - theirs}
        return key in reach and bool((reach[key] > 0.01 * size).any())
    return bool((np.abs(ours - theirs) > 0.01 * size).any())


def _look_for_constants(inspection: _Inspection) -> None:
    for name in (STATE, ACTION):
        if name not in inspection.statistics or inspection.statistics[name].count < 2:
            continue
        found = inspection.statistics[name].finish()
        still = np.flatnonzero(np.subtract(found.max, found.min) == 0)
        if len(still):
            what = f"dimension{'s' if len(still) > 1 else ''} {', '.join(map(str, still))} never change"
            inspection.report(
                "constants", "warning", what, "leave them out, or mend what records them", name
            )


def _misleading(dataset: EpisodeDataset, inspection: _Inspection) -> Iterator[Finding]:
    """Angles that jump, and numbers far from the rest."""
    action = dataset.spec.action
    names = {STATE: dataset.spec.state_names, ACTION: action.names, EXPERT_ACTION: action.names}
    yield from inspection.jumps.findings(lambda feature: names[feature], inspection.names)
    for name, gathered in inspection.outliers.items():
        found = gathered.find(
            lambda index, name=name: dataset.columns(index)[name].reshape(
                dataset.length(index), -1
            ),
            inspection.jumps.explained(name),
        )
        bounding = name != STATE and action.measured
        yield from outlier_findings(name, found, names[name], inspection.names, bounding=bounding)


def _look_at_alignment(inspection: _Inspection) -> None:
    lag, mend = response_lag(inspection.motion), "shift the actions where the dataset is made"
    if lag is None or lag in _LAGS:
        return
    if lag < 0:
        what = f"the state moves {-lag} steps after the action of its row"
        inspection.report(
            "alignment", "warning", what, f"{mend}, unless the robot is that slow", ACTION
        )
    else:
        what = f"the state moves {lag} step{'s' if lag > 1 else ''} before the action of its row is done"
        inspection.report("alignment", "error", what, mend, ACTION)


def _within(episode: Episode, contract: ActionContract) -> Episode:
    """The episode with its actions clipped to bounds that somebody wrote down; a choice never
    becomes another one."""
    if contract.measured or contract.choices:
        return episode
    low, high = contract.low, contract.high
    action, expert = (
        np.clip(each, low, high).astype(np.float32)
        for each in (episode.action, episode.expert_action)
    )
    return replace(episode, action=action, expert_action=expert)


def _listed(places: list[str]) -> str:
    numbers = [place.removeprefix("episode ") for place in places if place.startswith("episode ")]
    if len(numbers) < 2:
        return ", ".join(places)
    shown = ", ".join(numbers[:_SHOWN])
    return f"episodes {shown}" + (
        f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    )
