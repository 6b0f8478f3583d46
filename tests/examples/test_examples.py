"""The examples run as they stand, are short, and use public names only."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import manyparts

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PRINTED = {
    "01": "runs/01/metaworld_drawer-open.webp",
    "02": "Comparison(success_any over 1 task",
    "03": "runs/03-quick/phase2/report.html",
    "04": "20 episodes, 4000 frames at 20 Hz",
    "05": "planning   return",
    "06": "Comparison(success_any over 1 task",
}


def by_number(number: str) -> Path:
    (path,) = (path for path in EXAMPLES if path.name.startswith(number))
    return path


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(each, marks=pytest.mark.slow) if each in ("02", "03", "05", "06") else each
        for each in PRINTED
    ],
)
def test_example_runs_in_empty_folder(number: str, tmp_path: Path) -> None:
    path = by_number(number)
    quick = ["--quick"] if "--quick" in path.read_text() else []
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, path, *quick],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert PRINTED[number] in done.stdout


def test_every_example_is_tested() -> None:
    assert [path.name[:2] for path in EXAMPLES] == sorted(PRINTED)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_short_and_public(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 60
    tree = ast.parse(text)
    assert "Takes" in ast.get_docstring(tree) and "You see" in ast.get_docstring(tree)
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "manyparts":
            assert node.module == "manyparts", ast.unparse(node)
            names |= {alias.name for alias in node.names}
    assert names and names <= set(manyparts.__all__)
