"""Whether what an online run will write fits on its disk, before anything is acted."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.core.printing import counted
from manyparts.core.spec import Spec
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.replay import REPLAY, SOURCES, row_bytes
from manyparts.training.online.job import Job
from manyparts.training.run import Run


def require_room(run: Run, job: Job, spec: Spec, recorded: Mapping[str, tuple[int, ...]]) -> None:
    """Require room for the replay and for the sources' copies, less what is there already.

    Args:
        run: The run, with its folder.
        job: Its schedule, and its prefill.
        spec: Of the environment.
        recorded: Name to the shape of what is noted of each step, see `Replay`.

    Raises:
        UserError: The disk has less room.
    """
    online = job.online
    rows = math.ceil(online.environment_steps / job.seen.action_repeat)
    if job.copies and run.last_checkpoint() is None:
        rows += EpisodeDataset.open(job.prefill).num_frames
    rows = min(rows, online.replay_frames)
    needed = rows * row_bytes(spec, recorded)
    if online.source_windows:
        for dataset in run.sources.datasets:
            needed += dataset.num_frames * row_bytes(dataset.spec, recorded)
    missing = needed - sum(_size(run.output / name) for name in (REPLAY, SOURCES))
    free = shutil.disk_usage(run.output).free
    if missing > free:
        raise UserError(
            f"{counted(rows, 'replayed step')} and their sources need {_shown(needed)}, and the "
            f"disk of {run.output} has {_shown(free)} left; free some, choose another --output, or "
            "keep fewer steps with --replay-frames"
        )


def _shown(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"


def _size(folder: Path) -> int:
    """Bytes of all files below a folder, which need not be there."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
