"""robomimic files with one thing that is special: each is read rightly, or refused or left out with
the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from data.formats.small_hdf5 import (
    LENGTHS,
    TEXT,
    opened,
    put,
    put_torn,
    robomimic,
)
from data.synthetic import make_episode, write

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check, repair
from manyparts.data.tools.convert import convert

pytestmark = [
    pytest.mark.usefixtures("no_probe"),
    pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning"),
]


# Instructions

INSTRUCTED: dict[str, Callable[[Any], None]] = {
    "ep_meta": lambda demo: demo.attrs.update(ep_meta=json.dumps({"lang": "lift it"})),
    "attribute": lambda demo: demo.attrs.update(task_description="lift it"),
    "language": lambda demo: demo.attrs.update(language_instruction='"lift it"'),
    "array": lambda demo: demo.attrs.update(
        instruction=np.array(["lift it", "pick it up"], dtype=TEXT)
    ),
    "bytes": lambda demo: demo.attrs.update(language=np.bytes_(b"lift it")),
    "text": lambda demo: put(demo, "language_instruction", "lift it", dtype=TEXT),
    "text a step": lambda demo: put(
        demo, "obs/language_instruction", ["lift it"] * len(demo["actions"]), dtype=TEXT
    ),
    "task": lambda demo: demo.attrs.update(task="lift it"),
    "prompt": lambda demo: put(demo, "prompt", "lift it", dtype=TEXT),
    "RoboTwin": lambda demo: demo.attrs.update(
        instructions=json.dumps({"seen": ["lift it", "pick"], "unseen": []})
    ),
    "codes": lambda demo: put(demo, "language_instruction", codes("lift it", len(demo["actions"]))),
    "codes in obs": lambda demo: put(
        demo, "obs/language_instruction", codes("lift it", len(demo["actions"]))
    ),
}


def codes(text: str, rows: int, width: int = 40) -> np.ndarray:
    """uint8 (rows, width), zeros after the end."""
    return np.tile(np.frombuffer(text.encode().ljust(width, b"\0"), np.uint8), (rows, 1))


@pytest.mark.parametrize("how", INSTRUCTED)
def test_a_demonstrations_own_instruction_comes_first(how: str, tmp_path: Path) -> None:
    def change(number: int, demo: Any) -> None:
        if number:
            INSTRUCTED[how](demo)

    dataset = opened(
        tmp_path, change, instruction="sort all", env_args=json.dumps({"env_name": "Lift"})
    )
    assert [dataset.episode(index).instruction for index in range(3)] == [
        "sort all",
        "lift it",
        "lift it",
    ]
    assert not dataset.reader.contents.notes and len(dataset.spec.state_names) == 3


def test_an_instruction_that_changes_is_noted(tmp_path: Path) -> None:
    def change(number: int, demo: Any) -> None:
        rows = len(demo["actions"])
        said = ["open it"] * (rows - 1) + ["close it" if number else "open it"]
        put(demo, "language_instruction", said, dtype=TEXT)

    dataset = opened(tmp_path, change)
    assert [task.instruction for task in dataset.tasks] == ["open it"]
    (note,) = dataset.reader.contents.notes
    assert note.startswith("2 episodes have several instructions, which change from step to step")


@pytest.mark.parametrize(
    ("name", "make", "why"),
    [
        ("goal", lambda rows: codes("pick up the red cube", rows, 100), "read as text"),
        (
            "goal",
            lambda rows: codes("pick up the red cube", rows, 100).astype(np.float32),
            "read as text",
        ),
        ("tok", lambda rows: np.tile(np.arange(77) * 100, (rows, 1)), "tokens"),
        ("action", lambda rows: np.ones((rows, 2)), "an action"),
        ("state_next", lambda rows: np.ones((rows, 2)), "of the step that follows"),
        ("force", lambda rows: np.full((rows, 2), np.nan), "NaN"),
    ],
)
def test_what_is_no_state_is_named(
    name: str, make: Callable[[int], Any], why: str, tmp_path: Path
) -> None:
    dataset = opened(tmp_path, lambda _, demo: put(demo, f"obs/{name}", make(len(demo["actions"]))))
    assert dataset.spec.state_names == ("hand_0", "hand_1", "hand_2")
    assert why in dataset.reader.contents.left_out[name]


@pytest.mark.parametrize(
    "text",
    [
        '"open the drawer"',
        "open the drawer",
        list("open the drawer"),
        ["open the drawer", "pull it open"],
    ],
)
def test_libero_keeps_its_instruction_in_json(text: Any, tmp_path: Path) -> None:
    problem = json.dumps({"problem_name": "x", "language_instruction": text})
    dataset = opened(
        tmp_path, problem_info=problem, env_args=json.dumps({"env_name": "Libero_Kitchen"})
    )
    assert [task.instruction for task in dataset.tasks] == ["open the drawer"]


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [({"env_name": "Lift"}, "the environment's name is used, 'Lift'"), ({}, "'unknown'")],
)
def test_name_instead_of_instruction_is_noted(
    settings: dict[str, str], wanted: str, tmp_path: Path
) -> None:
    dataset = opened(tmp_path, env_args=json.dumps(settings), language="")
    (note,) = dataset.reader.contents.notes
    assert "no instruction" in note and wanted in note


def test_some_without_an_instruction_are_named(tmp_path: Path) -> None:
    (note,) = opened(
        tmp_path, lambda number, demo: INSTRUCTED["array"](demo) if number else None
    ).reader.contents.notes
    assert note.startswith("demo_0 lack")


# One bad demonstration


def _without_hand(demo: Any) -> None:
    del demo["obs/hand"]


def _empty(demo: Any) -> None:
    put(demo, "actions", np.zeros((0, 2), np.float32))
    put(demo, "obs/hand", np.zeros((0, 3), np.float32))


def _dangling(demo: Any) -> None:
    del demo["obs"]
    demo["obs"] = h5py.SoftLink("/data/demo_77/obs")


BAD: dict[str, tuple[Callable[[Any], None], str]] = {
    "empty": (_empty, "has no steps"),
    "no actions": (lambda demo: demo.pop("actions"), "has no actions"),
    "words for actions": (
        lambda demo: put(demo, "actions", ["x"] * 5, dtype=TEXT),
        "expected 5 rows of numbers",
    ),
    "missing": (_without_hand, "has no obs/hand, which most demonstrations have"),
    "no observations": (lambda demo: demo.pop("obs"), "has no group /data/demo_[0-9]/obs"),
    "not finite": (
        lambda demo: put(demo, "obs/hand", np.full((5, 3), np.nan)),
        r"NaN or infinity \(row 0, dim",
    ),
    "wider": (
        lambda demo: put(demo, "obs/hand", np.ones((5, 4))),
        r"float64 \(5, 4\); they have 3 per step",
    ),
    "shorter": (lambda demo: put(demo, "obs/hand", np.ones((4, 3))), "4 rows for 5 actions"),
    "more actions": (lambda demo: put(demo, "actions", np.ones((5, 3))), "has actions unlike most"),
    "rewards": (lambda demo: put(demo, "rewards", np.ones((5, 2))), "has rewards of float64"),
    "torn": (
        lambda demo: put_torn(demo, "obs/hand", len(demo["actions"])),
        "obs/hand cannot be read",
    ),
    "dangling": (
        _dangling,
        "data/demo_[0-9]/obs is a link to /data/demo_77/obs, which is missing",
    ),
}


@pytest.mark.parametrize("bad", [0, 1])
@pytest.mark.parametrize("how", BAD)
def test_one_bad_demonstration_is_left_out(how: str, bad: int, tmp_path: Path) -> None:
    spoil, why = BAD[how]

    def change(number: int, demo: Any) -> None:
        if number == bad:
            if bad == 0:  # of as many steps as the other one that is spoilt
                put(demo, "actions", demo["actions"][:5])
                put(demo, "obs/hand", demo["obs/hand"][:5])
            spoil(demo)

    path = robomimic(tmp_path / "set.hdf5", change)
    with pytest.raises(UserError, match=f"{why}.*--fix COPY") as refusal:
        EpisodeDataset.open(path)
    assert f"demo_{bad}" in str(refusal.value)
    (finding,) = [each for each in check(path) if each.severity == "error"]
    assert finding.where == f"episode demo_{bad}"
    assert repair(path, tmp_path / "copy") == [f"demo_{bad}"]
    copy = EpisodeDataset.open(tmp_path / "copy")
    assert np.diff(copy.starts).tolist() == [
        length for number, length in enumerate(LENGTHS) if number != bad
    ]


def test_arrays_of_some_demonstrations_are_named(tmp_path: Path) -> None:
    def change(number: int, demo: Any) -> None:
        if number == 1:
            put(demo, "obs/extra", np.ones((5, 2)))

    dataset = opened(tmp_path, change)
    assert dataset.num_episodes == 3 and dataset.spec.state_dimension == 3
    assert dict(dataset.reader.contents.left_out) == {"extra": "not in every demonstration"}


def test_all_bad_demonstrations_are_named(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "set.hdf5", lambda _, demo: _empty(demo))
    findings = {finding.where: finding.what for finding in check(path)}
    assert {f"episode demo_{number}" for number in range(3)} < findings.keys()
    assert "has no demonstration that can be read" in findings[str(path)]


# Layouts


def test_recordings_without_observations_are_refused_once(tmp_path: Path) -> None:
    def change(_: int, demo: Any) -> None:
        del demo["obs"]
        put(demo, "states", np.zeros((len(demo["actions"]), 32)))

    path = robomimic(tmp_path / "demo.hdf5", change)
    with pytest.raises(UserError, match=r"no observations.*dataset_states_to_obs\.py"):
        EpisodeDataset.open(path)
    assert len(check(path)) == 1


def test_other_names_and_splits_are_said(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "set.hdf5", data={"language": "lift it"})
    with h5py.File(path, "a") as file:
        file["data/failed_3/actions"] = np.zeros((3, 2))
        file["mask/train"] = np.array([b"demo_0"])
    notes = " ".join(EpisodeDataset.open(path).reader.contents.notes)
    assert (
        "failed_3 of data are not read" in notes
        and "all splits are read together (train in mask)" in notes
    )


def test_numbers_with_gaps_keep_their_names(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "set.hdf5")
    with h5py.File(path, "a") as file:
        file.move("data/demo_0", "data/demo_10")
    dataset = EpisodeDataset.open(path)
    assert dataset.reader.contents.episode_names == ("demo_1", "demo_2", "demo_10")
    assert np.diff(dataset.starts).tolist() == [5, 4, 6]


@pytest.mark.parametrize(
    "text",
    [None, "{}", json.dumps({"task": ["x"], "seed": 3}), json.dumps({"task": "x", "seed": 3})],
)
def test_own_demonstration_without_task_left_out(text: str | None, tmp_path: Path) -> None:
    source = write(tmp_path / "set", [make_episode(seed, 4) for seed in range(3)])
    convert(source.path, tmp_path / "copy.hdf5", format="robomimic")
    with h5py.File(tmp_path / "copy.hdf5", "a") as file:
        attributes = file["data/demo_1"].attrs
        del attributes["ep_meta"]
        attributes.update({} if text is None else {"ep_meta": text})
    with pytest.raises(
        UserError, match=r"demo_1 has no task and seed of this dataset in its attribute ep_meta"
    ):
        EpisodeDataset.open(tmp_path / "copy.hdf5")
    assert repair(tmp_path / "copy.hdf5", tmp_path / "mended") == ["demo_1"]
