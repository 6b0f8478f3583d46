"""Find and read the metadata of a Minari dataset: metadata.json, or the HDF5 file's attributes
before Minari 0.5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.naming import NAMES
from manyparts.data.formats.errors import read_json
from manyparts.data.formats.hdf5 import Hdf5File, open_hdf5
from manyparts.data.formats.minari_storage import METADATA, ArrowStorage, Hdf5Storage, Storage

MAIN = "main_data.hdf5"
_SPACES = ("observation_space", "action_space")
_OLD_ATTRIBUTES = ("total_episodes", *_SPACES, "dataset_id", "description", *NAMES)


@dataclass(frozen=True)
class MinariFolder:
    """The folder of a dataset, with its metadata."""

    folder: Path
    """The folder with the episodes."""
    file: Path
    """The file that holds the metadata."""
    metadata: Mapping[str, Any]
    """The metadata by Minari's names."""
    kind: str
    """How episodes are stored: "hdf5", "arrow" or "parquet"."""
    old_file: Hdf5File | None = None
    """The opened HDF5 file, where it holds the metadata itself."""

    def open_storage(self) -> Storage:
        """Open the episodes. Raises UserError for a kind of storage that cannot be read."""
        if self.kind not in ("hdf5", "arrow", "parquet"):
            raise UserError(
                f"{self.folder} has data_format {self.kind!r}; can be read: hdf5, arrow, parquet"
            )
        if self.kind == "hdf5":
            return Hdf5Storage(self.old_file or open_hdf5(self.folder / MAIN))
        return ArrowStorage(self.folder, self.kind)


def is_minari(path: Path) -> bool:
    """Whether a folder is a Minari dataset, or its `data`."""
    return any(
        (folder / MAIN).is_file()
        or ((folder / METADATA).is_file() and "data_format" in read_json(folder / METADATA))
        for folder in (path, path / "data")
    )


def open_folder(path: Path) -> MinariFolder:
    """Read the metadata of a dataset.

    Args:
        path: the folder of the dataset, or its `data`.

    Raises:
        UserError: naming what is missing or torn.
    """
    inner = path / "data"
    folder = inner if (inner / METADATA).is_file() or (inner / MAIN).is_file() else path
    file = folder / METADATA
    if file.is_file():
        metadata = read_json(file)
        return MinariFolder(folder, file, metadata, str(metadata.get("data_format", "hdf5")))
    old = open_hdf5(folder / MAIN)
    root = old.group("")
    metadata = {}
    for name in _OLD_ATTRIBUTES:
        if (value := old.attribute(root, name)) is not None:
            metadata[name] = value
    return MinariFolder(folder, old.path, metadata, "hdf5", old)


def require_spaces(opened: MinariFolder) -> None:
    """Raise UserError if the metadata lacks the space of observations or actions."""
    missing = [name for name in _SPACES if name not in opened.metadata]
    if not missing:
        return
    if opened.old_file is not None:
        raise UserError(
            f"{opened.file} is in Minari's layout before 0.5 (no {METADATA}) and does not say its "
            f"{' and '.join(missing)}: download the dataset again with Minari 0.5 or newer "
            "(`minari download ID`)"
        )
    raise UserError(
        f"{opened.file} does not say its {' and '.join(missing)}: add what "
        "minari.serialization.serialize_space returns for those of the environment"
    )
