"""The page of configurations: every field of every dataclass that a preset or a planner is made
of."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from pages import cell, code, page, table

from manyparts.envs.base import EnvConfig
from manyparts.methods import preset, preset_names
from manyparts.planners import PLANNERS
from manyparts.training.config import TrainConfig

INTRODUCTION = """
A training preset is a frozen dataclass. Each field is a flag of `manyparts train`, and you change
it in Python with `dataclasses.replace`:

```bash
manyparts train dualmind/phase1-laptop --data DATA --output RUN \\
    --optimizer.learning-rate 5e-4 --steps 4000
```

```python
from dataclasses import replace
from manyparts import preset

config = replace(preset("dualmind/phase1-laptop"), steps=4000)
```

The defaults below are those of the dataclasses. A preset sets its own values: `manyparts train
PRESET --help` prints them.
"""
GROUPS = {
    "Training": "manyparts.training",
    "Data": "manyparts.data",
    "Models": "manyparts.models",
    "Objectives": "manyparts.objectives",
    "Planners": "manyparts.planners",
    "Environments": "manyparts.envs",
}


def render() -> str:
    """The page."""
    configs: dict[type, None] = {TrainConfig: None}
    for name in preset_names():
        _collect(preset(name), configs)
    for planner in PLANNERS.values():
        _collect(planner(), configs)
    _collect(EnvConfig(), configs)
    parts = []
    for title, package in GROUPS.items():
        kinds = [kind for kind in configs if kind.__module__.startswith(package)]
        sections = [_section(kind, configs) for kind in sorted(kinds, key=_rank)]
        parts += [f"## {title}", *sections] if kinds else []
    return page("Configuration", INTRODUCTION, parts)


def config_kinds(value: Any) -> list[type]:
    """The dataclasses of a configuration, its own first."""
    configs: dict[type, None] = {}
    _collect(value, configs)
    return list(configs)


def _collect(value: Any, configs: dict[type, None]) -> None:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        configs.setdefault(type(value))
        for item in dataclasses.fields(value):
            _collect(getattr(value, item.name), configs)
    elif isinstance(value, Mapping):
        for each in value.values():
            _collect(each, configs)


def _rank(kind: type) -> tuple[bool, str]:
    """The whole configuration first, the others by name."""
    return kind is not TrainConfig, kind.__name__


def _section(kind: type, configs: Iterable[type]) -> str:
    texts, rows = help_texts(kind), []
    links = {each.__name__ for each in configs}
    for item in dataclasses.fields(kind):
        annotation = _annotation(item)
        shown = _link(annotation) if annotation in links else code(annotation)
        rows.append(
            (code(item.name), shown, _default(item), _capitalised(cell(texts.get(item.name, ""))))
        )
    fields = table(("field", "type", "default", "meaning"), rows) if rows else "It has no fields."
    return "\n\n".join(part for part in (f"### {kind.__name__}", _summary(kind), fields) if part)


def _link(name: str) -> str:
    return f"[`{name}`](#{name.lower()})"


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _annotation(item: dataclasses.Field[Any]) -> str:
    return (
        item.type if isinstance(item.type, str) else getattr(item.type, "__name__", str(item.type))
    )


def _default(item: dataclasses.Field[Any]) -> str:
    """What the field is where nobody sets it."""
    value = item.default
    if value is dataclasses.MISSING and item.default_factory is not dataclasses.MISSING:
        value = item.default_factory()
    if value is dataclasses.MISSING:
        return "required"
    if dataclasses.is_dataclass(value):
        return _link(type(value).__name__)
    return code(repr(value))


def help_texts(kind: type) -> dict[str, str]:
    """Field to its text: the string that follows it in the class, else what the class's docstring
    says of it."""
    texts: dict[str, str] = {}
    for parent in reversed(kind.__mro__):
        if dataclasses.is_dataclass(parent):
            names = [item.name for item in dataclasses.fields(parent)]
            texts |= _from_docstring(inspect.getdoc(parent) or "", names)
            texts |= _from_attributes(parent)
    return texts


def _from_attributes(kind: type) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    texts = {}
    for before, after in zip(tree.body, tree.body[1:], strict=False):
        is_field = isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)
        if is_field and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            texts[before.target.id] = str(after.value.value)
    return texts


def _from_docstring(text: str, names: list[str]) -> dict[str, str]:
    """Of "name: text" in a class's docstring, also where several stand in one paragraph."""
    named = "|".join(map(re.escape, names))
    parts = re.split(
        rf"(?:^|(?<=[.:])\s|\n)\s*((?:{named})(?:, (?:{named}))*):\s", text, flags=re.MULTILINE
    )
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return {name: meaning for names_, meaning in pairs for name in names_.split(", ")}


def _summary(kind: type) -> str:
    """What the class's docstring says before it comes to fields, as one paragraph."""
    text = inspect.getdoc(kind) or ""
    if text.startswith(f"{kind.__name__}("):  # what the dataclass itself writes where there is none
        return ""
    names = [item.name for item in dataclasses.fields(kind)]
    named = "|".join(map(re.escape, names))
    before = re.split(
        rf"(?:^|\s)(?:Args|Attributes):\s*\n|(?:^|(?<=\.)\s)\s*(?:{named})(?:, (?:{named}))*:\s",
        text,
    )[0]
    return cell(before).replace("&#124;", "|")
