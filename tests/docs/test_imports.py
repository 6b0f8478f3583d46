"""Every import of the package in scripts, benchmarks, examples and pages is of what there is."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
FILES = [
    path
    for pattern in ("scripts/**/*.py", "benchmarks/*.py", "examples/*.py", "docs/**/*.md", "*.md")
    for path in sorted(ROOT.glob(pattern))
    if "generated" not in path.parts and "log" not in path.parts
]
# Files that a page lets its reader write.
WRITTEN = {"manyparts.objectives.reward_prediction"}


def sources(path: Path) -> Iterator[str]:
    """The Python code of a file."""
    if path.suffix == ".py":
        yield path.read_text()
    else:
        yield from BLOCK.findall(path.read_text())


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of each import of the package; an empty name for a module alone."""
    for source in sources(path):
        try:
            tree = ast.parse(source)
        except SyntaxError:  # a block with "..." in the place of code
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                yield from ((node.module, alias.name) for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_are_of_what_there_is(path: Path) -> None:
    for module, name in imports(path):
        if module.partition(".")[0] not in ("manyparts", "benchmarks") or module in WRITTEN:
            continue
        assert importlib.util.find_spec(module) is not None, module
        if name:
            has_name = hasattr(importlib.import_module(module), name)
            assert has_name or importlib.util.find_spec(f"{module}.{name}"), f"{module}.{name}"
