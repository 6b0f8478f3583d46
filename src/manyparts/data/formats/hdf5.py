"""Read HDF5 files that are not trusted: read-only, no links to other files, sizes checked first."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.extras import install_command
from manyparts.core.storage.locks import can_be_locked
from manyparts.data.formats.errors import one_line
from manyparts.data.formats.hdf5_nodes import Array, Group, holds_bytes, node_of
from manyparts.data.formats.hdf5_probe import faults_of

_ARRAY_BYTES = 4 * 2**30
_ATTRIBUTE_BYTES = 2**24
_MAX_COMPRESSION = 2000  # no array is so many times larger than the file that holds it
_MAX_MEMBERS = 1_000_000  # of one group
_MAX_ARRAYS, _MAX_DEPTH = 10_000, 8  # below one group
_MAX_LINKS = 16  # soft links that lead to soft links
_ERRORS = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    MemoryError,
    OverflowError,
)


class Hdf5File:
    """An opened file. It can be pickled to another process, which opens it again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._max_bytes = _MAX_COMPRESSION * path.stat().st_size
        self._file: Any = None
        self._opened_root: Any = None

    def find(self, name: str, inside: Group | None = None) -> Group | Array | None:
        """Look up a path below a group; None if there is nothing.

        Soft links are followed inside the file.

        Args:
            name: the path.
            inside: the group that it is relative to; None: the file's root.

        Raises:
            UserError: naming a link that leads out of the file, or to nothing.
        """
        with self.naming_errors():
            return self._walk(inside or self._root(), name, _MAX_LINKS)

    def group(self, name: str, inside: Group | None = None) -> Group:
        """A group by its path. Raises UserError if there is none."""
        node = self.find(name, inside)
        if not isinstance(node, Group):
            raise UserError(f"{self.path} has no group {_join(inside, name)}")
        return node

    def array(self, name: str, inside: Group | None = None) -> Array:
        """An array by its path. Raises UserError if there is none."""
        node = self.find(name, inside)
        if not isinstance(node, Array):
            raise UserError(f"{self.path} has no array {_join(inside, name)}")
        return node

    def names(self, group: Group) -> list[str]:
        """The names of all members of a group, links included."""
        with self.naming_errors():
            count = group.id.get_num_objs()
            if count > _MAX_MEMBERS:
                raise UserError(
                    f"{self.path}: {group.name} has {count} members; "
                    f"at most {_MAX_MEMBERS} are read"
                )
            return [self._text(name, group) for name in group.id]

    def leaves(self, group: Group) -> dict[str, Array]:
        """All arrays below a group, by their paths from there."""
        arrays: dict[str, Array] = {}
        self._collect(group, "", 0, arrays, [0])
        return arrays

    def attributes(self, group: Group) -> list[str]:
        """The names of a group's attributes."""
        import h5py

        with self.naming_errors(f"attributes of {group.name}"):
            if not h5py.h5a.get_num_attrs(group.id):
                return []
            return list(h5py.AttributeManager(h5py.Group(group.id)))

    def attribute(self, group: Group, name: str) -> Any:
        """An attribute's value: text, several texts as a tuple, a number or an array of numbers.

        None if it is something else, or there is no such attribute.
        """
        import h5py

        with self.naming_errors(f"attribute {name} of {group.name}"):
            key = _key(name)
            if not h5py.h5a.exists(group.id, key):
                return None
            attribute = h5py.h5a.open(group.id, key)
            if attribute.get_space().get_simple_extent_type() == h5py.h5s.NULL:
                return None
            if (size := attribute.get_storage_size()) > _ATTRIBUTE_BYTES:
                raise UserError(f"{self.path}: attribute {name} of {group.name} has {size} bytes")
            try:
                dtype = attribute.dtype
            except TypeError:  # no numpy type for it
                return None
            return _plain(h5py.AttributeManager(h5py.Group(group.id))[name], dtype)

    def read(self, array: Array, rows: slice | np.ndarray | None = None) -> np.ndarray:
        """Read an array, or some of its rows.

        Args:
            array: an array of numbers in this file.
            rows: a slice, or ascending indices int (n,); None: all rows.

        Raises:
            UserError: it holds objects, is in other files, is too large, or is torn.
        """
        import h5py

        with self.naming_errors(array.name):
            self._check(array, rows)
            if rows is not None:
                return np.asarray(h5py.Dataset(array.id)[rows])
            values = np.zeros(array.shape, array.dtype)
            if values.size:
                array.id.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
            return values

    def blobs(self, array: Array, rows: slice | np.ndarray | None = None) -> list[bytes]:
        """Read byte strings: rows of uint8, fixed bytes, or one array of its own length per row.

        Args:
            array: an array of this file that `holds_bytes`.
            rows: a slice, or ascending indices int (n,); None: all rows.

        Raises:
            UserError: it holds no bytes, or cannot be read, see `read`.
        """
        import h5py

        if not holds_bytes(array):
            raise UserError(f"{self.path}: {array.name} is {array.dtype} {array.shape}, not bytes")
        with self.naming_errors(array.name):
            self._check(array, rows, lengths_vary=True)
            values = h5py.Dataset(array.id)[() if rows is None else rows]
            if values.dtype.kind in "SV":
                return [bytes(value) for value in values.tolist()]
            return [np.asarray(value, np.uint8).tobytes() for value in values]

    def texts(self, array: Array) -> list[str]:
        """All texts of an array of texts; none of another kind of array."""
        import h5py

        with self.naming_errors(array.name):
            self._check(array, lengths_vary=True)
            is_text = array.dtype.kind == "S" or h5py.check_string_dtype(array.dtype) is not None
            if not is_text or 0 in array.shape:
                return []
            values = np.ravel(np.asarray(h5py.Dataset(array.id)[()], dtype=object)).tolist()
            return [text for value in values if isinstance(text := _plain(value, array.dtype), str)]

    def _text(self, name: bytes, group: Group) -> str:
        """A member's name as text. Raises UserError if it cannot be printed."""
        text = name.decode("utf-8", "replace")
        if not text.isprintable() or text.encode() != name:
            raise UserError(
                f"{self.path}: {group.name} has a member with an unprintable name: {name!r}"
            )
        return text

    @contextmanager
    def naming_errors(self, what: str = "") -> Iterator[None]:
        """Turn h5py's errors into a UserError that names the file and the part that was read."""
        try:
            yield
        except UserError:
            raise
        except _ERRORS as error:
            which = f"{self.path}: {what} cannot be read"
            if not what:
                which = f"{self.path} cannot be read as HDF5"
            raise UserError(f"{which}: {one_line(error)}") from error

    def _check(
        self,
        array: Array,
        rows: slice | np.ndarray | None = None,
        *,
        lengths_vary: bool = False,
    ) -> None:
        """Raise UserError for an array that is not read, or too large. rows: see `read`."""
        if array.dtype.hasobject and not lengths_vary:
            raise UserError(f"{self.path}: {array.name} holds objects, which are not read")
        if array.external:
            raise UserError(f"{self.path}: {array.name} {array.external}")
        size = math.prod(array.shape) * array.dtype.itemsize
        if size > self._max_bytes:
            raise UserError(
                f"{self.path}: {array.name} claims {size} bytes; "
                f"the file can hold {self._max_bytes}"
            )
        size = _count(array, rows) * math.prod(array.shape[1:]) * array.dtype.itemsize
        if size > _ARRAY_BYTES:
            raise UserError(
                f"{self.path}: {array.name} has {size} bytes; "
                f"at most {_ARRAY_BYTES} are read at once"
            )

    def _collect(
        self, group: Group, prefix: str, depth: int, arrays: dict[str, Array], count: list[int]
    ) -> None:
        """Add the arrays below a group to `arrays`. count: [members visited in all groups]."""
        if depth > _MAX_DEPTH:
            raise UserError(f"{self.path}: {group.name} is nested too deep")
        for name in self.names(group):
            count[0] += 1
            if count[0] > _MAX_ARRAYS:
                raise UserError(
                    f"{self.path}: more than {_MAX_ARRAYS} arrays lie below {group.name}"
                )
            with self.naming_errors():
                node = self._child(group, name, _MAX_LINKS)
            if isinstance(node, Group):
                self._collect(node, f"{prefix}{name}/", depth + 1, arrays, count)
            elif isinstance(node, Array):
                arrays[prefix + name] = node

    def _walk(self, group: Group, path: str, links_left: int) -> Group | Array | None:
        node: Group | Array | None = group
        for part in path.split("/"):
            if part in ("", "."):
                continue
            if not isinstance(node, Group):
                return None
            node = self._child(node, part, links_left)
        return node

    def _child(self, group: Group, name: str, links_left: int) -> Group | Array | None:
        from h5py import h5l, h5o  # pyright: ignore

        key, links = _key(name), group.id.links
        if not links.exists(key):
            return None
        kind = links.get_info(key).type
        if kind == h5l.TYPE_HARD:
            return node_of(h5o.open(group.id, key), _join(group, name))
        where = f"{self.path}: {_join(group, name)}"
        if kind != h5l.TYPE_SOFT:
            raise UserError(
                f"{where} is a link to {_link_target(links, key, kind)}, which is not followed; "
                "put all into one file with h5py's copy(..., expand_external=True)"
            )
        target = self._text(links.get_val(key), group)
        if not links_left:
            raise UserError(f"{where} is a link that leads in a circle")
        start = self._root() if target.startswith("/") else group
        node = self._walk(start, target, links_left - 1)
        if node is None:
            raise UserError(f"{where} is a link to {target}, which is missing")
        return node

    def _root(self) -> Group:
        if self._file is None:
            import h5py

            self._file = h5py.File(self.path, "r", locking=can_be_locked(self.path))
            self._opened_root = Group(self._file["/"].id, "")
        return self._opened_root

    def close(self) -> None:
        """Close the file. Its groups and arrays cannot be read after that; it may be read again."""
        if self._file is not None:
            self._file.close()
        self._file = self._opened_root = None

    def __enter__(self) -> Hdf5File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None, "_opened_root": None}


