"""Checkpoints of weights: a folder with config.json and model.safetensors, written whole and read
strictly."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from manyparts.core.errors import UserError
from manyparts.core.printing import first_of
from manyparts.core.spec import Spec, TaskEntry
from manyparts.core.storage.atomic import (
    disk_error,
    rename_into_place,
    replace_folder,
    temporary_folder,
)
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.run_files import CONFIG, WEIGHTS
from manyparts.models.run_files import SHIPPED as SHIPPED
from manyparts.models.run_files import resolve as resolve

_NAMED = 5


@dataclass(frozen=True)
class CheckpointInfo:
    """What weights need beside them to act, and where they come from.

    embodiments: in the order of the weights. model, objectives, window: configs as plain JSON
    values. provenance: commit, versions, dataset fingerprint, seed and so on, as JSON values.
    """

    embodiments: tuple[Embodiment, ...]
    model: Mapping[str, Any]
    objectives: Mapping[str, Any]
    window: Mapping[str, Any]
    provenance: Mapping[str, Any]

    def __repr__(self) -> str:
        bodies = "; ".join(embodiment.spec.summary() for embodiment in self.embodiments)
        return f"CheckpointInfo({self.model.get('type')} of {len(self.tasks)} tasks; {bodies})"

    @property
    def embodiment_set(self) -> EmbodimentSet:
        """The embodiments as the model knows them."""
        return EmbodimentSet(tuple(embodiment.spec for embodiment in self.embodiments))

    def embodiment_of(self, spec: Spec, complaint: str) -> Embodiment:
        """The one of this spec; see `EmbodimentSet.index`."""
        return self.embodiments[self.embodiment_set.index(spec, complaint)]

    @property
    def tasks(self) -> tuple[TaskEntry, ...]:
        """Those trained on, of all embodiments."""
        return tuple(task for embodiment in self.embodiments for task in embodiment.tasks)

    @property
    def trained(self) -> tuple[Embodiment, ...]:
        """The embodiments that this run was trained with: of several those with tasks."""
        alone = len(self.embodiments) == 1
        return tuple(embodiment for embodiment in self.embodiments if alone or embodiment.tasks)

    def to_dict(self) -> dict[str, Any]:
        own = {item.name: getattr(self, item.name) for item in fields(self)}
        return own | {"embodiments": [embodiment.to_dict() for embodiment in self.embodiments]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CheckpointInfo:
        """The inverse of `to_dict`. Raises KeyError or UserError where something is missing or does
        not fit."""
        known = (
            values["embodiments"] if "spec" not in values else [values]
        )  # before mixtures there was but one
        own = {item.name: values[item.name] for item in fields(cls) if item.name != "embodiments"}
        return cls(embodiments=tuple(map(Embodiment.from_dict, known)), **own)


def save_checkpoint(folder: str | Path, module: nn.Module, info: CheckpointInfo) -> None:
    """Write the module's weights and `info` to `folder`, all or nothing; what it held is
    replaced."""
    with fresh_checkpoint(folder) as temporary:
        write_checkpoint(temporary, module.state_dict(), info)


def load_info(folder: str | Path) -> CheckpointInfo:
    """What a checkpoint folder says of itself. Raises UserError naming the file that is missing or
    torn."""
    path = Path(folder) / CONFIG
    try:
        return CheckpointInfo.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"no checkpoint at {folder}: {path} is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not a checkpoint's description: {_first_line(error)}"
        ) from error


def load_weights(
    module: nn.Module,
    folder: str | Path,
    *,
    may_miss: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> set[str]:
    """Copy the weights of a checkpoint folder into `module`, on whatever device it is; the names of
    all that it has.

    may_miss: patterns of names that the checkpoint may lack, whose fresh values stay. ignore:
    patterns of names that only the checkpoint has. Raises UserError listing all other missing,
    unexpected and mis-shaped weights; the module is then unchanged.
    """
    path, ours = Path(folder) / WEIGHTS, module.state_dict()
    theirs = read_weights(path)
    missing = [name for name in ours if name not in theirs and not matches(name, may_miss)]
    unexpected = [name for name in sorted(theirs) if name not in ours and not matches(name, ignore)]
    shared = {name: theirs[name] for name in ours if name in theirs}
    shapes = {
        name: (tuple(tensor.shape), tuple(ours[name].shape)) for name, tensor in shared.items()
    }
    misshaped = [
        f"{name} {there} for {here}" for name, (there, here) in shapes.items() if there != here
    ]
    found = {"missing": missing, "unexpected": unexpected, "of another shape": misshaped}
    if complaints := [f"{kind}: {_some(names)}" for kind, names in found.items() if names]:
        raise UserError(f"{path} does not fit the model; {'; '.join(complaints)}")
    module.load_state_dict(shared, strict=False)
    return set(shared)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises UserError naming the file if it is missing or
    torn."""
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise UserError(f"no weights: {path} is missing") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read: {_first_line(error)}") from error


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a parameter's name fits one of the shell-style patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@contextlib.contextmanager
def fresh_checkpoint(folder: str | Path) -> Iterator[Path]:
    """A temporary folder to fill, which takes the name `folder` when the block ends well and goes
    when it does not.

    Raises UserError if the disk is full.
    """
    folder = Path(folder)
    temporary = temporary_folder(folder)
    try:
        yield temporary
        _flush_to_disk(temporary)
        if not rename_into_place(temporary, folder):
            replace_folder(temporary, folder)
    except OSError as error:
        raise disk_error(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_checkpoint(folder: Path, weights: Mapping[str, Tensor], info: CheckpointInfo) -> None:
    """Put config.json and model.safetensors into an existing folder."""
    try:
        safetensors.torch.save_file(_apart(weights), folder / WEIGHTS)
    except SafetensorError as error:
        raise _as_os_error(error) from error
    (folder / CONFIG).write_text(json.dumps(info.to_dict(), indent=1), encoding="utf-8")
    shutil.copymode(folder / CONFIG, folder / WEIGHTS)  # safetensors writes for the owner alone


def _apart(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors, no two of which share memory: tied weights are written twice."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in weights.items():
        address = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.detach().clone() if address in seen else tensor.detach()
        apart[name] = apart[name].contiguous()
        seen.add(address)
    return apart


def _as_os_error(error: SafetensorError) -> Exception:
    """safetensors tells of a disk that refuses (full, over quota) in words only."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else error


def _flush_to_disk(folder: Path) -> None:
    """So that a name never stands for content which a power failure takes away."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _some(names: Sequence[str]) -> str:
    return first_of(names, _NAMED)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
