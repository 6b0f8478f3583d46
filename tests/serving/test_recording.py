"""What is recorded of clients, and what a stranger's episode costs others: nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation.evaluating import make_run
from serving.served import CAMERA, INSTRUCTION, SIZE

from manyparts.agents.loading import load
from manyparts.core.errors import UserError
from manyparts.core.records import Episode, Prompt
from manyparts.data.dataset import DatasetWriter, EpisodeDataset, TaskEntry
from manyparts.data.tools.editing.commands import Destination, relabel
from manyparts.serving.description import Description
from manyparts.serving.recording import Recorder
from manyparts.serving.session import Answer, Memory, Request


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> Description:
    return Description.of(load(make_run(tmp_path_factory.mktemp("run"))), None)


def show(record: Any, count: int, instruction: str = INSTRUCTION, **more: Any) -> list[str]:
    """What is said of so many requests that are answered."""
    image, actions = np.full((*SIZE, 3), 7, np.uint8), np.zeros((2, 2), np.float32)
    request = Request({CAMERA: image}, np.zeros(2, np.float32), Prompt(instruction), **more)
    return [record.add(request, Answer(actions, Memory())) for _ in range(count)]


def test_another_instruction_begins_an_episode(description: Description, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "set", description)
    record = recorder.client()
    assert show(record, 3, "open it") == ["", "", ""]
    assert show(record, 2, "close it") == ["it is asked for something else now", ""]
    record.ended()
    recorder.close()
    dataset = EpisodeDataset.open(tmp_path / "set")
    assert [episode.instruction for episode in dataset] == ["open it", "close it"]
    assert [len(episode) for episode in dataset] == [3, 2]


def test_an_episode_that_cannot_be_written_costs_no_other(
    description: Description, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder(tmp_path / "set", description)
    stranger, other = recorder.client(), recorder.client()
    show(stranger, 2, seed=2**70)
    stranger.ended()
    show(other, 2)
    other.ended()
    recorder.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("an episode is not recorded") and "Traceback" not in line
    assert len(EpisodeDataset.open(tmp_path / "set")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_answers_that_were_carried_out_in_part_are_said(
    description: Description, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their rows would last shorter than the dataset says; the last of an episode may."""
    recorder = Recorder(tmp_path / "set", description)
    record = recorder.client()
    show(record, 1)
    show(record, 2, executed=1)
    record.ended()
    show(record, 1)
    show(record, 1, executed=2)
    record.ended()
    recorder.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert "carried out 1 of the 2 actions of an answer" in line and "--actions 1" in line
    assert [len(episode) for episode in EpisodeDataset.open(tmp_path / "set")] == [2]


def test_one_program_records_at_a_time(description: Description, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "set", description)
    with pytest.raises(UserError, match=r"--record .*set is in use by another process"):
        Recorder(tmp_path / "set", description)
    recorder.close()
    Recorder(tmp_path / "set", description).close()
    assert not [*tmp_path.iterdir()]


def test_a_folder_that_cannot_be_made_is_said_at_once(description: Description) -> None:
    with pytest.raises(UserError, match="cannot write /proc/nowhere"):
        Recorder(Path("/proc/nowhere/set"), description)


def test_episodes_of_another_robot_are_refused(description: Description, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "set", description)
    record = recorder.client()
    show(record, 2)
    record.ended()
    recorder.close()
    other = replace(description, actions=1)
    with pytest.raises(UserError, match="another robot or another --actions"):
        Recorder(tmp_path / "set", other)
    Recorder(tmp_path / "set", description).close()


def test_a_dataset_of_an_environment_is_refused_at_once(
    description: Description, tmp_path: Path
) -> None:
    recorder = Recorder(tmp_path / "served", description)
    given: Any = {
        "fps": recorder.spec.action.control_rate_hz,
        "tasks": [TaskEntry("toy/one", "one")],
        "environment": {"goal": "visible"},
        "expert": False,
    }
    recorder.close()
    length, spec = 2, recorder.spec
    action = np.zeros((length, spec.action.dimension), np.float32)
    episode = Episode(
        task="toy/one",
        instruction="one",
        seed=0,
        images={
            name: np.zeros((length, *size, 3), np.uint8) for name, size in spec.cameras.items()
        },
        state=np.zeros((length, spec.state_dimension), np.float32),
        action=action,
        expert_action=action,
        reward=np.zeros(length, np.float32),
        success=np.zeros(length, bool),
    )
    with DatasetWriter(tmp_path / "set", spec, **given) as writer:
        writer.add(episode)
    with pytest.raises(UserError, match=r"--record: .*set differs .*environment: another"):
        Recorder(tmp_path / "set", description)


def test_a_dataset_that_was_edited_meanwhile_takes_no_more(
    description: Description, tmp_path: Path
) -> None:
    path = tmp_path / "set"
    recorder = Recorder(path, description)
    record = recorder.client()
    own = description.tasks[0].instruction
    show(record, 2, own, seed=3)
    show(record, 1, own, seed=5)  # an agent draws by the first one
    record.ended()
    recorder.close()
    recorder = Recorder(path, description)
    with pytest.raises(UserError, match="is in use by another process"):
        relabel(path, Destination(in_place=True), texts="do another thing")
    recorder.close()
    assert [episode.seed for episode in EpisodeDataset.open(path)] == [3]
    relabel(path, Destination(in_place=True), texts="do another thing")
    with pytest.raises(UserError, match="has the instruction 'do another thing' for"):
        Recorder(path, description)


def test_a_folder_that_cannot_be_made_is_one_line(description: Description) -> None:
    with pytest.raises(UserError, match="no file can be made in /proc"):
        Recorder(Path("/proc/recorded"), description)