def require_h5py(path: Path) -> None:
    """Raises UserError without h5py."""
    if importlib.util.find_spec("h5py") is None:
        raise UserError(f"{path} is HDF5, which needs h5py: {install_command('formats')}")


def open_hdf5(path: Path) -> Hdf5File:
    """Open a file.

    Raises:
        UserError: without h5py, or if the file is not HDF5, or so torn that libhdf5 would hang or
            crash.
    """
    opened = open_several([path])[path]
    if isinstance(opened, str):
        raise UserError(opened)
    return opened


def open_several(paths: Sequence[Path]) -> dict[Path, Hdf5File | str]:
    """Open files, which one process walks first.

    Returns:
        Each file opened, or why it cannot be: it is not HDF5, or so torn that libhdf5 would hang or
        crash.

    Raises:
        UserError: without h5py.
    """
    if not paths:
        return {}
    require_h5py(paths[0])
    import h5py

    opened: dict[Path, Hdf5File | str] = {}
    for path in paths:
        opened[path] = f"{path} is missing"
        if path.is_file():
            opened[path] = f"{path} is not an HDF5 file, or is torn"
            if h5py.is_hdf5(path):
                opened[path] = Hdf5File(path)
    faults = faults_of([path for path, file in opened.items() if isinstance(file, Hdf5File)])
    return opened | faults


