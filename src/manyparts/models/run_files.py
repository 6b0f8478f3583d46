"""Paths of a run: which checkpoint a path means, and where results of it are written."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from manyparts.core.arguments import path_of
from manyparts.core.errors import SurroundingsWarning, UserError
from manyparts.core.hub import fetch, is_hub
from manyparts.core.naming import NAMES
from manyparts.core.storage.links import pointed_at

CONFIG, WEIGHTS = "config.json", "model.safetensors"
AGENT_FILES = ("config.json", "model.safetensors", "*.onnx", "contract.json", "README.md")
"""Files of an agent on the Hugging Face Hub; nothing else of it is fetched."""
EXPORTED = "policy.onnx"  # instead of weights, in a folder of `manyparts export`
CONTRACT = "contract.json"  # beside it
AGENT = "agent"  # the checkpoint in a folder of `manyparts export --format lerobot`
PROGRAM = ".pt2"  # the ending of a program of torch, which is read by pickle
CHECKPOINTS, LAST, BEST = "checkpoints", "last", "best"
_URL = re.compile(r"[a-z][a-z0-9+.-]+:(/|$)")  # one slash: `Path` drops the second one
SHIPPED = Path(__file__).parents[1] / "weights"


def resolve(path: str | Path, *, needs: Sequence[str] = ()) -> Path:
    """Return the checkpoint folder that `path` means.

    Args:
        path: A checkpoint folder; a run folder, which means its last checkpoint; a policy of
            LeRobot, which means its agent; or the name
            "manyparts/NAME" of a checkpoint that comes with the package ("understudy/NAME" in files
            from before the rename), or an agent of the Hugging Face Hub,
            "hf://owner/name@revision".
        needs: Files that the checkpoint of a run must have besides weights and config.

    Raises:
        UserError: There is none.
    """
    path = path_of(path, "run")
    if folder := shipped(path):
        return folder
    if is_hub(path) and not path.exists():
        return fetch(str(path), "model", files=AGENT_FILES)
    if not path.exists() and _URL.match(str(path)):
        address = re.sub(r"^(\w+):/?", r"\1://", str(path))
        if address.startswith(("ws:", "wss:")):
            raise UserError(
                f"{address} is a server's address; expected ws://HOST:PORT, which `manyparts "
                "evaluate` alone takes"
            )
        raise UserError(
            f"{address} is a URL, but agents are loaded from a disk; "
            "download the run, and pass its folder"
        )
    if last := last_checkpoint(path, needs=needs):
        return last
    if weights_of(path).is_file():
        _require_whole_export(path)
        return path
    if weights_of(path / AGENT).is_file():
        return path / AGENT
    if not path.is_dir():
        raise UserError(f"no run or checkpoint at {path}")
    if (program := path / f"policy{PROGRAM}").is_file():
        raise UserError(
            f"{program} is a program of torch, which torch reads by pickle: torch.export.load; "
            "here, use the run that it was made of, or `manyparts export` with --format onnx"
        )
    _require_whole_export(path)
    raise UserError(f"no checkpoint in {path}: neither checkpoints/last nor {WEIGHTS} is there")


def _require_whole_export(folder: Path) -> None:
    """Raise UserError for an exported policy that lacks one of its files."""
    lacks = [name for name in (EXPORTED, CONTRACT) if not (folder / name).is_file()]
    if len(lacks) == 1 and not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} is an exported policy without {lacks[0]}; export it again")


def weights_of(checkpoint: Path) -> Path:
    """Return the file with the weights of a checkpoint, or of an exported policy."""
    exported = checkpoint / EXPORTED
    return exported if exported.is_file() else checkpoint / WEIGHTS


def last_checkpoint(run: Path, *, needs: Sequence[str] = ()) -> Path | None:
    """Return the checkpoint that a run continues from, the one that checkpoints/last names.

    If that one is missing or incomplete, it is the complete one of the highest step; if there is
    none of these, the target of checkpoints/last.

    Args:
        run: The run's folder.
        needs: Files that a complete checkpoint has besides weights and config.

    Returns:
        The checkpoint's folder, with links resolved; None if there is no checkpoint at all.
    """
    folder = run / CHECKPOINTS
    # A copy of a run may have followed the link `last`, or lost it, and a copied checkpoint may be
    # cut off; hence the search.
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
    """Return a run's checkpoint folders in the order of their steps, without other folders."""
    paths = folder.iterdir() if folder.is_dir() else ()
    steps = [path for path in paths if path.name.isdecimal() and (path / WEIGHTS).exists()]
    # By number: from a million steps on, names have another length, and text order is wrong.
    return sorted(steps, key=lambda path: int(path.name))


def is_whole(folder: Path, needs: Sequence[str] = ()) -> bool:
    """Return whether a checkpoint has all of its files, and its weights in their full length.

    Args:
        folder: The checkpoint, which need not exist.
        needs: Files that it must have besides weights and config.
    """
    weights = folder / WEIGHTS
    if not all((folder / name).is_file() for name in (CONFIG, WEIGHTS, *needs)):
        return False
    try:
        # A safetensors file: the header's length in 8 bytes, the header, then all tensors. Its full
        # length is known without reading the tensors.
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
    """Return the run's folder, for a run or for one of its checkpoints, even a deleted one.

    For any other checkpoint it is the checkpoint's own folder.
    """
    path = Path(path)
    absolute = Path(os.path.abspath(path))
    named_as_step = absolute.name in (LAST, BEST) or absolute.name.isdecimal()
    is_step = named_as_step and absolute.parent.name == CHECKPOINTS
    is_run = (path / CHECKPOINTS).exists()  # a run may be called 10, in a folder called checkpoints
    return absolute.parents[1] if is_step and not is_run else path


def results_folder(path: str | Path, kind: str) -> Path:
    """Return the default folder of an agent's results, such as `RUN/evaluation`.

    Results of one checkpoint of a run go to `RUN/evaluation-000300`, because the run deletes the
    checkpoint's own folder in time, and of its best one to `RUN/evaluation-best`. Those of an agent
    that comes with the package go to runs/NAME.

    Args:
        path: A run, a checkpoint, or the name of an agent that comes with the package.
        kind: The results' name, such as "evaluation".

    Raises:
        UserError: No agent of that name comes with the package.
    """
    if shipped(path):
        return Path("runs") / Path(path).name / kind
    path = path_of(path, "run")
    if is_hub(path) and not path.exists():
        return Path("runs") / path.name.partition("@")[0] / kind
    run = run_of(path)
    if run == path:
        return path / kind
    relative = Path(os.path.relpath(run)) if not path.is_absolute() else run
    absolute = Path(os.path.abspath(path))
    return relative / f"{kind}-{pointed_at(absolute) or absolute.name}"


def shipped(path: str | Path) -> Path | None:
    """Return the package's own checkpoint of that name; a folder of the user's has precedence."""
    # Of the form OWNER/NAME; a path with more parts is never one, since names have no slash.
    owner, _, name = Path(path).as_posix().partition("/")
    if owner not in NAMES or Path(path).exists():
        return None
    names = sorted(weights.parent.name for weights in SHIPPED.glob(f"*/{WEIGHTS}"))
    if name not in names:
        raise UserError(
            f"no checkpoint {path} comes with this version; choices: {', '.join(names) or 'none'}"
        )
    return SHIPPED / name
