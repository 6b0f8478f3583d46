"""Export episodes as recordings for the Rerun viewer."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.arguments import path_of
from manyparts.core.columns import ACTION, REWARD, STATE, SUCCESS
from manyparts.core.errors import UserError
from manyparts.core.extras import install_command, load_package
from manyparts.core.progress import progress_bar
from manyparts.core.storage.atomic import disk_error, rename_into_place, temporary_folder
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.png import encode_png
from manyparts.data.tools.view import choose_episodes


def export_rerun(
    path: str | Path | EpisodeDataset,
    output: str | Path,
    *,
    episodes: int = 24,
    only: Sequence[int] = (),
    tasks: Sequence[str] = (),
) -> Path:
    """Write a folder with one recording (.rrd) per episode; open them with `rerun OUTPUT/*.rrd`.

    On the timelines "frame" and "time", each has its images (as PNG), a curve for each dimension of
    action and state, reward, success and the instruction.

    Args:
        path: the dataset, as `EpisodeDataset.open` takes it.
        output: the folder to write, which must not exist.
        episodes: see `view`.
        only: see `view`.
        tasks: see `view`.

    Returns:
        The folder.

    Raises:
        UserError: if rerun-sdk is not installed, `output` exists, or an episode or task is unknown.
    """
    rerun = load_package("rerun", "a recording for Rerun", install_command("rerun"))
    dataset, output = EpisodeDataset.open(path), path_of(output, "output")
    if output.exists():
        raise UserError(f"{output} exists; choose another output")
    chosen = choose_episodes(dataset, episodes, only, tasks)
    folder = temporary_folder(output)
    try:
        with progress_bar(
            f"exporting episodes of {Path(dataset.location).name}", len(chosen)
        ) as bar:
            for number, index in enumerate(chosen):
                _write(rerun, dataset, index, folder / f"episode-{index:06d}.rrd")
                bar.show(number + 1, "")
        if not rename_into_place(folder, output):
            raise UserError(f"{output} exists; choose another output")
    except OSError as error:
        raise disk_error(error, output) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return output


def _write(rerun: Any, dataset: EpisodeDataset, index: int, file: Path) -> None:
    """Write the recording of one episode."""
    length, columns, spec = dataset.length(index), dataset.columns(index), dataset.spec
    frames = np.arange(length)
    recording = rerun.RecordingStream(
        "manyparts", recording_id=f"{dataset.fingerprint[:16]}-{index:06d}"
    )
    recording.save(file)
    instruction = dataset.tasks[dataset.episode_task[index]].instruction
    recording.send_recording_name(f"episode {index}: {instruction}")

    def send(entity: str, columns: Any) -> None:
        times = [
            rerun.TimeColumn("frame", sequence=frames),
            rerun.TimeColumn("time", duration=frames / dataset.fps),
        ]
        recording.send_columns(entity, indexes=times, columns=columns)

    recording.log("task", rerun.TextDocument(instruction), static=True)
    for camera in spec.cameras:
        images = [encode_png(frame) for frame in dataset.frames(index, camera)]
        encoded = rerun.EncodedImage.columns(blob=images, media_type=["image/png"] * length)
        send(f"cameras/{camera}", encoded)
    curves = {"action": (ACTION, spec.action.names), "state": (STATE, spec.state_names)}
    curves |= {"reward": (REWARD, ("",)), "success": (SUCCESS, ("",))}
    for entity, (column, names) in curves.items():
        if column not in columns or not names:
            continue
        values = columns[column].astype(np.float64).reshape(length, -1)
        for name, curve in zip(names, values.T, strict=True):
            send(f"{entity}/{name}" if name else entity, rerun.Scalars.columns(scalars=curve))
    recording.flush()
    recording.disconnect()
