"""Check a dataset: every finding with its severity and a remedy; and write a repaired copy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from manyparts.core.arguments import path_of
from manyparts.core.columns import ACTION, EXPERT_ACTION, STATE
from manyparts.core.errors import UserError
from manyparts.core.printing import counted
from manyparts.core.progress import progress_bar
from manyparts.core.records import Episode
from manyparts.core.spec import ActionContract
from manyparts.core.storage.atomic import make_folder
from manyparts.data.dataset import DatasetWriter, EpisodeDataset
from manyparts.data.formats.errors import UnsupportedFormatError
from manyparts.data.formats.lerobot import layout
from manyparts.data.formats.lerobot.writer import Images
from manyparts.data.locations import location_exists, open_location
from manyparts.data.tools.alignment import response_lag
from manyparts.data.tools.bounds import measured_bounds
from manyparts.data.tools.check_episode import check_episode
from manyparts.data.tools.check_instructions import instruction_findings
from manyparts.data.tools.check_numbers import outlier_findings
from manyparts.data.tools.findings import Finding
from manyparts.data.tools.inspection import RECOMPUTES, Inspection
from manyparts.embodiment.statistics import FeatureStatistics

__all__ = ["Finding", "check", "repair", "require_free"]

_LAGS = (-1, 0)  # the state answers at once, or a step later where forces or filters lie between


def check(path: str | Path, *, every_frame: bool = False) -> list[Finding]:
    """Check all of a dataset.

    Args:
        path: the dataset, as `EpisodeDataset.open` takes it.
        every_frame: decode all images rather than up to eight per episode and camera.

    Returns:
        The findings, errors first; none for a sound dataset.

    Raises:
        UserError: only if there is no dataset at all.
    """
    return _inspect(path, every_frame=every_frame)[0].all_findings()


def repair(path: str | Path, output: str | Path) -> list[str]:
    """Write a repaired copy of a dataset, which itself is never changed.

    The copy lacks episodes that are broken or stored twice. Numbers, times and statistics are
    computed again, and actions clipped to their contract. Bounds that are only measured become
    those of the copy.

    Args:
        path: the dataset, as `EpisodeDataset.open` takes it.
        output: the folder of the copy, which must not exist.

    Returns:
        The names of the episodes left out.

    Raises:
        UserError: if there is no dataset, no episode is left, or `output` exists.
    """
    output = path_of(output, "output")
    require_free(output)
    inspection, dataset = _inspect(path, every_frame=True)
    if dataset is None:
        raise UserError(f"{path} cannot be repaired: {inspection.all_findings()[0].what}")
    kept = [index for index in range(dataset.num_episodes) if index not in inspection.broken]
    spec = dataset.spec
    if spec.action.measured and kept:
        low, high = measured_bounds(dataset, kept)
        spec = replace(spec, action=replace(spec.action, low=low, high=high))
    images: Images = "video" if dataset.reader.contents.images == "video" else "png"
    writer = DatasetWriter(
        output,
        spec,
        fps=dataset.fps,
        tasks=dataset.tasks,
        environment=dataset.environment,
        images=images,
        **dataset.known,
    )
    with writer:
        for index in kept:
            writer.add(_clipped(dataset.episode(index), spec.action))
    broken = [dataset.reader.contents.name_of(index) for index in sorted(inspection.broken)]
    return [*inspection.unread, *broken]


def require_free(output: str | Path) -> None:
    """Raise UserError if a copy cannot be written to `output`: it exists, or its parent folder
    cannot be made."""
    if Path(output).exists():
        raise UserError(f"{output} exists; choose another output")
    make_folder(Path(output).parent)


def _inspect(path: str | Path, *, every_frame: bool) -> tuple[Inspection, EpisodeDataset | None]:
    """All findings, and the dataset if it can be opened."""
    inspection = Inspection(str(path))
    if "://" not in str(path) and not location_exists(path):
        raise UserError(f"no dataset at {path}")
    try:
        dataset = EpisodeDataset(open_location(path, inspection.complain))
    except UserError as error:
        inspection.findings.append(_not_opened(path, error))
        return inspection, None
    _report_contents(dataset, inspection)
    with progress_bar(f"checking episodes of {path}", dataset.num_episodes) as bar:
        for index in range(dataset.num_episodes):
            check_episode(dataset, index, inspection, every_frame=every_frame)
            bar.show(index + 1, "")
    _check_statistics(dataset, inspection)
    _check_constants(inspection)
    _check_alignment(inspection)
    inspection.findings += [
        *instruction_findings(dataset),
        *_check_numbers(dataset, inspection),
    ]
    return inspection, dataset


def _not_opened(path: str | Path, error: UserError) -> Finding:
    """The finding for a dataset that cannot be opened."""
    if isinstance(error, UnsupportedFormatError):
        return Finding("open", "error", str(path), error.what, error.remedy)
    remedy = "restore the file from its source, or correct the program that writes it"
    return Finding("open", "error", str(path), str(error), remedy)


def _report_contents(dataset: EpisodeDataset, inspection: Inspection) -> None:
    """Report the reader's own notes, and the episodes that it leaves out."""
    contents = dataset.reader.contents
    inspection.name_of = contents.name_of
    for name, why in contents.episodes_left_out.items():
        if name not in inspection.unread:
            inspection.complain(why, name)
    for note in contents.notes:
        remedy = "see whether it is what you want"
        inspection.findings.append(Finding("notes", "warning", inspection.path, note, remedy))