def _count(array: Array, rows: slice | np.ndarray | None) -> int:
    """How many of an array's rows are read; see `Hdf5File.read`."""
    if not array.shape:
        return 1
    if isinstance(rows, slice):
        return len(range(*rows.indices(array.shape[0])))
    return array.shape[0] if rows is None else len(rows)


def _link_target(links: Any, key: bytes, kind: int) -> str:
    from h5py import h5l  # pyright: ignore

    if kind != h5l.TYPE_EXTERNAL:
        return "something that HDF5 does not know"
    file, path = (text.decode("utf-8", "backslashreplace") for text in links.get_val(key))
    return f"{path} of another file, {file}".splitlines()[0]


def _plain(value: Any, dtype: np.dtype) -> Any:
    """A value of h5py as text, texts, number or array; None for other kinds."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.dtype.kind in "SUO":
        return _texts(value.ravel().tolist())
    return value if isinstance(value, str | np.ndarray | np.generic) and not dtype.names else None


def _texts(values: Sequence[Any]) -> str | tuple[str, ...] | None:
    texts = [
        value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values
    ]
    if not texts or not all(isinstance(text, str) for text in texts):
        return None
    return texts[0] if len(texts) == 1 else tuple(texts)


def _key(name: str) -> bytes:
    return name.encode("utf-8", "replace")


def _join(group: Group | None, name: str) -> str:
    return f"{group.name if group else ''}/{name.strip('/')}"
