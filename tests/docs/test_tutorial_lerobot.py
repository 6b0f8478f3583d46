"""The tutorial "Train on your LeRobot dataset": its files do what the page says, and its commands
run after each other, with a dataset that LeRobot itself writes."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from manyparts.core.spec import ActionContract, Spec
from manyparts.embodiment.views.source import Source
from manyparts.embodiment.views.view import View

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorials" / "train-on-your-lerobot-dataset.md"
TEXT = PAGE.read_text(encoding="utf-8")
FILES = dict(re.findall(r"Save this as `([^`]+)`.*?```\w+\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
INSTALLS = [block for block in COMMANDS if "pip install" in block]
PEERS = ROOT / ".peers" / "bin" / "python"
FRAMES = 36

SCORE = re.compile(
    r"^(\S+): success ([\d.]+) \[([\d.]+), ([\d.]+)\] in (\d+) scenes$", re.MULTILINE
)

# The page's sizes, and smaller ones with which its commands take two minutes of a core. With
# MANYPARTS_TUTORIAL=full they run as they stand, which takes about fifteen.
SMALLER = {
    "EPISODES, FRAMES = 100": "EPISODES, FRAMES = 12",
    "--episodes 25-99": "--episodes 8-11",
    "--steps 1000": "--steps 20",
    " 1000 50": " 1000 2",
    " 2000 100": " 2000 2",
}


@pytest.fixture
def arm() -> ModuleType:
    """The reader's arm.py, with `joints_at` of record.py."""
    module = ModuleType("arm")
    exec(FILES["arm.py"], module.__dict__)
    (solver,) = (
        part for part in ast.parse(FILES["record.py"]).body if isinstance(part, ast.FunctionDef)
    )
    exec(ast.unparse(solver), module.__dict__)
    return module


def test_demonstrator_acting_through_the_view_reaches_the_disc(arm: ModuleType) -> None:
    names = ("shoulder.pos", "elbow.pos")
    contract = ActionContract("unknown", "unknown", names, (-90,) * 2, (180,) * 2, 30.0)
    spec = Spec("arm", {"top": (480, 640), "wrist": (480, 640)}, names, contract)
    source = Source(spec, View.of(json.loads(FILES["view.json"])))
    every = source.view.every
    assert FRAMES % every == 0
    for seed in range(20):
        robot = arm.Arm(seed)
        assert {name: image.shape for name, image in robot.images().items()} == {
            name: (*size, 3) for name, size in spec.cameras.items()
        }
        for _ in range(FRAMES // every):
            (change,) = source.actions(*demonstrated(arm, robot, every))
            targets = source.action_of(change, robot.state())
            for _ in range(every):
                robot.move(targets)
        assert robot.distance() < 0.03, seed


def demonstrated(arm: ModuleType, robot: Any, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets and joints of what record.py would record next, (frames, 2) each."""
    robot = deepcopy(robot)
    goal, targets, joints = arm.joints_at(*robot.disc), [], []
    for _ in range(frames):
        joints.append(robot.state())
        targets.append(robot.joints + np.clip(0.5 * (goal - robot.joints), -10, 10))
        robot.move(targets[-1])
    return np.array(targets), np.array(joints)


@pytest.mark.slow
def test_commands_of_the_page_run_after_each_other(tmp_path: Path) -> None:
    if not PEERS.exists():
        pytest.skip("LeRobot is not there; scripts/peers/install.sh installs it")
    full = os.environ.get("MANYPARTS_TUTORIAL") == "full"
    for name, text in FILES.items():
        (tmp_path / name).write_text(sized(text, full))
    environment = surroundings(tmp_path)
    printed = ""
    for block in COMMANDS:
        if block not in INSTALLS:
            done = subprocess.run(
                ["bash", "-e", "-c", sized(block, full)],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert not done.returncode, f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
            printed += done.stdout
    assert "data/arm: nothing is wrong" in printed
    shown, measured = SCORE.findall(TEXT), SCORE.findall(printed)
    assert [run for run, *_ in measured] == [run for run, *_ in shown]
    if full:
        for (_, _, low, high, count), (run, rate, *_, scenes) in zip(shown, measured, strict=True):
            assert scenes == count and float(low) <= float(rate) <= float(high), run


def test_sizes_that_are_made_smaller_stand_on_the_page() -> None:
    assert [size for size in SMALLER if size not in TEXT] == []


def sized(text: str, full: bool) -> str:
    """A file or command of the page, with smaller sizes unless it is to run as it stands."""
    for number, smaller in {} if full else SMALLER.items():
        text = text.replace(number, smaller)
    return text


def surroundings(folder: Path) -> dict[str, str]:
    """Environment variables under which the page's commands find their programs: this Python, and
    LeRobot's in the environment of its own."""
    shared = ROOT / "scripts" / "peers"
    start = (
        "import operators, runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], {}, '__main__')"
    )
    programs = {
        "bin/python": f'exec "{sys.executable}" "$@"',
        "bin/manyparts": f'exec "{sys.executable}" -m manyparts "$@"',
        "lerobot/bin/python": f'PYTHONPATH="{shared}" exec "{PEERS}" -c "{start}" "$@"',
    }
    for name, text in programs.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    return os.environ | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "HF_HUB_OFFLINE": "1",
        "MANYPARTS_CACHE": str(folder / "cache"),
    }
