"""One robot recorded in two folders is one embodiment, whatever the folders are called, unless
names are written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from data.formats import foreign
from data.synthetic import make_episode, write
from training.runs import first, second

from manyparts.agents.loading import load
from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.convert import convert
from manyparts.models.checkpoint import CONFIG, load_info, resolve
from manyparts.training.inputs import Sources
from manyparts.training.train import train

UNNAMED = {"npz": foreign.npz, "rlds": foreign.rlds}


def record(folder: Path, seed: int = 0, *, state: int = 3, instruction: str = "push it") -> Path:
    """A user's own recording, as .npz."""
    folder.mkdir(parents=True)
    for number in range(2):
        rng = np.random.default_rng(seed + number)
        action = rng.uniform(-1, 1, (12, 2)) * (1 + seed)
        image = rng.integers(0, 255, (12, 16, 16, 3), dtype=np.uint8)
        arrays = {"action": action, "top": image, "state": rng.normal(size=(12, state))}
        np.savez(folder / f"{number}.npz", **arrays, instruction=instruction)
    return folder


def names(run: Path) -> list[tuple[str, bool]]:
    return [(each.spec.embodiment, each.spec.named) for each in load_info(resolve(run)).embodiments]


def as_written_before(run: Path) -> Path:
    """The run's checkpoint without what tells that a name was a guess."""
    file = resolve(run) / CONFIG
    values = json.loads(file.read_text())
    for each in values["embodiments"]:
        each["spec"].pop("named", None)
    file.write_text(json.dumps(values))
    return run


@pytest.fixture
def monday(tmp_path: Path) -> Path:
    return record(tmp_path / "monday")


@pytest.fixture
def friday(tmp_path: Path) -> Path:
    return record(tmp_path / "friday", seed=1, instruction="pull it")


@pytest.mark.parametrize("name", UNNAMED)
def test_datasets_without_robot_names_are_joined(tmp_path, capsys, name):
    one = UNNAMED[name](tmp_path / "one")
    other = Path(shutil.copytree(one, tmp_path / "other" / "another" / "1.0.0"))
    run = train(first(steps=1), data=[one, other], output=tmp_path / "run", device="cpu")
    assert len(names(run)) == 1 and not names(run)[0][1]
    assert (
        f"not all of {one}, {other} name their robot; they are equal in cameras"
        in capsys.readouterr().err
    )


def test_recordings_of_one_robot_are_joined(monday, friday, tmp_path):
    run = train(first(steps=1), data=[monday, friday], output=tmp_path / "run", device="cpu")
    assert names(run) == [("monday", False)]
    (embodiment,) = load_info(resolve(run)).embodiments
    assert [(task.name, task.instruction) for task in embodiment.tasks] == [
        ("unknown/0", "push it"),
        ("unknown/1", "pull it"),
    ]
    assert max(embodiment.spec.action.high) > 1.5  # of both


def test_another_recording_is_tuned_on(monday, friday, tmp_path, capsys):
    run = train(first(steps=1), data=monday, output=tmp_path / "run", device="cpu")
    for number in range(2):
        tuned = train(
            second(steps=1),
            data=friday,
            output=tmp_path / f"{number}",
            start_from=run,
            device="cpu",
        )
        assert names(tuned)[0][0] == "monday"
        assert (
            f"{friday} does not name its robot: it is taken to be 'monday'"
            in capsys.readouterr().err
        )
        as_written_before(run)


def test_a_dataset_that_was_moved_resumes(monday, tmp_path):
    run = train(first(steps=1), data=monday, output=tmp_path / "run", device="cpu")
    moved = shutil.move(monday, tmp_path / "elsewhere")
    train(first(steps=1), data=moved, output=run, resume=True, device="cpu")
    train(first(steps=1), data=moved, output=as_written_before(run), resume=True, device="cpu")
    other = record(tmp_path / "monday", seed=5)
    with pytest.raises(UserError, match="content is no longer that of"):
        train(first(steps=1), data=other, output=run, resume=True, device="cpu")


