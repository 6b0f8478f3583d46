"""Frozen dataclasses to plain JSON values and back, with unions told apart by their class name."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.naming import (
    fields_of_today,
    former_class,
    former_field,
    former_value,
    value_of_today,
)


def to_jsonable(value: Any, *, defaults: bool = True, former: bool = False) -> Any:
    """Plain JSON values of a (nested) dataclass; each dataclass carries its class name under
    "type".

    Args:
        value: the dataclass, or values that JSON has. defaults: whether fields that have their
        default value are written too. former: whether classes and fields get the names that they
        had before, see `naming.FORMER_CLASSES`.
    """
    again = functools.partial(to_jsonable, defaults=defaults, former=former)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value).__name__
        held = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
        usual = (
            {} if defaults else {item.name: _default(item) for item in dataclasses.fields(value)}
        )
        written = {name: part for name, part in held.items() if defaults or part != usual[name]}
        entries = {"type": former_class(kind) if former else kind}
        if former:
            return entries | {
                former_field(kind, name): again(former_value(kind, name, part))
                for name, part in written.items()
            }
        return entries | {name: again(part) for name, part in written.items()}
    if isinstance(value, Mapping):
        return {str(key): again(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [again(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"cannot write {type(value).__name__} to JSON")


def from_jsonable(kind: Any, values: Any) -> Any:
    """The inverse of `to_jsonable` for a value of type `kind`, a class or a generic.

    Raises UserError naming a key that does not fit.
    """
    return _read(kind, values, "config")


def require_types(record: Any) -> None:
    """Raises UserError naming the first field of a dataclass, of those that hold plain values, that
    has another type than it says: `steps is '3'; expected int`. Numpy's numbers become Python's."""
    hints = _hints(type(record))
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
        _read(hints[item.name], plain, item.name)


def content_hash(value: Any, *, defaults: bool = True) -> str:
    """A 16-digit hexadecimal name of a (nested) dataclass or JSON value: equal content, equal name.

    Classes and fields count by their former names, so that a new name for one of them renames no
    content. defaults: whether fields that have their default value count; without them, a field
    that comes later, with a default that keeps what was, leaves all names as they are.
    """
    text = json.dumps(to_jsonable(value, defaults=defaults, former=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(kind: Any, values: Any, where: str) -> Any:
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
    if "declared_kinds" in vars(kind):  # a base class, of which any subclass may stand here
        return _read_union(kind.declared_kinds(), values, where)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, values, where)
    if kind is float and isinstance(values, int) and not isinstance(values, bool):
        return float(values)
    _require(
        isinstance(values, kind) and (kind is bool or not isinstance(values, bool)),
        where,
        values,
        kind.__name__,
    )
    return values


def _read_union(kinds: tuple[Any, ...], values: Any, where: str) -> Any:
    if values is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if len(kinds) == 1:
        return _read(kinds[0], values, where)
    current = {kind.__name__: kind for kind in kinds}
    named = {former_class(name): kind for name, kind in current.items()} | current
    name = values.get("type") if isinstance(values, dict) else None
    _require(name in named, where, values, " or ".join(current))
    return _read(named[str(name)], values, where)


def _read_dataclass(kind: Any, values: Any, where: str) -> Any:
    _require(isinstance(values, dict), where, values, f"a {kind.__name__}")
    hints = _hints(kind)
    known = {item.name for item in dataclasses.fields(kind)}
    name = kind.__name__
    given = fields_of_today(name, {key: value for key, value in values.items() if key != "type"})
    _require(
        values.get("type", name) in (name, former_class(name)), where, values.get("type"), name
    )
    for key in given:
        _require(
            key in known,
            f"{where}.{key}",
            given[key],
            f"no such key; known: {', '.join(sorted(known))}",
        )
    needed = {item.name for item in dataclasses.fields(kind) if _has_no_default(item)}
    _require(
        needed <= given.keys(),
        where,
        sorted(given),
        f"also {', '.join(sorted(needed - given.keys()))}",
    )
    current = {key: value_of_today(name, key, value) for key, value in given.items()}
    return kind(
        **{key: _read(hints[key], value, f"{where}.{key}") for key, value in current.items()}
    )


def _has_no_default(item: dataclasses.Field[Any]) -> bool:
    return _default(item) is dataclasses.MISSING


def _default(item: dataclasses.Field[Any]) -> Any:
    """What the field is where nothing is said; MISSING where something must be."""
    return (
        item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default
    )


@functools.lru_cache(maxsize=256)
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _require(holds: bool, where: str, value: Any, expected: str) -> None:
    if not holds:
        raise UserError(f"{where} is {value!r}; expected {expected}")
