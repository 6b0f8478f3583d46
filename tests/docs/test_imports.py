"""Every import of the package in scripts, benchmarks, examples and pages is of what there is."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

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


def exists(module: str, name: str) -> bool:
    if importlib.util.find_spec(module) is None:
        return False
    if not name or hasattr(importlib.import_module(module), name):
        return True
    return importlib.util.find_spec(f"{module}.{name}") is not None


def test_imports_are_of_what_there_is() -> None:
    missing = [
        f"{path}: {module}.{name}"
        for path in FILES
        for module, name in imports(path)
        if module.partition(".")[0] in ("manyparts", "benchmarks")
        and module not in WRITTEN
        and not exists(module, name)
    ]
    assert not missing, "\n".join(missing)
