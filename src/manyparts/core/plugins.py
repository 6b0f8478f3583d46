"""Plug-ins: what other installed distributions add, found by entry points and loaded when asked.

A plug-in is an entry point of a group such as `manyparts.suites`. Each module that can be added to
has one `Plugins`, the table of its group. Reading names loads nothing.
"""

from __future__ import annotations

import functools
import multiprocessing
import re
import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Generic, TypeVar

from manyparts.core.errors import SurroundingsWarning, UserError
from manyparts.core.extras import in_a_line
from manyparts.core.naming import NAME
from manyparts.core.printing import first_of, printable

GROUPS = ("suites", "objectives", "methods", "planners", "formats", "studies", "trackers")

T = TypeVar("T")
_GROUP_PREFIX = f"{NAME}."
_IS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_MAX_CHARACTERS = 80  # of a name that a file says
_SHOWN = 3  # in an error


class PluginWarning(SurroundingsWarning):
    """A plug-in is left out, or has another version than one that was recorded."""


@dataclass(frozen=True)
class Plugin:
    """An entry point of an installed distribution. It says where the plug-in is."""

    group: str
    """One of `GROUPS`."""

    name: str
    """By which it is asked for."""

    value: str
    """The module and what to take of it, as "module:attribute"."""

    distribution: str
    """The name of what was installed."""

    version: str
    """That of the distribution."""

    def __str__(self) -> str:
        return f"plug-in {self.key} ({self.origin})"

    @property
    def key(self) -> str:
        """What records and lists call it, such as "suites/cart"."""
        return f"{self.group}/{self.name}"

    @property
    def origin(self) -> str:
        """The distribution with its version."""
        return f"{self.distribution} {self.version}"


class Plugins(Generic[T]):
    """The plug-ins of a group."""

    def __init__(
        self, group: str, own: Callable[[], Iterable[str]], check: Callable[[str, Any], T]
    ) -> None:
        """Set up the table, without looking for plug-ins.

        Args:
            group: One of `GROUPS`.
            own: Returns the names that are there without plug-ins, which none may take.
            check: Takes the name and what was loaded, and returns it as it is used; raises
                TypeError if it is of no use.
        """
        assert group in GROUPS, group
        self.group, self._own, self._check = group, own, check
        self._loaded: dict[str, T] = {}
        self._left_out: set[str] = set()
        _tables[group] = self

    def names(self) -> list[str]:
        """The names that plug-ins add, sorted. A warning says which plug-in took an own name."""
        return list(self._by_name)

    def load(self, name: str) -> T:
        """Return what a plug-in adds.

        Args:
            name: One of `names`, or of a plug-in that is left out.

        Raises:
            UserError: Two plug-ins have the name, it may not have it, or it does not load.
        """
        if name not in self._loaded:
            self._loaded[name] = self._imported(self._one_plugin(name))
        return self._loaded[name]

    def load_all(self) -> dict[str, T]:
        """Return what every plug-in adds, by name. One that does not load is left out with a
        warning."""
        for name in self.names():
            try:
                self.load(name)
            except UserError as error:
                self._leave_out(name, f"{error}; it is left out")
        return {name: self._loaded[name] for name in self.names() if name in self._loaded}

    def origin(self, name: str) -> str | None:
        """The distribution and version of a plug-in; None for a name that no plug-in adds."""
        plugins = self._by_name.get(name)
        return None if plugins is None else plugins[0].origin

    def title(self, name: str) -> str:
        """What errors call a plug-in: its key, its distribution and its version."""
        return str(self._by_name[name][0])

    @functools.cached_property
    def _by_name(self) -> dict[str, list[Plugin]]:
        by_name: dict[str, list[Plugin]] = {}
        own = None
        for plugin in installed():
            if plugin.group != self.group:
                continue
            own = set(self._own()) if own is None else own
            if problem := _refusal(plugin, own):
                self._leave_out(plugin.name, f"{plugin} is left out: {problem}")
            else:
                by_name.setdefault(plugin.name, []).append(plugin)
        return by_name

    def _one_plugin(self, name: str) -> Plugin:
        plugins = self._by_name.get(name, [])
        if len(plugins) == 1:
            return plugins[0]
        if plugins:
            raise UserError(
                f"{self.group}/{name} is a plug-in of several distributions: "
                f"{first_of([each.origin for each in plugins], _SHOWN)}; uninstall all but one"
            )
        taken = [each for each in installed() if (each.group, each.name) == (self.group, name)]
        if not taken:
            raise UserError(f"there is no plug-in {self.group}/{name}; `{NAME} list plugins`")
        raise UserError(f"{taken[0]}: {_refusal(taken[0], set(self._own()))}")

    def _imported(self, plugin: Plugin) -> T:
        point = metadata.EntryPoint(plugin.name, plugin.value, f"{_GROUP_PREFIX}{plugin.group}")
        try:
            return self._check(plugin.name, point.load())
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a module that is imported may raise anything, or exit
            raise UserError(
                f"{plugin} does not load ({in_a_line(error)}): install another version, or "
                f"pip uninstall {plugin.distribution}"
            ) from error

    def _leave_out(self, name: str, text: str) -> None:
        """Warn, once for each name, and not again in processes that this one starts."""
        if name not in self._left_out and multiprocessing.parent_process() is None:
            warnings.warn(text, PluginWarning, stacklevel=4)
        self._left_out.add(name)


