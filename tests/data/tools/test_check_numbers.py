"""The doctor on numbers that mislead: rows that set the bounds of all, angles that jump, and
instructions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data.synthetic import make_episode, make_spec

from manyparts.core.errors import DatasetWarning
from manyparts.data.dataset import DatasetWriter, EpisodeDataset, TaskEntry
from manyparts.data.tools.bounds import require_learnable
from manyparts.data.tools.check import check
from manyparts.data.tools.findings import Finding

ROWS = 60


def findings_in(
    folder: Path, state: Callable[[int], np.ndarray], action: Callable[[int], np.ndarray]
) -> list[Finding]:
    """What is found in three episodes, but for dimensions that never change."""
    folder.mkdir()
    for number in range(3):
        np.savez(
            folder / f"ep_{number}.npz",
            q=state(number),
            action=action(number),
            instruction=np.array("go there"),
        )
    return [finding for finding in check(folder) if finding.check != "constants"]


def usual(number: int, width: int = 3, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(number).uniform(-0.5, 0.5, (rows, width))


def with_value(value: float, *, rows: int = ROWS, at: int = 37) -> Callable[[int], np.ndarray]:
    def make(number: int) -> np.ndarray:
        actions = usual(number, rows=rows)
        if number == 1:
            actions[at, 2] = value
        return actions

    return make


@pytest.mark.parametrize("value", [46.0, -46.0, 8.0])
def test_outlying_action_is_named(value: float, tmp_path: Path) -> None:
    (finding,) = findings_in(tmp_path / "set", usual, with_value(value))
    assert (finding.check, finding.severity, finding.where) == (
        "outliers",
        "warning",
        "episode ep_1, action",
    )
    assert finding.what.startswith(
        f"row 37: action_2 is {value:g}; its other values lie between -0.4"
    )


def test_outlier_in_small_dataset_is_named(tmp_path: Path) -> None:
    (finding,) = findings_in(tmp_path / "set", usual, with_value(46, rows=20, at=7))
    assert finding.what.startswith("row 7: action_2 is 46")


def test_training_warns_of_outlying_bounds(tmp_path: Path) -> None:
    for name, value in (("far", 46.0), ("near", 0.4)):
        findings_in(tmp_path / name, usual, with_value(value))
    with pytest.warns(
        DatasetWarning,
        match="few rows, far from the rest, set how all numbers of action action_2 are",
    ):
        require_learnable(EpisodeDataset.open(tmp_path / "far"), dynamics=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        require_learnable(EpisodeDataset.open(tmp_path / "near"), dynamics=False)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.normal(size=(ROWS, 2)),
        lambda rng: rng.laplace(size=(ROWS, 2)),
        lambda rng: rng.uniform(-np.pi, np.pi, (ROWS, 2)),
        lambda rng: (rng.random((ROWS, 2)) < 0.01) * 1.0,
        lambda rng: rng.integers(0, 7, (ROWS, 2)).astype(float),
        lambda rng: np.where(rng.random((ROWS, 2)) < 0.5, -1.0, 1.0),
        lambda rng: 1000 + 50 * np.cumsum(rng.normal(size=(ROWS, 2)), axis=0),
    ],
    ids=["normal", "Laplace", "uniform", "rare button", "choices", "gripper", "walk"],
)
def test_usual_numbers_give_no_findings(
    draw: Callable[[np.random.Generator], np.ndarray], tmp_path: Path
):
    def make(number: int) -> np.ndarray:
        return draw(np.random.default_rng(number))

    assert findings_in(tmp_path / "set", make, make) == []


def turning(number: int) -> np.ndarray:
    """rad, beyond pi after some rows."""
    return 2.7 + 0.1 * np.arange(ROWS) + 0.05 * number


def wrapped(angle: np.ndarray, period: float) -> np.ndarray:
    return (angle + period / 2) % period - period / 2


def column(values: np.ndarray, number: int) -> np.ndarray:
    return np.concatenate([usual(number, 2), values.reshape(ROWS, -1)], axis=1)


def about(angle: np.ndarray, axis: tuple[float, float, float]) -> np.ndarray:
    """Axis times angle in (-pi, pi]."""
    return wrapped(angle, 2 * np.pi)[:, None] * np.asarray(axis)


def quaternions(number: int) -> np.ndarray:
    """About a tilted axis; the sign changes in every third row."""
    half, sign = turning(number)[:, None] / 2, np.where(np.arange(ROWS) % 3 == 1, -1, 1)[:, None]
    return sign * np.concatenate([np.sin(half) * np.array([[0.6, 0, 0.8]]), np.cos(half)], axis=1)


ANGLES: dict[str, tuple[Callable[[int], np.ndarray], str]] = {
    "radians": (
        lambda n: wrapped(turning(n), 2 * np.pi),
        "q_2 jumps by 2 pi 3 times, first in episode ep_0 from",
    ),
    "from zero": (
        lambda n: (turning(n) + 2) % (2 * np.pi),
        "q_2 jumps by 2 pi 3 times, first in episode",
    ),
    "degrees": (lambda n: wrapped(np.degrees(turning(n)), 360), "q_2 jumps by 360 degrees 3 times"),
    "near pi": (lambda n: wrapped(np.pi + 0.1 * usual(n, 1), 2 * np.pi), "q_2 jumps by 2 pi "),
    "quaternion": (quaternions, "q_2 to q_5 changes the sign of a quaternion"),
    "rotation vector": (
        lambda n: about(turning(n), (0.6, 0.0, 0.8)),
        "q_2 to q_4 turns over by 2 pi 3 times",
    ),
}


@pytest.mark.parametrize("kind", ANGLES)
def test_angles_that_jump_are_named(kind: str, tmp_path: Path) -> None:
    make, words = ANGLES[kind]
    (finding,) = findings_in(tmp_path / "set", lambda n: column(make(n), n), usual)
    assert (finding.check, finding.severity, finding.where) == (
        "angles",
        "warning",
        "observation.state",
    )
    assert finding.what.startswith(words) and finding.remedy


def test_smooth_angles_give_no_findings(tmp_path: Path) -> None:
    def steady(number: int) -> np.ndarray:
        half = turning(number)[:, None] / 2
        turned = np.concatenate([np.sin(half), np.zeros((ROWS, 2)), np.cos(half)], axis=1)
        return column(np.concatenate([turning(number)[:, None], turned], axis=1), number)

    assert findings_in(tmp_path / "set", steady, usual) == []


def instructed(folder: Path, *instructions: str) -> list[tuple[str, str]]:
    """Tasks with these instructions, an episode each, and what is found of them."""
    tasks = tuple(
        TaskEntry(f"toy/{number}", instruction) for number, instruction in enumerate(instructions)
    )
    with DatasetWriter(folder, make_spec(), fps=10, tasks=tasks, environment={}) as writer:
        for number, task in enumerate(tasks):
            episode = make_episode(number, 6)
            writer.add(
                type(episode)(
                    **{**vars(episode), "task": task.name, "instruction": task.instruction}
                )
            )
    return [
        (finding.where, finding.what)
        for finding in check(folder)
        if finding.check == "instructions"
    ]


def test_an_empty_instruction_is_named(tmp_path: Path) -> None:
    assert instructed(tmp_path / "set", "lift it", " ") == [
        ("task toy/1 (1 episode)", "the instruction is empty")
    ]


def test_tasks_sharing_instruction_are_named(tmp_path: Path) -> None:
    assert instructed(tmp_path / "all", "lift it", "Lift  it") == [
        ("all tasks", "2 tasks have one instruction, 'lift it'")
    ]
    (some,) = instructed(tmp_path / "some", "lift it", "open it", "lift it")
    assert some == ("toy/0, toy/2", "2 tasks have one instruction, 'lift it'")


@pytest.mark.parametrize(
    "name",
    ["cube_set", "1.0.0", "PickPlaceCan", "reach-v3", "Libero_Kitchen", "robot", "7", "..."],
)
def test_a_name_is_no_instruction(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "robot" / "cube_set"
    folder.parent.mkdir()
    ((where, what),) = instructed(folder, name)
    assert where == "task toy/0 (1 episode)" and what.startswith(
        f"the instruction {name!r} looks like a name"
    )


@pytest.mark.parametrize(
    "text", ["lift", "Öffne!", "把红色方块拿起来", "Move to X2.", "lift-off", "pick_up_the_cube"]
)
def test_short_instructions_are_no_names(text: str, tmp_path: Path) -> None:
    assert instructed(tmp_path / "set", text) == []
