"""Dataclasses to JSON values and back, their content hash, and nested mappings as flat ones.

A dataclass is written with its class name under "type", so that a field that allows several
classes (a union) is read back as the right one.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np

from manyparts.core.errors import UserError, closest
from manyparts.core.naming import (
    fields_of_today,
    former_class,
    former_field,
    former_value,
    value_of_today,
)


def to_jsonable(value: Any, *, defaults: bool = True, former: bool = False) -> Any:
    """Convert a (nested) dataclass to plain JSON values.

    Args:
        value: A dataclass, or mappings, lists, tuples and scalars.
        defaults: Write fields that have their default value, too.
        former: Write classes and fields under the names that they had before, see
            `naming.FORMER_CLASSES`.

    Raises:
        TypeError: The value holds something that JSON cannot.
    """
    convert = functools.partial(to_jsonable, defaults=defaults, former=former)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass_entries(value, defaults=defaults, former=former)
    if isinstance(value, Mapping):
        return {str(key): convert(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [convert(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"cannot write {type(value).__name__} to JSON")


def from_jsonable(kind: Any, values: Any, where: str = "config") -> Any:
    """Read what `to_jsonable` wrote.

    Args:
        kind: The type to read: a dataclass, or a generic such as `tuple[int, ...]`.
        values: JSON values.
        where: What they are, for the error.

    Raises:
        UserError: A value does not fit the type; the error names its key.
    """
    return _read(kind, values, where)


def without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object's entries, for `json.loads(..., object_pairs_hook=without_repeats)`.

    Args:
        pairs: As they stand in the text.

    Raises:
        ValueError: A name stands there twice, of which json would drop the first.
    """
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands twice")
    return entries


def require_types(record: Any) -> None:
    """Check that the plain fields of a dataclass have the types that they declare.

    Numbers of numpy are replaced by Python's. Fields that are dataclasses or mappings are skipped.

    Raises:
        UserError: A field has another type: `steps is '3'; expected int`.
    """
    types_by_field = _field_types(type(record))
    for item in dataclasses.fields(record):
        value = getattr(record, item.name)
        if dataclasses.is_dataclass(value) or isinstance(value, Mapping):
            continue
        if isinstance(value, np.generic):
            value = value.item()
            object.__setattr__(record, item.name, value)
        try:
            plain = to_jsonable(value)
        except TypeError:
            raise UserError(
                f"{item.name} is {value!r} of type {type(value).__name__}; expected plain values"
            ) from None
        _read(types_by_field[item.name], plain, item.name)


def require_own_name(kind: type, base: type) -> None:
    """Require that no other class below a base is called the same, since files have only the name.

    Raises:
        TypeError: A class of another module has the name.
    """
    below = [base]
    for other in below:
        below += other.__subclasses__()
        if other.__name__ == kind.__name__ and other.__module__ != kind.__module__:
            raise TypeError(f"{other.__module__} has a {kind.__name__}; choose another name")


