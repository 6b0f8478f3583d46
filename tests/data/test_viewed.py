"""A dataset through a view: episodes, numbers, instructions, and what its content is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data.formats.lerobot_texts import CHANGE, LIFT, REACH, by_index
from data.synthetic import assert_equal, make_episode, make_spec, write
from scipy.spatial.transform import Rotation

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.lerobot.reader import LeRobotReader
from manyparts.data.sampling.splits import seen_episodes, split_dataset
from manyparts.data.tools.convert import convert

SPEC = make_spec(48, ("front", "side"))
VIEWS = {
    "images": {"size": [16, 16], "cameras": {"top": "front"}},
    "every third": {"every": 3},
    "state": {"state": ["hand_*"], "size": [8, 12], "fit": "pad"},
    "instructions": {"instructions": {"toy/push": ["shove it", "push it"], "3": "once more"}},
    "quantiles": {"scale": "quantile"},
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> EpisodeDataset:
    episodes = [make_episode(seed, 8 + seed % 3, SPEC) for seed in range(12)]
    return write(tmp_path_factory.mktemp("viewed") / "data", episodes, SPEC)


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_equals_what_convert_writes(
    recorded: EpisodeDataset, name: str, tmp_path: Path
) -> None:
    seen = recorded.through(VIEWS[name])
    convert(seen, tmp_path / "written")
    written = EpisodeDataset.open(tmp_path / "written")
    assert written.spec == seen.spec and written.fps == pytest.approx(seen.fps)
    assert [task.instruction for task in written.tasks] == [task.instruction for task in seen.tasks]
    assert len(written) == len(seen)
    for one, other in zip(written, seen, strict=True):
        assert_equal(one, other)
    for feature in ("observation.state", "action", "expert_action"):
        assert written.statistics[feature] == seen.statistics[feature]


def test_a_written_view_says_that_no_robot_shows_it(
    recorded: EpisodeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(recorded.through({"instruction": "go"}), tmp_path / "reworded")
    assert "note:" not in capsys.readouterr().err
    convert(recorded.through({"crop": {"*": [0, 0, 8, 8]}, "size": [16, 16]}), tmp_path / "cut")
    assert f"to act with the robot's own cameras and states, train on {recorded.path}" in (
        capsys.readouterr().err
    )


def test_every_third_frame_keeps_what_happened(recorded: EpisodeDataset) -> None:
    seen, whole = recorded.through({"every": 3}).episode(1), recorded.episode(1)
    assert len(seen) == 3 and len(whole) == 9
    assert np.array_equal(seen.images["front"], whole.images["front"][::3])
    assert np.array_equal(seen.state, whole.state[::3])
    assert np.allclose(seen.action[1], whole.action[3:6].sum(axis=0))
    assert seen.reward.sum() == pytest.approx(whole.reward.sum(), rel=1e-5)
    assert seen.success.tolist() == [False, False, True]
    assert recorded.through({"every": 3}).columns(1)["next.done"].tolist() == [False, False, True]


def test_a_view_reads_each_episode_once(
    recorded: EpisodeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    columns = LeRobotReader.columns

    def counted(reader: LeRobotReader, index: int) -> dict[str, np.ndarray]:
        read.append(index)
        return columns(reader, index)

    monkeypatch.setattr(LeRobotReader, "columns", counted)
    recorded.through(VIEWS["every third"])
    assert read == list(range(len(recorded)))


def test_the_last_frames_of_an_episode_are_merged_alone(recorded: EpisodeDataset) -> None:
    seen, whole = recorded.through({"every": 3}).episode(0), recorded.episode(0)
    assert len(whole) == 8 and len(seen) == 3
    assert np.allclose(seen.action[2], whole.action[6:].sum(axis=0))


def test_instructions_of_episodes_come_before_those_of_tasks(recorded: EpisodeDataset) -> None:
    seen = recorded.through(VIEWS["instructions"])
    assert [seen.episode(index).instruction for index in range(4)] == [
        "reach the red ball", "shove it", "reach the red ball", "once more",
    ]  # fmt: skip
    assert seen.tasks[1].paraphrases == ("push it",)


def test_a_number_is_the_episode_of_that_name(
    recorded: EpisodeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Episodes 0 and 1 are gone: the key 3 is the second one's name, and the fourth one's place."""
    names = {"name_of": lambda self, index: str(index + 2)}
    monkeypatch.setattr(type(recorded.reader.contents), "name_of", names["name_of"])
    seen = recorded.through({"instructions": {"3": "drop it", "1": "wave"}})
    asked = [episode.instruction for episode in seen]
    assert [number for number, said in enumerate(asked) if said == "drop it"] == [1]
    assert "wave" not in asked, "the second one has a name"


def test_paraphrases_of_equal_instructions_are_joined(recorded: EpisodeDataset) -> None:
    table = {"0": ["go", "move"], "1": ["go", "walk"], "2": "reach the red ball\ntouch it"}
    seen = recorded.through({"instructions": table})
    by_text = {task.instruction: task.paraphrases for task in seen.tasks}
    assert by_text["go"] == ("move", "walk") and by_text["reach the red ball"][-1] == "touch it"


def test_a_name_that_stands_twice_is_refused(recorded: EpisodeDataset, tmp_path: Path) -> None:
    (tmp_path / "view.json").write_text('{"every": 2, "every": 3}')
    with pytest.raises(UserError, match="'every' stands twice"):
        recorded.through(tmp_path / "view.json")


def test_a_table_that_names_nothing_is_refused(recorded: EpisodeDataset) -> None:
    with pytest.raises(UserError, match="names 'toy/pusch'; did you mean toy/push"):
        recorded.through({"instructions": {"toy/pusch": "shove it"}})


