"""Commands as tests run them: in this process, or in one of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from manyparts import cli

TASKS = ["pointmass/reach-red", "pointmass/reach-blue"]
EVALUATION = ["--episodes", "2", "--videos", "1", "--max-steps", "12"]


def run(*arguments: str | Path) -> int:
    """Run a command in this process, and return its exit code."""
    return cli.main([str(word) for word in arguments])


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The only line on stderr, which is an error."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def command(
    arguments: list[str], folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, with more environment variables."""
    script = [
        sys.executable,
        "-c",
        "import sys; from manyparts.cli import main; sys.exit(main())",
        *arguments,
    ]
    environment = {**os.environ, **variables}
    return subprocess.run(script, cwd=folder, env=environment, capture_output=True, text=True)
