"""Where a run's checkpoints and results lie: which checkpoint a path means, and where what is made
of it goes."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from manyparts.core.arguments import path_of
from manyparts.core.errors import SurroundingsWarning, UserError
from manyparts.core.naming import NAMES
from manyparts.core.storage.links import pointed_at

CONFIG, WEIGHTS = "config.json", "model.safetensors"
CHECKPOINTS, LAST = "checkpoints", "last"
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/")  # a Path has lost the second slash
SHIPPED = Path(__file__).parents[1] / "weights"


def resolve(path: str | Path, *, needs: Sequence[str] = ()) -> Path:
    """The checkpoint folder that `path` means.

    It may be one itself, a run folder, of which it is the last, or by its name "manyparts/NAME" (or
    "understudy/NAME", as runs from before the rename have it) one that comes with the package.

    Args:
        needs: files that the checkpoint of a run must hold besides weights and config.

    Raises:
        UserError: there is none.
    """
    path = path_of(path, "run")
    if shipped := _shipped(path):
        return shipped
    if not path.exists() and _URL.match(str(path)):
        raise UserError(
            f"{path} is no folder: agents are loaded from a disk; download the run, and give its folder"
        )
    if last := last_checkpoint(path, needs=needs):
        return last
    if (path / WEIGHTS).is_file():
        return path
    if not path.is_dir():
        raise UserError(f"no run or checkpoint at {path}")
    raise UserError(f"no checkpoint in {path}: neither checkpoints/last nor {WEIGHTS} is there")


def last_checkpoint(run: Path, *, needs: Sequence[str] = ()) -> Path | None:
    """The checkpoint that a run goes on from: the one that checkpoints/last stands for.

    A copy of a run may have followed that link or lost it, and a copied checkpoint may be cut off.
    Then it is the whole one of the highest step; without any, what checkpoints/last is or leads to.
    None if there is none.
    """
    folder = run / CHECKPOINTS
    named = pointed_at(folder / LAST)
    if named is not None and is_whole(folder / named, needs):
        return (folder / named).resolve()
    whole = [path for path in numbered(folder) if is_whole(path, needs)]
    if not whole:
        return (folder / LAST).resolve() if (folder / LAST / WEIGHTS).is_file() else None
    if named is not None:
        warnings.warn(
            f"{folder / named} is missing or incomplete: {whole[-1]} is used",
            SurroundingsWarning,
            stacklevel=2,
        )
    return whole[-1].resolve()


def numbered(folder: Path) -> list[Path]:
    """A run's checkpoint folders, in the order of their steps. Other folders are left out."""
    found = folder.iterdir() if folder.is_dir() else ()
    steps = [path for path in found if path.name.isdecimal() and (path / WEIGHTS).exists()]
    return sorted(steps, key=lambda path: int(path.name))


def is_whole(folder: Path, needs: Sequence[str] = ()) -> bool:
    """Whether a folder holds weights of their full length, their config, and these files."""
    weights = folder / WEIGHTS
    if not all((folder / name).is_file() for name in (CONFIG, WEIGHTS, *needs)):
        return False
    try:
        with weights.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            begin = file.tell()
        ends = [
            entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"
        ]
        return weights.stat().st_size >= begin + max(ends, default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError):
        return False


def run_of(path: str | Path) -> Path:
    """The run's folder, of a run or of one of its checkpoints, also of one that is deleted by now;
    of any other checkpoint its own folder."""
    path = Path(path)
    whole = Path(os.path.abspath(path))
    is_step = (whole.name == LAST or whole.name.isdecimal()) and whole.parent.name == CHECKPOINTS
    is_run = (path / CHECKPOINTS).exists()  # a run may be called 10, in a folder called checkpoints
    return whole.parents[1] if is_step and not is_run else path


def results_folder(path: str | Path, kind: str) -> Path:
    """Where results of an agent go, where nobody says otherwise, such as `RUN/evaluation`.

    Those of one checkpoint of a run are in `RUN/evaluation-000300`: its own folder is deleted in
    time by the run. Those of an agent that comes with the package are in runs/NAME.
    """
    if _shipped(path):
        return Path("runs") / Path(path).name / kind
    path = path_of(path, "run")
    run = run_of(path)
    if run == path:
        return path / kind
    relative = Path(os.path.relpath(run)) if not path.is_absolute() else run
    whole = Path(os.path.abspath(path))
    return relative / f"{kind}-{pointed_at(whole) or whole.name}"


def _shipped(path: str | Path) -> Path | None:
    """The folder of the package's own checkpoint of that name; a folder of the user's comes
    first."""
    owner, _, name = Path(path).as_posix().partition("/")
    if owner not in NAMES or Path(path).exists():
        return None
    known = sorted(weights.parent.name for weights in SHIPPED.glob(f"*/{WEIGHTS}"))
    if name not in known:
        raise UserError(
            f"no checkpoint {path} comes with this version; choices: {', '.join(known) or 'none'}"
        )
    return SHIPPED / name
