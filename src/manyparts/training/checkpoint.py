"""Checkpoints of training: weights to act with, and the state from which training resumes."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from manyparts.core.errors import UserError
from manyparts.core.storage.links import point_at
from manyparts.models.checkpoint import CheckpointInfo, fresh_checkpoint, write_checkpoint
from manyparts.models.run_files import CHECKPOINTS, CONFIG, LAST, WEIGHTS, last_checkpoint, numbered
from manyparts.training.distributed.sharding import part, whole
from manyparts.training.metrics import Meter
from manyparts.training.optimizer import trained
from manyparts.training.update import Learner

STATE = "training_state.pt"
KEPT_CHECKPOINTS = 2


def save(
    run: Path,
    step: int,
    learner: Learner,
    meter: Meter,
    info: CheckpointInfo,
    *,
    source: Mapping[str, Any] | None = None,
) -> Path:
    """Write checkpoints/{step}, point `last` at it, then remove all but the newest few.

    A kill at any moment leaves `last` at a whole checkpoint. All ranks call this function, and rank
    0 writes whole tensors, so that any number of processes can continue from them.
    model.safetensors holds the averaged weights, if there are any; training_state.pt then holds the
    trained ones.

    Args:
        run: the run's folder.
        step: how many steps are done.
        learner: the system and its optimiser.
        meter: the running means.
        info: the description that the checkpoint carries.
        source: the state of what batches are drawn from, see `WindowSource.state`.

    Returns:
        The checkpoint's folder.

    Raises:
        UserError: the disk is full.
    """
    folder = run / CHECKPOINTS / f"{step:06d}"
    state: dict[str, Any] = {
        "step": step,
        "optimizer": _whole_state(learner.optimizer),
        "meter": meter.sums,
    }
    if source:
        state["source"] = dict(source)
    weights = {name: whole(tensor) for name, tensor in learner.system.state_dict().items()}
    if learner.averages is not None:
        state["weights"] = {name: weights[name] for name in learner.averages.values}
        weights |= {name: whole(tensor) for name, tensor in learner.averages.values.items()}
    if not learner.ranks.first:
        return folder
    with fresh_checkpoint(folder) as temporary:
        write_checkpoint(temporary, weights, info)
        _save_state(state, temporary / STATE)
    if (folder.parent / LAST).is_dir() and not (folder.parent / LAST).is_symlink():
        _put_aside(folder.parent / LAST)
    point_at(folder.parent / LAST, folder.name)
    _prune(folder.parent, folder)
    return folder


def last(run: Path) -> Path | None:
    """The checkpoint to resume from, or None before the first."""
    return last_checkpoint(run, needs=(STATE,))


def restore(folder: Path, learner: Learner) -> tuple[int, Meter]:
    """Bring a learner to the state of a checkpoint. Its system has the weights already.

    Args:
        folder: the checkpoint's.
        learner: a learner of the same config. It is changed in place.

    Returns:
        How many steps are done, and the running means.
    """
    state = _load_state(folder / STATE)
    # The system was built with the checkpoint's weights, which are the averages if there are any:
    # `learner.averages` started from them, and the system still needs the trained weights.
    if learner.averages is not None:
        own = trained(learner.system)
        with torch.no_grad():
            for name in learner.averages.values:
                own[name].copy_(part(state["weights"][name], own[name]))
    _load_parts(learner.optimizer, state["optimizer"])
    return state["step"], Meter(
        {name: (total, count) for name, (total, count) in state["meter"].items()}
    )


def source_state(folder: Path) -> dict[str, Any]:
    """The state of what batches are drawn from, as a checkpoint holds it; empty for fixed data."""
    return _load_state(folder / STATE).get("source", {})


def _whole_state(optimizer: Optimizer) -> dict[str, Any]:
    """The optimiser's state with whole tensors, as if one process held it."""
    state = optimizer.state_dict()
    entries = {
        number: {
            name: whole(value) if isinstance(value, Tensor) else value
            for name, value in entry.items()
        }
        for number, entry in state["state"].items()
    }
    return state | {"state": entries}


def _load_parts(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Give each process its part of whole optimiser state; the inverse of `_whole_state`."""
    parameters = list(chain.from_iterable(group["params"] for group in optimizer.param_groups))
    entries = {
        number: {
            name: part(value, parameters[number])
            if value.shape == parameters[number].shape
            else value
            for name, value in entry.items()
        }
        for number, entry in state["state"].items()
    }
    optimizer.load_state_dict(state | {"state": entries})


def _save_state(state: dict[str, Any], path: Path) -> None:
    with path.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            cause = error.__context__  # torch wraps what the file raised, such as a full disk
            raise (cause if isinstance(cause, OSError) else error) from None


def _load_state(path: Path) -> dict[str, Any]:
    try:
        return torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except Exception as error:  # reading half a file may raise anything
        raise UserError(
            f"{path} cannot be read: {type(error).__name__}; the run cannot be resumed from it"
        ) from error


def _put_aside(last: Path) -> None:
    """Rename `last`, which is a folder if a copy of the run followed the link, to its own step."""
    try:
        name = f"{_load_state(last / STATE)['step']:06d}"
    except (UserError, KeyError):
        name = "last-copied"
    if (last.parent / name).exists():
        _delete(last)
        name = "last-copied"
    if last.exists():
        last.rename(_free(last.parent / name))


def _free(path: Path) -> Path:
    """The path if nothing is there, else the first one with a number where nothing is."""
    names = (path, *(path.with_name(f"{path.name}-{number}") for number in range(2, 1000)))
    return next(name for name in names if not name.exists())


def _prune(folder: Path, newest: Path) -> None:
    """Remove older checkpoints, and those of later steps: a run that resumed from an earlier `last`
    leaves them behind."""
    steps = numbered(folder)
    kept = [path for path in steps if int(path.name) <= int(newest.name)][-KEPT_CHECKPOINTS:]
    for path in folder.iterdir():
        if ".partial-" in path.name:  # left by a kill
            shutil.rmtree(path, ignore_errors=True)
    for path in steps:
        if path not in kept:
            _delete(path)


def _delete(checkpoint: Path) -> None:
    """Remove the files that training wrote, and the folder unless there is something else in it,
    such as results."""
    with contextlib.suppress(OSError):
        for name in (WEIGHTS, STATE, CONFIG):  # weights first: without them it is no checkpoint
            (checkpoint / name).unlink(missing_ok=True)
        checkpoint.rmdir()
