"""A folder with what the main job makes, for all tests of commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.running import EVALUATION, TASKS, run


@pytest.fixture(scope="package")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, both phases and an evaluation, each made by its command."""
    folder = tmp_path_factory.mktemp("cli")
    small = ["--image-size", "32", "--workers", "2"]
    assert run("collect", *TASKS, "--episodes", "3", *small, "--output", folder / "data") == 0
    other = ["--episodes", "1", "--image-size", "24", "--output", folder / "other"]
    assert run("collect", TASKS[0], *other) == 0
    first, second = folder / "phase1", folder / "phase2"
    assert run("train", "dualmind/phase1-debug", "--data", folder / "data", "--output", first) == 0
    later = ["--from", first, "--output", second, "--optimizer.learning-rate", "2e-3"]
    later += ["--data", folder / "data", "--steps", "6"]
    assert run("train", "dualmind/phase2-debug", *later) == 0
    assert run("evaluate", second, *EVALUATION, "--workers", "2") == 0
    return folder
