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
from manyparts.rollout.mailbox import MAILBOXES

EPISODES = "episodes.jsonl"
VIDEOS = "videos"
_AGENT = ".agent"  # the files of the checkpoint, while it is evaluated
_OWN_FILES = (EPISODES, RESULTS, MANIFEST, VIDEOS, _AGENT, MAILBOXES, *LOCK_FILES)
_WAY_OUT = (
    "if the run was trained on since, or these settings are the right ones, --overwrite evaluates "
    "again and then replaces the old results; or choose another output"
)


@contextlib.contextmanager
def results_in(folder: Path, conditions: Mapping[str, Any], *, overwrite: bool) -> Iterator[Path]:
    """The folder to work in.

    It is that of the results. To overwrite results of other conditions it is one next to it, which
    takes its name when the block ends well; until then the old results are whole.

    Args:
        folder: where the results should be.
        conditions: what decides the results, as JSON values.
        overwrite: whether results of other conditions may be replaced.

    Raises:
        UserError: the folder has results of other conditions, or another process works in it.
    """
    if not overwrite or not (folder / MANIFEST).exists() or holds(folder, conditions):
        with locked_folder(folder, conditions, way_out=_WAY_OUT):
            yield folder
        return
    folder = Path(os.path.abspath(folder))  # it gets a name of its own, which "." has not
    fresh = folder.with_name(f".{folder.name}.next")
    with hold(folder / LOCK, what=str(folder)):
        if not holds(fresh, conditions):
            _discard(fresh)
        with locked_folder(fresh, conditions):
            yield fresh
        for path in folder.iterdir():  # files of the user's stay
            if path.name not in _OWN_FILES and not (fresh / path.name).exists():
                path.rename(fresh / path.name)
        replace_folder(fresh, folder)


@contextlib.contextmanager
def linked_agent(config: EvaluationConfig, folder: Path) -> Iterator[EvaluationConfig]:
    """Yield the same evaluation with an agent that stays: a run that is still training deletes its
    older checkpoints.

    The checkpoint's files get second names in the folder of the results. Where that is on another
    disk, the agent is the run's own.

    Args:
        config: the evaluation.
        folder: the folder of its results. The second names are deleted at the end.
    """
    assert isinstance(config.agent, Path), config.agent
    own = folder / _AGENT
    shutil.rmtree(own, ignore_errors=True)
    try:
        yield replace(config, agent=own) if _is_linked(Path(config.agent), own) else config
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _is_linked(checkpoint: Path, folder: Path) -> bool:
    """Give the files of a run's checkpoint second names in the folder; whether that worked."""
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
    for name in _OWN_FILES:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