def content_hash(value: Any, *, defaults: bool = True) -> str:
    """Name a (nested) dataclass or JSON value by its content: equal content, equal hash.

    The hash is taken over the former names of classes and fields, so that renaming one of them
    changes no hash.

    Args:
        value: What `to_jsonable` accepts.
        defaults: Hash fields that have their default value, too. Without them, a new field with
            a default that keeps the behaviour changes no hash.

    Returns:
        16 hexadecimal digits.
    """
    text = json.dumps(to_jsonable(value, defaults=defaults, former=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into one, with dotted keys: {"a": {"b": 1}} becomes {"a.b": 1}.

    Args:
        values: The mappings. An empty one leaves no key.
        prefix: What each key begins with.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _dataclass_entries(record: Any, *, defaults: bool, former: bool) -> dict[str, Any]:
    """Return a dataclass's JSON entries: "type", then its fields in their order."""
    class_name = type(record).__name__
    entries: dict[str, Any] = {"type": former_class(class_name) if former else class_name}
    for item in dataclasses.fields(record):
        key, value = item.name, getattr(record, item.name)
        if not defaults and value == _default(item):
            continue
        if former:
            value = former_value(class_name, key, value)
            key = former_field(class_name, key)
        entries[key] = to_jsonable(value, defaults=defaults, former=former)
    return entries


def _read(kind: Any, values: Any, where: str) -> Any:
    """Read a value of a type; `where` is the dotted path to it, for errors."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return values
    if origin in (Union, types.UnionType):
        return _read_union(arguments, values, where)
    if origin is Literal:
        _require(values in arguments, where, values, " or ".join(map(repr, arguments)))
        return values
    if origin is tuple:
        _require(isinstance(values, list), where, values, "a list")
        kinds = [arguments[0]] * len(values) if arguments[-1] is Ellipsis else arguments
        _require(len(kinds) == len(values), where, values, f"{len(kinds)} values")
        return tuple(_read(item, value, where) for item, value in zip(kinds, values, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        _require(isinstance(values, dict), where, values, "a mapping")
        return {key: _read(arguments[1], value, f"{where}.{key}") for key, value in values.items()}
    if _is_open(kind):
        return _read_union((kind,), values, where)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, values, where)
    # JSON writes 1.0 as 1 in some programs. In Python a bool is an int, here it is not.
    if kind is float and isinstance(values, int) and not isinstance(values, bool):
        return float(values)
    is_of_kind = isinstance(values, kind) and (kind is bool or not isinstance(values, bool))
    _require(is_of_kind, where, values, kind.__name__)
    return values


def _read_union(kinds: tuple[Any, ...], values: Any, where: str) -> Any:
    """Read a value of one of several types: None, or the dataclass that "type" names."""
    if values is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if len(kinds) == 1 and not _is_open(kinds[0]):
        return _read(kinds[0], values, where)
    name = _class_name(values)
    kinds = tuple(chain.from_iterable(_declared(kind, name) for kind in kinds))
    kinds_by_name = {kind.__name__: kind for kind in kinds}
    kinds_by_any_name = {former_class(name): kind for name, kind in kinds_by_name.items()}
    kinds_by_any_name |= kinds_by_name
    if name not in kinds_by_any_name:
        raise UserError(
            f"{where} is {name or values!r}, which is none of this version's classes; "
            f"{closest(name, kinds_by_name)}"
        )
    return _read(kinds_by_any_name[name], values, where)


def _is_open(kind: Any) -> bool:
    """Whether a type is a base class, which any of its subclasses may stand for."""
    return "declared_kinds" in getattr(kind, "__dict__", ())


def _declared(kind: Any, name: str) -> tuple[Any, ...]:
    """The classes that may stand for a type.

    Args:
        kind: The type.
        name: The class that is written, for which a plug-in may have to be loaded.
    """
    return kind.declared_kinds(name) if _is_open(kind) else (kind,)


def _class_name(values: Any) -> str:
    """What a dataclass's JSON entries call their class; empty for anything else."""
    name = values.get("type") if isinstance(values, dict) else None
    return name if isinstance(name, str) else ""


def _read_dataclass(kind: Any, values: Any, where: str) -> Any:
    _require(isinstance(values, dict), where, values, f"a {kind.__name__}")
    class_name = kind.__name__
    written_as = values.get("type", class_name)
    _require(
        written_as in (class_name, former_class(class_name)), where, values.get("type"), class_name
    )
    types_by_field = _field_types(kind)
    fields_by_name = {item.name: item for item in dataclasses.fields(kind)}
    entries = fields_of_today(
        class_name, {key: value for key, value in values.items() if key != "type"}
    )
    for key in entries:
        expected = f"no such key; known: {', '.join(sorted(fields_by_name))}"
        _require(key in fields_by_name, f"{where}.{key}", entries[key], expected)
    required = {
        name for name, item in fields_by_name.items() if _default(item) is dataclasses.MISSING
    }
    missing = sorted(required - entries.keys())
    _require(not missing, where, sorted(entries), f"also {', '.join(missing)}")
    arguments = {}
    for key, value in entries.items():
        current = value_of_today(class_name, key, value)
        arguments[key] = _read(types_by_field[key], current, f"{where}.{key}")
    return kind(**arguments)


def _default(item: dataclasses.Field[Any]) -> Any:
    """Return a field's default value; `dataclasses.MISSING` if it has none."""
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return item.default


@functools.lru_cache(maxsize=256)
def _field_types(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _require(holds: bool, where: str, value: Any, expected: str) -> None:
    if not holds:
        raise UserError(f"{where} is {value!r}; expected {expected}")
