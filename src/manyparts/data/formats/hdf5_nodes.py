"""Groups and arrays of an opened HDF5 file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Group:
    """A group of an opened file."""

    id: Any
    """h5py's low-level object, several times faster than `h5py.Group`."""
    name: str
    """The group's path."""


@dataclass(frozen=True, slots=True)
class Array:
    """An array of an opened file that is not read yet."""

    id: Any
    """h5py's low-level object."""
    name: str
    """The array's path."""
    shape: tuple[int, ...]
    """The array's shape."""
    dtype: np.dtype
    """The array's dtype; object for what numpy has no type for."""

    @property
    def external(self) -> str:
        """Why its numbers are not in this file, so that it is not read; "" if they are."""
        import h5py

        settings = self.id.get_create_plist()
        if settings.get_layout() == h5py.h5d.VIRTUAL or settings.get_external_count():
            return "lies in other files, which are not read"
        return ""


def node_of(id: Any, name: str) -> Group | Array | None:
    """h5py's low-level object as a group or an array; None for other kinds."""
    import h5py

    if isinstance(id, h5py.h5g.GroupID):
        return Group(id, name)
    if not isinstance(id, h5py.h5d.DatasetID):
        return None
    try:
        return Array(id, name, tuple(id.shape or ()), id.dtype)
    except TypeError:  # no numpy type for it
        return Array(id, name, tuple(id.shape or ()), np.dtype("O"))


def holds_bytes(array: Array) -> bool:
    """Whether each row of an array is a string of bytes, as encoded images are stored."""
    if len(array.shape) == 2:
        return array.dtype == np.uint8
    if len(array.shape) != 1:
        return False
    if array.dtype.kind == "O":
        import h5py

        kind = h5py.check_vlen_dtype(array.dtype)
        return kind is not None and np.dtype(kind) == np.uint8
    return array.dtype.kind == "S" or (array.dtype.kind == "V" and array.dtype.names is None)
