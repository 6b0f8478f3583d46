"""The wheel that is built from a clone: what is in it, and that it works where no source is in
sight."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILT_FROM = ("src", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since building leaves folders beside the source."""
    copy = tmp_path_factory.mktemp("clone")
    for name in BUILT_FROM:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
            )
        else:
            shutil.copy(source, copy / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        "dist",
        ".",
    ]
    subprocess.run(command, cwd=copy, check=True, capture_output=True, text=True)
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_wheel_holds_exactly_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    kept = (
        path
        for path in (ROOT / "src" / "manyparts").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    )
    assert names == {path.relative_to(ROOT / "src").as_posix() for path in kept}
    assert "manyparts/weights/metaworld45-small/model.safetensors" in names


def test_wheel_brings_one_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        commands = archive.read(entry_points).decode().split()
    assert wheel.name.startswith("manyparts-")
    assert commands == ["[console_scripts]", "manyparts", "=", "manyparts.cli:main"]


@pytest.mark.slow
def test_installed_wheel_runs_shipped_agent(wheel: Path, tmp_path: Path) -> None:
    """In an empty environment, from an empty folder; packages come from the index that pip
    knows."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    here = tmp_path / "venv" / "bin"
    settings = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    settings |= {"PATH": f"{here}:{settings['PATH']}", "MANYPARTS_CACHE": str(tmp_path / "cache")}
    work = tmp_path / "work"
    work.mkdir()

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=work, env=settings, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    constraints = str(ROOT / "constraints.txt")
    run(str(here / "pip"), "install", "-q", "-c", constraints, "torch==2.13.0")
    run(str(here / "pip"), "install", "-q", "-c", constraints, f"{wheel}[metaworld]")
    assert "understudy" not in run(str(here / "pip"), "list")
    home = run(str(here / "python"), "-c", "import manyparts; print(manyparts.__file__)")
    assert Path(home.strip()).is_relative_to(tmp_path / "venv")
    task = "metaworld/drawer-open"
    evaluate = [
        "evaluate",
        "manyparts/metaworld45-small",
        "--tasks",
        task,
        "--episodes",
        "2",
        "--until-success",
    ]
    assert f"{task}" in run(str(here / "manyparts"), *evaluate)
    assert (work / "runs" / "metaworld45-small" / "evaluation" / "results.json").is_file()
