"""The folder that an evaluation works in: old results give way to whole ones, and the evaluated
agent stays."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyparts.core.storage.atomic import replace_folder
from manyparts.core.storage.locked_folder import MANIFEST, holds, locked_folder
from manyparts.core.storage.locks import LOCK, LOCK_FILES, hold
from manyparts.evaluation.episodes import EvaluationConfig
from manyparts.evaluation.results import RESULTS
from manyparts.models.run_files import CHECKPOINTS, CONFIG, WEIGHTS

EPISODES = "episodes.jsonl"
VIDEOS = "videos"
_AGENT = ".agent"  # the files of the checkpoint, while it is evaluated
_OURS = (EPISODES, RESULTS, MANIFEST, VIDEOS, _AGENT, *LOCK_FILES)
_WAY_OUT = (
    "if the run was trained on since, or these settings are the right ones, --overwrite evaluates again and then "
    "replaces the old results; or choose another output"
)


@contextlib.contextmanager
def results_in(folder: Path, conditions: Mapping[str, Any], *, overwrite: bool) -> Iterator[Path]:
    """The folder to work in: that of the results. To overwrite others it is one next to it, which
    takes its name when the block ends well; until then the old results are whole."""
    if not overwrite or not (folder / MANIFEST).exists() or holds(folder, conditions):
        with locked_folder(folder, conditions, way_out=_WAY_OUT):
            yield folder
        return
    folder = Path(os.path.abspath(folder))  # a name of its own, whatever it was called
    fresh = folder.with_name(f".{folder.name}.next")
    with hold(folder / LOCK, what=str(folder)):
        if not holds(fresh, conditions):
            _discard(fresh)
        with locked_folder(fresh, conditions):
            yield fresh
        for path in folder.iterdir():  # what is not ours stays
            if path.name not in _OURS and not (fresh / path.name).exists():
                path.rename(fresh / path.name)
        replace_folder(fresh, folder)


@contextlib.contextmanager
def kept(config: EvaluationConfig, folder: Path) -> Iterator[EvaluationConfig]:
    """The same with an agent that stays: a run that is still training deletes its older
    checkpoints.

    Its files get second names in the folder of the results; none where that is on another disk.
    """
    own = folder / _AGENT
    shutil.rmtree(own, ignore_errors=True)
    try:
        yield replace(config, agent=own) if _linked(Path(config.agent), own) else config
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _linked(checkpoint: Path, folder: Path) -> bool:
    """Whether a checkpoint of a run has second names in the folder now."""
    if checkpoint.parent.name != CHECKPOINTS:
        return False
    try:
        folder.mkdir()
        for name in (CONFIG, WEIGHTS):
            os.link(checkpoint / name, folder / name)
    except OSError:
        return False
    return True


def _discard(folder: Path) -> None:
    """Remove what an evaluation wrote."""
    for name in _OURS:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