def test_names_separate_and_join_datasets(monday, friday, tmp_path):
    options = {"data": [monday, friday], "device": "cpu"}
    two = train(first(steps=1), **options, embodiment=["left", "right"], output=tmp_path / "two")
    assert names(two) == [("left", True), ("right", True)]
    one = train(first(steps=1), **options, embodiment="arm", output=tmp_path / "one")
    assert (
        names(one) == [("arm", True)]
        and load(train_second(one, friday, tmp_path, "arm")).spec.named
    )
    train(first(steps=1), **options, output=two, resume=True)
    with pytest.raises(
        UserError, match=r"embodiment was \['left', 'right'\], is \['left', 'other'\]"
    ):
        train(first(steps=1), **options, embodiment=["left", "other"], output=two, resume=True)
    with pytest.raises(
        UserError,
        match=r"may be left or right; if it is one of these, say so with --embodiment NAME",
    ):
        train_second(two, friday, tmp_path, None)
    tuned = train_second(two, friday, tmp_path, "right")
    assert [each.spec.embodiment for each in load_info(resolve(tuned)).trained] == ["right"]
    with pytest.raises(
        UserError,
        match=r"\(other\); known: left \(not the same: embodiment\).*with --embodiment NAME",
    ):
        train_second(two, friday, tmp_path, "other")


def train_second(run: Path, data: Path, folder: Path, name: str | None) -> Path:
    names = [] if name is None else [name]
    output = folder / f"{run.name}-{name}"
    return train(
        second(steps=1), data=data, embodiment=names, output=output, start_from=run, device="cpu"
    )


def test_converted_datasets_take_a_name(monday, friday, tmp_path):
    for kind in ("lerobot", "minari"):
        convert(monday, tmp_path / f"{kind}-guess", format=kind)
        convert(monday, tmp_path / f"{kind}-arm", format=kind, embodiment="arm")
        guess, arm = (
            EpisodeDataset.open(tmp_path / f"{kind}-{name}").spec for name in ("guess", "arm")
        )
        assert (guess.embodiment, guess.named, arm.embodiment, arm.named) == (
            "monday",
            False,
            "arm",
            True,
        )
    sources = Sources.open([friday, tmp_path / "lerobot-arm"])
    assert [each.spec.embodiment for each in sources.embodiments()] == ["arm"]
    run = train(first(steps=1), data=friday, output=tmp_path / "run", device="cpu")
    assert names(train_second(run, tmp_path / "lerobot-arm", tmp_path, None)) == [("arm", True)]


def test_robots_that_differ_are_not_joined(monday, tmp_path):
    other = record(tmp_path / "other", state=4)
    assert len(Sources.open([monday, other]).embodiments()) == 2
    same_name = record(tmp_path / "again" / "monday", state=4)
    with pytest.raises(
        UserError, match=r"differ \(state_names.*of two robots\? name them with --embodiment"
    ):
        Sources.open([monday, same_name]).embodiments()
    assert len(Sources.open([monday, same_name], embodiment=["a", "b"]).embodiments()) == 2
    for wrong in (["a", "b", "c"], [" "]):
        with pytest.raises(UserError, match="embodiment"):
            Sources.open([monday, other], embodiment=wrong)


def test_names_in_files_are_no_guess(tmp_path):
    data = write(tmp_path / "data", [make_episode(0, 6)])
    assert data.spec.named and "named" not in data.spec.to_dict()
    assert EpisodeDataset.open(foreign.robomimic(tmp_path / "r.hdf5")).spec.named
    assert EpisodeDataset.open(foreign.lerobot_v2(tmp_path / "lerobot", "v2.1")).spec.named
    info = tmp_path / "lerobot/meta/info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"robot_type": None}))
    assert not EpisodeDataset.open(tmp_path / "lerobot").spec.named