def _check_statistics(dataset: EpisodeDataset, inspection: Inspection) -> None:
    """Compare the stored statistics with those of the rows.

    The stored ones are of all episodes. If some cannot be read, only what their rows cannot explain
    is wrong.
    """
    left_out = inspection.unread or dataset.reader.contents.episodes_left_out
    for name, running in inspection.statistics.items():
        stored = dataset.statistics.features.get(name)
        # Nobody uses statistics of LeRobot's counters, and its own tools do not update them.
        if stored is None or name in layout.STANDARD:
            continue
        computed = running.finish()
        complete = not left_out and computed.count == dataset.num_frames
        wrong = [
            key
            for key in ("min", "max", "mean", "std")
            if _differ(computed, stored, key, complete=complete)
        ]
        if wrong:
            what = f"stored {', '.join(wrong)} are not those of the rows"
            inspection.report("statistics", "error", what, RECOMPUTES, name)


def _differ(
    computed: FeatureStatistics, stored: FeatureStatistics, key: str, *, complete: bool
) -> bool:
    """Whether a statistic differs by more than rounding.

    complete: all rows were read; else rows that were not read may explain a wider range.
    """
    computed_values, stored_values = (
        np.asarray(getattr(computed, key)),
        np.asarray(getattr(stored, key)),
    )
    if computed_values.shape != stored_values.shape:
        return True
    size = (
        np.maximum(np.asarray(computed.std), 1e-6 * np.maximum(np.abs(computed_values), 1)) + 1e-9
    )
    if not complete:
        excess = {"min": stored_values - computed_values, "max": computed_values - stored_values}
        return key in excess and bool((excess[key] > 0.01 * size).any())
    return bool((np.abs(computed_values - stored_values) > 0.01 * size).any())


def _check_constants(inspection: Inspection) -> None:
    """Report dimensions of state and action that never change."""
    for name in (STATE, ACTION):
        if name not in inspection.statistics or inspection.statistics[name].count < 2:
            continue
        computed = inspection.statistics[name].finish()
        constant = np.flatnonzero(np.subtract(computed.max, computed.min) == 0)
        if len(constant):
            listed = ", ".join(map(str, constant))
            what = f"dimension {listed} never changes"
            if len(constant) > 1:
                what = f"dimensions {listed} never change"
            remedy = "leave them out, or correct what records them"
            inspection.report("constants", "warning", what, remedy, name)


def _check_numbers(dataset: EpisodeDataset, inspection: Inspection) -> Iterator[Finding]:
    """Angles that jump, and outliers."""
    action = dataset.spec.action
    names = {STATE: dataset.spec.state_names, ACTION: action.names, EXPERT_ACTION: action.names}
    yield from inspection.jumps.findings(lambda feature: names[feature], inspection.name_of)
    for name, outliers in inspection.outliers.items():

        def read(index: int, name: str = name) -> np.ndarray:
            return dataset.columns(index)[name].reshape(dataset.length(index), -1)

        rows = outliers.find(read, inspection.jumps.explained(name))
        set_bounds = name != STATE and action.measured
        yield from outlier_findings(
            name, rows, names[name], inspection.name_of, set_bounds=set_bounds
        )


def _check_alignment(inspection: Inspection) -> None:
    """Report actions that are not in the row of the state that they change."""
    lag, remedy = response_lag(inspection.motion), "shift the actions where the dataset is made"
    if lag is None or lag in _LAGS:
        return
    if lag < 0:
        what = f"the state moves {counted(-lag, 'step')} after the action of its row"
        remedy = f"{remedy}, unless the robot is that slow"
        inspection.report("alignment", "warning", what, remedy, ACTION)
    else:
        what = f"the state moves {counted(lag, 'step')} before the action of its row is executed"
        inspection.report("alignment", "error", what, remedy, ACTION)


def _clipped(episode: Episode, contract: ActionContract) -> Episode:
    """The episode with its actions clipped to the contract's bounds.

    Measured bounds clip nothing, and a number that is no choice does not become one.
    """
    if contract.measured or contract.choices:
        return episode
    low, high = contract.low, contract.high
    action = np.clip(episode.action, low, high).astype(np.float32)
    expert = np.clip(episode.expert_action, low, high).astype(np.float32)
    return replace(episode, action=action, expert_action=expert)
