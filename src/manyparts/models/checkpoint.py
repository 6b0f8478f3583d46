"""Checkpoints: folders with config.json and model.safetensors, which are written atomically."""

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
from manyparts.embodiment.views.view import View
from manyparts.models.run_files import CONFIG, WEIGHTS
from manyparts.models.run_files import SHIPPED as SHIPPED
from manyparts.models.run_files import resolve as resolve

_MAX_NAMES = 5  # in an error


@dataclass(frozen=True)
class CheckpointInfo:
    """What is needed next to weights in order to act, and where the weights come from."""

    embodiments: tuple[Embodiment, ...]
    """In the order of the weights."""

    model: Mapping[str, Any]
    """The model's config, as JSON values."""

    objectives: Mapping[str, Any]
    """Configs of the objectives by their names, as JSON values."""

    window: Mapping[str, Any]
    """The config of windows, as JSON values."""

    provenance: Mapping[str, Any]
    """Commit, versions, dataset fingerprint, seed and so on, as JSON values."""

    def __repr__(self) -> str:
        summaries = "; ".join(embodiment.spec.summary() for embodiment in self.embodiments)
        return f"CheckpointInfo({self.model.get('type')} of {len(self.tasks)} tasks; {summaries})"

    @property
    def embodiment_set(self) -> EmbodimentSet:
        """The embodiments as one set, as the model sees them."""
        return EmbodimentSet(tuple(embodiment.spec for embodiment in self.embodiments))

    def embodiment_of(self, spec: Spec, complaint: str) -> Embodiment:
        """Return the embodiment of a spec; see `EmbodimentSet.index`.

        Args:
            spec: Of a dataset or an environment.
            complaint: The start of the error's message.

        Raises:
            UserError: The spec is of none of these embodiments, or may be of several.
        """
        return self.embodiments[self.embodiment_set.index(spec, complaint)]

    def view_of(self, spec: Spec) -> View | None:
        """Return the view through which the model sees a dataset or an environment.

        Args:
            spec: Of the dataset or the environment.

        Returns:
            None if it sees it as it is, or not at all.
        """
        sources = [embodiment.source_of(spec) for embodiment in self.embodiments]
        return next((source.view for source in sources if source is not None), None)

    @property
    def tasks(self) -> tuple[TaskEntry, ...]:
        """The tasks that were trained on, of all embodiments."""
        tasks: list[TaskEntry] = []
        for embodiment in self.embodiments:
            tasks += embodiment.tasks
        return tuple(tasks)

    @property
    def trained(self) -> tuple[Embodiment, ...]:
        """The embodiments that this run was trained with: of several, those with tasks."""
        # A fine-tuning run keeps the embodiments of the run before it, as it has their weights, but
        # without tasks. A single embodiment may have no tasks on record.
        alone = len(self.embodiments) == 1
        return tuple(embodiment for embodiment in self.embodiments if alone or embodiment.tasks)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of config.json."""
        own = {item.name: getattr(self, item.name) for item in fields(self)}
        return own | {"embodiments": [embodiment.to_dict() for embodiment in self.embodiments]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CheckpointInfo:
        """Invert `to_dict`.

        Raises:
            KeyError: Something is missing.
            UserError: Something does not fit.
        """
        # Before runs could have several embodiments, the one stood in the file itself.
        embodiments = values["embodiments"] if "spec" not in values else [values]
        own = {item.name: values[item.name] for item in fields(cls) if item.name != "embodiments"}
        return cls(embodiments=tuple(map(Embodiment.from_dict, embodiments)), **own)


def save_checkpoint(folder: str | Path, module: nn.Module, info: CheckpointInfo) -> None:
    """Write weights and `info` to a folder, all or nothing. What it held is replaced.

    Args:
        folder: The checkpoint's folder.
        module: Has the weights.
        info: The description that is saved next to them.

    Raises:
        UserError: The disk is full.
    """
    with fresh_checkpoint(folder) as temporary:
        write_checkpoint(temporary, module.state_dict(), info)


def load_info(folder: str | Path) -> CheckpointInfo:
    """Return the description of a checkpoint folder.

    Raises:
        UserError: The file is missing or damaged; the error names it.
    """
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
    keep: Sequence[str] = (),
) -> set[str]:
    """Copy the weights of a checkpoint folder into `module`, whatever device it is on.

    Args:
        module: Is unchanged if there is an error.
        folder: The checkpoint.
        may_miss: Patterns of names that the checkpoint may lack; the module's values stay.
        ignore: Patterns of names that only the checkpoint has.
        keep: Patterns of names of which the module keeps its values.

    Returns:
        Names of the weights that were copied.

    Raises:
        UserError: Any other weights are missing, unexpected or of another shape; all are listed.
    """
    path, own = Path(folder) / WEIGHTS, module.state_dict()
    saved = read_weights(path)
    saved = {name: tensor for name, tensor in saved.items() if not matches(name, keep)}
    missing = [name for name in own if name not in saved and not matches(name, may_miss)]
    unexpected = [name for name in sorted(saved) if name not in own and not matches(name, ignore)]
    common = {name: saved[name] for name in own if name in saved}
    misshaped = []
    for name, tensor in common.items():
        saved_shape, own_shape = tuple(tensor.shape), tuple(own[name].shape)
        if saved_shape != own_shape:
            misshaped.append(f"{name} {saved_shape} for {own_shape}")
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": misshaped}
    if complaints := [f"{kind}: {_some(names)}" for kind, names in problems.items() if names]:
        raise UserError(f"{path} does not fit the model; {'; '.join(complaints)}")
    # torch's own check is off because the checks above are stricter and know the exceptions.
    module.load_state_dict(common, strict=False)
    return set(common)


def load_trunk(module: nn.Module, folder: str | Path, patterns: Sequence[str]) -> set[str]:
    """Copy some weights of a checkpoint folder into `module`.

    Args:
        module: Keeps its values elsewhere.
        folder: The checkpoint.
        patterns: Of the names of the weights to copy; see `matches`.

    Returns:
        Names of the weights that were copied.

    Raises:
        UserError: The checkpoint lacks one, or has it in another shape.
    """
    path = Path(folder) / WEIGHTS
    own = {name: value for name, value in module.state_dict().items() if matches(name, patterns)}
    saved = read_weights(path)
    missing = [name for name in own if name not in saved]
    misshaped = [name for name in own if name in saved and saved[name].shape != own[name].shape]
    problems = {"missing": missing, "of another shape": misshaped}
    if complaints := [f"{kind}: {_some(names)}" for kind, names in problems.items() if names]:
        raise UserError(f"{path} has no trunk that fits the model; {'; '.join(complaints)}")
    copied = {name: saved[name] for name in own}
    module.load_state_dict(copied, strict=False)
    return set(copied)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        UserError: The file is missing or damaged; the error names it.
    """
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise UserError(f"no weights: {path} is missing") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read: {_first_line(error)}") from error


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a parameter's name matches one of the patterns.

    Args:
        name: The parameter's name, such as "blocks.0.attention.query.weight".
        patterns: In the style of a shell, with `*`, `?` and `[...]`; upper and lower case differ.
    """
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@contextlib.contextmanager
def fresh_checkpoint(folder: str | Path) -> Iterator[Path]:
    """Return a temporary folder to fill, as a context manager.

    When the block ends without an error, it becomes `folder`; otherwise it is deleted.

    Raises:
        UserError: The disk is full.
    """
    folder = Path(folder)
    temporary = temporary_folder(folder)
    try:
        yield temporary
        _flush_to_disk(temporary)
        # A folder that is not empty cannot be renamed over: it is moved out of the way first.
        if not rename_into_place(temporary, folder):
            replace_folder(temporary, folder)
    except OSError as error:
        raise disk_error(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_checkpoint(folder: Path, weights: Mapping[str, Tensor], info: CheckpointInfo) -> None:
    """Put config.json and model.safetensors into an existing folder.

    Args:
        folder: The folder.
        weights: Tensors by their names. Those that share memory are each written in full.
        info: The content of config.json.

    Raises:
        OSError: The disk refuses, such as when it is full.
    """
    try:
        safetensors.torch.save_file(_apart(weights), folder / WEIGHTS)
    except SafetensorError as error:
        raise _as_os_error(error) from error
    (folder / CONFIG).write_text(json.dumps(info.to_dict(), indent=1), encoding="utf-8")
    # safetensors makes its file readable for the owner alone.
    shutil.copymode(folder / CONFIG, folder / WEIGHTS)


def _apart(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors of which no two share memory, as safetensors demands.

    Tied weights are copied, and so written twice.
    """
    seen: set[int] = set()
    apart = {}
    for name, tensor in weights.items():
        # By storage, since two views of one tensor have addresses of their own.
        address = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.detach().clone() if address in seen else tensor.detach()
        apart[name] = apart[name].contiguous()
        seen.add(address)
    return apart


def _as_os_error(error: SafetensorError) -> Exception:
    """Return the OSError in an error of safetensors, if it is one.

    When a disk refuses (full, over quota), safetensors says so in words only.
    """
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else error


def _flush_to_disk(folder: Path) -> None:
    """Make sure that a power failure after the renaming loses no content."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _some(names: Sequence[str]) -> str:
    return first_of(names, _MAX_NAMES)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
