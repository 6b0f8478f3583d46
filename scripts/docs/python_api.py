"""The page of the Python interface: every public name, with its docstring, as mkdocstrings renders
it."""

from __future__ import annotations

import importlib.util

from pages import page

import manyparts

INTRODUCTION = """
```python
import manyparts

dataset = manyparts.EpisodeDataset.open("data/mw3")
agent = manyparts.load("manyparts/metaworld45-small")
env = manyparts.make("metaworld/drawer-open", split="evaluation")
```

These names are public: `from manyparts import NAME`. They are loaded on first use, so `import
manyparts` is quick. All else may change between versions.
"""
GROUPS = {  # the first part of the module that a name comes from: the part of the page
    "data": "Data",
    "envs": "Environments",
    "agents": "Agents and rollouts",
    "rollout": "Agents and rollouts",
    "methods": "Training",
    "training": "Training",
    "objectives": "Training",
    "models": "Models",
    "planners": "Planners",
    "evaluation": "Evaluation",
    "studies": "Evaluation",
    "types": "Records",
}
OTHERS = "Other names"


def render() -> str:
    """The page."""
    members: dict[str, list[str]] = {
        title: [] for title in (*dict.fromkeys(GROUPS.values()), OTHERS)
    }
    for name in sorted(manyparts.__all__, key=lambda name: (name[0].isupper(), name)):
        members[_group(name)].append(name)
    parts = []
    for title, names in members.items():
        parts += [f"## {title}", *map(_entry, names)] if names else []
    return page("Python API", INTRODUCTION, parts)


def _group(name: str) -> str:
    module = getattr(getattr(manyparts, name), "__module__", "") or ""
    return GROUPS.get(module.removeprefix("manyparts.").partition(".")[0], OTHERS)


def _entry(name: str) -> str:
    """The directive of a public name. A function with the name of a package has its full path."""
    if importlib.util.find_spec(f"manyparts.{name}") is not None:
        return f"::: manyparts.{manyparts._MODULE_OF[name]}.{name}"
    return f"::: manyparts.{name}"