_tables: dict[str, Plugins[Any]] = {}


def instance_of(kind: type[T]) -> Callable[[str, Any], T]:
    """A check for `Plugins`: what was loaded must be an instance of a class."""

    def check(name: str, value: Any) -> T:
        if not isinstance(value, kind):
            raise TypeError(f"it is of type {type(value).__name__}, not {kind.__name__}")
        return value

    return check


def names_added(group: str, own: Iterable[str]) -> list[str]:
    """The names that plug-ins add to a group, for those who do without its table.

    Args:
        group: One of `GROUPS`.
        own: The names that are there without plug-ins.
    """
    names = {plugin.name for plugin in installed() if plugin.group == group}
    return sorted(name for name in names - set(own) if _IS_NAME.fullmatch(name))


@functools.cache
def installed() -> tuple[Plugin, ...]:
    """All plug-ins, sorted by group and name. Nothing of them is loaded."""
    of_distributions: dict[str, list[Plugin]] = {}
    for distribution in metadata.distributions():
        plugins = list(_plugins_of(distribution))
        # Of two versions on the path, the first one is that which is imported.
        name = plugins[0].distribution if plugins else ""
        of_distributions.setdefault(re.sub(r"[-_.]+", "-", name).lower(), plugins)
    every = [plugin for plugins in of_distributions.values() for plugin in plugins]
    return tuple(sorted(every, key=lambda plugin: (GROUPS.index(plugin.group), plugin.name)))


def used(names: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """The plug-ins among what was used, for provenance: "suites/cart" to "manyparts-cart 1.0".

    Args:
        names: Group to names, of plug-ins and others.
    """
    return {
        f"{group}/{name}": origin
        for group, of_group in names.items()
        for name in dict.fromkeys(of_group)
        # A group that nobody loaded was not used.
        if group in _tables and (origin := _tables[group].origin(name)) is not None
    }


def recorded(values: object) -> object:
    """The plug-ins that a run's config.json names, for `require`; None if it names none.

    Args:
        values: The JSON values, from a file.
    """
    provenance = values.get("provenance") if isinstance(values, Mapping) else None
    return provenance.get("plugins") if isinstance(provenance, Mapping) else None


def require(
    recorded: object, what: object, group: str, names: Container[str] | None = None
) -> None:
    """Require the plug-ins that something was made with. Another version than then is a warning.

    Args:
        recorded: What `used` returned at that time, from a file.
        what: What needs them, the first words of an error.
        group: Only plug-ins of this group.
        names: Only those of these names; None: all.

    Raises:
        UserError: One is not installed.
    """
    if not isinstance(recorded, Mapping):
        return
    here: dict[str, list[str]] = {}
    for plugin in installed():
        here.setdefault(plugin.key, []).append(plugin.origin)
    for key, then in recorded.items():
        of_group, _, name = str(key).partition("/")
        if of_group != group or (names is not None and name not in names):
            continue
        if key not in here:
            raise UserError(
                f"{what} needs plug-in {_short(key)} of {_short(then)}, which is not installed "
                "here; install it, if you trust who made it"
            )
        if then not in here[key]:
            text = f"{what} was made with plug-in {key} of {_short(then)}; here is {here[key][0]}"
            warnings.warn(text, PluginWarning, stacklevel=2)


def _plugins_of(distribution: metadata.Distribution) -> Iterator[Plugin]:
    try:
        text = distribution.read_text("entry_points.txt") or ""
        if _GROUP_PREFIX not in text:
            return
        points = list(distribution.entry_points)
    except Exception as error:  # files of other projects, which may be torn
        where = getattr(distribution, "_path", "a distribution")
        text = f"entry points of {where} cannot be read ({in_a_line(error)})"
        warnings.warn(printable(text), PluginWarning, stacklevel=2)
        return
    for point in points:
        group = point.group.removeprefix(_GROUP_PREFIX)
        if group in GROUPS and point.group != group:
            name = distribution.metadata["Name"] or "an unnamed distribution"
            yield Plugin(group, point.name, point.value, name, distribution.version or "unknown")


def _refusal(plugin: Plugin, own: set[str]) -> str:
    """Why a plug-in may not have its name; empty if it may."""
    if not _IS_NAME.fullmatch(plugin.name):
        return "a name has letters, digits, hyphens and underscores"
    return f"{NAME} itself has {plugin.key}" if plugin.name in own else ""


def _short(text: object) -> str:
    return printable(str(text)[:_MAX_CHARACTERS])
