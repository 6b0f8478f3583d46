"""Checkpoints of training: weights to act with, and all that goes on to the same loss sequence."""

from __future__ import annotations

import io
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from understudy.models.checkpoint import (
    CheckpointInfo,
    fresh_checkpoint,
    load_weights,
    resolve,
    write_checkpoint,
)
from understudy.training.metrics import Meter
from understudy.training.update import Learner
from understudy.types import UserError

STATE = "training_state.pt"
KEPT = 2


def save(run: Path, step: int, learner: Learner, meter: Meter, info: CheckpointInfo) -> Path:
    """Write checkpoints/{step}, point `last` at it, then remove all but the newest few. A kill at any moment leaves
    `last` at a whole checkpoint. Raises UserError if the disk is full.

    model.safetensors holds the averaged weights where there are any; training_state.pt then has the others.
    """
    folder = run / "checkpoints" / f"{step:06d}"
    state: dict[str, Any] = {"step": step, "optimizer": learner.optimizer.state_dict(), "meter": meter.sums}
    weights = dict(learner.system.state_dict())
    if learner.averages is not None:
        state["weights"] = {name: weights[name] for name in learner.averages.values}
        weights |= learner.averages.values
    with fresh_checkpoint(folder) as temporary:
        write_checkpoint(temporary, weights, info)
        _save_state(state, temporary / STATE)
    _point_at(folder.parent / "last", folder.name)
    _prune(folder.parent, folder)
    return folder


def last(run: Path) -> Path | None:
    """The checkpoint to resume from, or None before the first."""
    return resolve(run) if (run / "checkpoints" / "last").exists() else None


def restore(folder: Path, learner: Learner) -> tuple[int, Meter]:
    """Bring the learner to the state of a checkpoint. Returns how many steps are done, and the running means."""
    state = _load_state(folder / STATE)
    load_weights(learner.system, folder)
    if learner.averages is not None:
        learner.averages.load(learner.system.state_dict())
        learner.system.load_state_dict(state["weights"], strict=False)
    learner.optimizer.load_state_dict(state["optimizer"])
    return state["step"], Meter({name: (total, count) for name, (total, count) in state["meter"].items()})


def _save_state(state: dict[str, Any], path: Path) -> None:
    with path.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch wraps what the file raised
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def _load_state(path: Path) -> dict[str, Any]:
    try:
        return torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} cannot be read: {type(error).__name__}; the run cannot be resumed from it") from error


def _point_at(link: Path, name: str) -> None:
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(name, target_is_directory=True)
    os.replace(fresh, link)


def _prune(folder: Path, newest: Path) -> None:
    """Remove older checkpoints, and those of later steps that a run resumed from `last` has left behind."""
    numbered = sorted(path for path in folder.iterdir() if path.name.isdigit())
    kept = [path for path in numbered if path.name <= newest.name][-KEPT:]
    torn = [path for path in folder.iterdir() if ".partial-" in path.name]
    for path in [*torn, *(path for path in numbered if path not in kept)]:
        shutil.rmtree(path, ignore_errors=True)
