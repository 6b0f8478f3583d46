"""Formats of plug-ins: they are asked about what this package does not read itself."""

from __future__ import annotations

import pkgutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.extras import in_a_line
from manyparts.core.plugins import Plugins, PluginWarning, instance_of, used
from manyparts.core.printing import first_of
from manyparts.data.formats import detect
from manyparts.data.formats.errors import Complain, UnsupportedFormatError, read_json, refuse
from manyparts.data.formats.options import ReadOptions
from manyparts.data.formats.reader import Contents, Reader

_COLLECTION = "meta/collection.json"  # how a dataset was recorded, see `rollout.collect`
_SHOWN = 3  # in an error


@dataclass(frozen=True)
class Format:
    """A format of datasets that a plug-in reads."""

    recognises: Callable[[Path], bool]
    """Whether a file or folder is of this format. It is asked about everything that nobody else
    reads, so it looks at names and first bytes only."""

    open: Callable[[Path, Complain], Reader]
    """Opens the reader. The second argument is called for each fault: it raises, or it returns and
    the reader goes on without the episode. What cannot be read at all is a UserError."""


def _own_names() -> list[str]:
    return [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]


PLUGINS = Plugins("formats", _own_names, instance_of(Format))
"""Formats of other distributions, entry points of the group `manyparts.formats`."""


class PluginReader:
    """See `formats.reader.Reader`. Whatever the plug-in raises becomes a UserError of one line.

    Attributes:
        path: the dataset's file or folder.
        contents: its description.
    """

    def __init__(self, name: str, path: Path, complain: Complain) -> None:
        """Open a dataset.

        Args:
            name: the plug-in's.
            path: the file or folder.
            complain: see `detect.open_reader`.

        Raises:
            UserError: the plug-in cannot read it.
        """
        self.path, self._name = path, name
        with self._errors():
            inner = PLUGINS.load(name).open(path, complain)
            if not isinstance(inner, Reader) or not isinstance(inner.contents, Contents):
                raise TypeError(f"it opened a {type(inner).__name__}, which is no Reader")
            self._inner: Reader = inner
        self.contents = replace(inner.contents, plugins=used({"formats": [name]}))

    def columns(self, index: int) -> dict[str, np.ndarray]:
        """One episode's numbers; see `Reader`."""
        with self._errors():
            return self._inner.columns(index)

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        """Some images; see `Reader`."""
        with self._errors():
            return self._inner.frames(index, camera, rows)

    def files(self) -> Iterator[Path] | Sequence[Path]:
        """All files; see `Reader`."""
        with self._errors():
            return [Path(file) for file in self._inner.files()]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{self.path} cannot be read by {PLUGINS.title(self._name)}: {in_a_line(error)}"
            ) from error


def open_reader(
    path: Path, complain: Complain = refuse, options: ReadOptions | None = None
) -> Reader:
    """Open the reader of the dataset at a path, of this package's formats or a plug-in's.

    Args:
        path: a file or folder.
        complain: see `detect.open_reader`.
        options: see `detect.open_reader`. Plug-ins take none.

    Raises:
        UserError: if there is no dataset that can be read, or two plug-ins would read it.
        UnsupportedFormatError: for data that are recognised and not read.
    """
    try:
        return detect.open_reader(path, complain, options)
    except UnsupportedFormatError:
        names = [name for name, each in PLUGINS.load_all().items() if _recognises(name, each, path)]
        if not names:
            raise
    if len(names) > 1:
        titles = first_of(map(PLUGINS.title, names), _SHOWN)
        raise UserError(f"{path} is recognised by {titles}; uninstall all but one")
    if options is not None and str(options):
        raise UserError(f"{path} is read by a plug-in, which takes no options; leave {options} out")
    return PluginReader(names[0], path, complain)


def plugins_of(path: Path, contents: Contents) -> dict[str, str]:
    """The plug-ins that a dataset was recorded with, and those that read it.

    Args:
        path: the dataset's file or folder.
        contents: its description.

    Returns:
        As `core.plugins.used`.
    """
    plugins = dict(contents.plugins)
    file = path / _COLLECTION
    if not file.is_file():
        return plugins
    try:
        versions: Any = read_json(file).get("versions")
    except UserError:  # nothing but provenance depends on it
        return plugins
    for suite, facts in versions.items() if isinstance(versions, Mapping) else ():
        origin = facts.get("plugin") if isinstance(facts, Mapping) else None
        if isinstance(origin, str):
            plugins[f"suites/{suite}"] = origin
    return plugins


def _recognises(name: str, format: Format, path: Path) -> bool:
    try:
        return bool(format.recognises(path))
    except Exception as error:
        text = f"{PLUGINS.title(name)} fails on {path} ({in_a_line(error)}) and is left out"
        warnings.warn(text, PluginWarning, stacklevel=3)
        return False
