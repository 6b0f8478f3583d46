"""Flags that choose one of several kinds of a nested config, such as `--model.latent categorical`.

The fields of the chosen kind are flags then, such as `--model.latent.categories 32`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from manyparts.cli.help_page import WIDTH
from manyparts.core.errors import UserError, closest

T = TypeVar("T")


def with_kinds(config: T, arguments: Sequence[str], part: str) -> tuple[T, list[str]]:
    """Apply the flags that choose a kind.

    Args:
        config: A preset.
        arguments: What the user typed.
        part: The field of the preset that has such fields.

    Returns:
        The preset, with the chosen kinds' own values, and the other arguments.

    Raises:
        UserError: There is no such kind.
    """
    nested, rest = getattr(config, part), list(arguments)
    for field, kinds in _kinds_of(type(nested)).items():
        flag = f"--{part}.{field}"
        # The last of them counts, as for other flags.
        while positions := [place for place, word in enumerate(rest) if _flag_of(word) == flag]:
            position = positions[0]
            _, equals, value = rest[position].partition("=")
            taken = 1 if equals else 2
            chosen = value if equals else "".join(rest[position + 1 : position + 2])
            if chosen not in kinds:
                raise UserError(f"{flag} is {chosen!r}; {closest(chosen, kinds)}")
            rest[position : position + taken] = []
            if type(getattr(nested, field)) is not kinds[chosen]:
                nested = dataclasses.replace(nested, **{field: kinds[chosen]()})
    return dataclasses.replace(typing.cast(Any, config), **{part: nested}), rest


@contextlib.contextmanager
def kinds_on_help(config: object, part: str) -> Iterator[None]:
    """Add the flags that choose a kind to the help page which the block may print.

    Args:
        config: See `with_kinds`, with the chosen kinds.
        part: See `with_kinds`.
    """
    try:
        yield
    except SystemExit as stop:
        nested = getattr(config, part)
        if stop.code in (0, None) and (kinds := _kinds_of(type(nested))):
            rule = "-" * (WIDTH - 2)
            print(f" kinds of {part}\n {rule}")
            print("  Each has flags of its own, which this page lists once it is chosen.")
            print(f"  {rule}")
            for field, by_name in kinds.items():
                own = type(getattr(nested, field))
                usual = [name for name, kind in by_name.items() if kind is own]
                print(f"  --{part}.{field} {{{','.join(by_name)}}}")
                print(f"        What kind of {field} it is. (default: {', '.join(usual)})")
        raise


def _kinds_of(nested: type[Any]) -> dict[str, Mapping[str, type[Any]]]:
    """Field to its kinds by name, for fields that hold one of several dataclasses."""
    if not dataclasses.is_dataclass(nested):
        return {}
    found: dict[str, Mapping[str, type[Any]]] = {}
    for field, hint in typing.get_type_hints(nested).items():
        if typing.get_origin(hint) not in (typing.Union, types.UnionType):
            continue
        kinds = [each for each in typing.get_args(hint) if _has_usual_values(each)]
        if len(kinds) < 2:
            continue
        # GaussianLatentConfig and CategoricalLatentConfig are gaussian and categorical.
        names = [getattr(each, "__name__", "") for each in kinds]
        ending = next(n for n in itertools.count() if len({each[-n - 1 :] for each in names}) > 1)
        short = [_hyphened(name[: len(name) - ending]) for name in names]
        found[field] = dict(zip(short, kinds, strict=True))
    return found


def _has_usual_values(kind: Any) -> bool:
    """Whether it is a dataclass that can be made without arguments."""
    return dataclasses.is_dataclass(kind) and not any(
        field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        for field in dataclasses.fields(kind)
    )


def _flag_of(word: str) -> str:
    return word.partition("=")[0].replace("_", "-")


def _hyphened(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "-", name).lower()