def test_a_view_changes_the_fingerprint_and_no_content(recorded: EpisodeDataset) -> None:
    one, other = recorded.through({"size": [8, 8]}), recorded.through({"size": [8, 9]})
    assert len({recorded.fingerprint, one.fingerprint, other.fingerprint}) == 3
    assert recorded.content == one.content == other.content == recorded.fingerprint
    assert recorded.through({}) is recorded


def test_what_was_seen_goes_by_content_alone(recorded: EpisodeDataset) -> None:
    seen = recorded.through({"every": 2, "instruction": "do it"})
    provenance = {
        "dataset_fingerprints": [seen.content],
        "validation_fraction": 0.2,
        "seed": 3,
    }
    learned, _ = split_dataset(seen, 0.2, 3)
    assert np.array_equal(learned, split_dataset(recorded, 0.2, 3)[0])
    for dataset in (seen, recorded):
        known = seen_episodes(provenance, dataset)
        assert known is not None and np.array_equal(known, learned)


def test_two_views_of_one_dataset_are_refused(recorded: EpisodeDataset) -> None:
    with pytest.raises(UserError, match="already seen through a view"):
        recorded.through({"every": 2}).through({"size": [8, 8]})


def test_a_name_for_the_robot_stays(recorded: EpisodeDataset) -> None:
    assert recorded.of_embodiment("mine").through({"size": [8, 8]}).spec.embodiment == "mine"


def poses(folder: Path) -> Path:
    """Episodes in which roll and yaw go through pi, as npz."""
    folder.mkdir()
    for number in range(3):
        rows = np.arange(11)
        yaw = (2.7 + 0.1 * rows + 0.05 * number + np.pi) % (2 * np.pi) - np.pi
        roll = np.where(rows % 2, -np.pi + 0.02, np.pi - 0.02)
        pose = np.stack([rows, rows, rows, roll, 0.1 + rows / 100, yaw], axis=1)
        np.savez(folder / f"episode_{number}.npz", pose=pose[:-1], action=pose[1:])
    return folder


def test_rotations_do_not_jump_and_come_back(tmp_path: Path) -> None:
    view = {"rotations": {"pose_[345]": "euler", "action_[345]": "euler"}}
    raw = EpisodeDataset.open(poses(tmp_path / "poses"))
    seen = raw.through(view)
    assert seen.spec.state_dimension == seen.spec.action.dimension == 9
    for episode, whole in zip(seen, raw, strict=True):
        assert np.abs(np.diff(whole.state[:, 3:], axis=0)).max() > 6
        assert np.abs(np.diff(episode.state[:, 3:], axis=0)).max() < 0.15
        source = seen.source
        assert source is not None
        for action, before in zip(episode.action, whole.action, strict=True):
            back = source.action_of(action, None)
            one, other = (Rotation.from_euler("xyz", each[3:]) for each in (back, before))
            assert (one.inv() * other).magnitude() < 1e-5


def test_a_view_that_contradicts_the_numbers_names_the_episode(tmp_path: Path) -> None:
    raw = EpisodeDataset.open(poses(tmp_path / "poses"))
    with pytest.raises(UserError, match=r"episode .*0.*degrees"):
        raw.through({"rotations": {"pose_[012]": "euler"}})


def test_an_outlier_does_not_set_the_scale(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        action = rng.uniform(-0.5, 0.5, (60, 2))
        action[37] *= 100 if number == 1 else 1
        state = rng.normal(size=(60, 2))
        np.savez(tmp_path / f"data/episode_{number}.npz", state=state, action=action)
    raw = EpisodeDataset.open(tmp_path / "data")
    assert max(raw.spec.action.high) > 5 or min(raw.spec.action.low) < -5
    contract = raw.through({"scale": "quantile"}).spec.action
    assert np.abs([contract.low, contract.high]).max() < 0.51
    assert not replace(contract, measured=False).measured


def test_an_episode_is_cut_where_its_subtask_changes(tmp_path: Path) -> None:
    raw = EpisodeDataset.open(by_index(tmp_path / "set"))
    seen = raw.through({"instruction_column": "subtask"})
    assert [episode.instruction for episode in seen] == [REACH, LIFT] * len(raw)
    assert [len(seen.episode(index)) for index in range(2)] == [
        CHANGE,
        len(raw.episode(0)) - CHANGE,
    ]
    assert seen.source_episodes.tolist() == [0, 0, 1, 1, 2, 2]
    assert np.array_equal(seen.episode(3).state, raw.episode(1).state[CHANGE:])
    assert seen.reader.contents.name_of(1) == f"0[{CHANGE}:{len(raw.episode(0))}]"


def test_rows_without_a_text_are_left_out_with_a_word(tmp_path: Path) -> None:
    folder = by_index(tmp_path / "set", lambda episode, row: -1 if episode == 2 or row == 0 else 0)
    seen = EpisodeDataset.open(folder).through({"instruction_column": "subtask"})
    contents = seen.reader.contents
    assert len(seen) == 2 and contents.episodes_left_out == {"2": "no subtask in any row"}
    assert contents.notes[-1] == "2 rows without a subtask left out"


def test_a_column_that_is_not_there_is_refused(tmp_path: Path, recorded: EpisodeDataset) -> None:
    with pytest.raises(UserError, match="no column of texts; there are none"):
        recorded.through({"instruction_column": "subtask"})
    with pytest.raises(UserError, match="did you mean subtask"):
        raw = EpisodeDataset.open(by_index(tmp_path / "set"))
        raw.through({"instruction_column": "subtsk"})
