"""A dataset reads back what was written, in the LeRobotDataset v3.0 layout."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from data.synthetic import ENVIRONMENT, FPS, TASKS, assert_equal, make_episode, make_spec, write

from manyparts.core.errors import UserError
from manyparts.core.storage.atomic import temporary_folder
from manyparts.core.storage.locks import hold_beside
from manyparts.data.dataset import DatasetWriter, EpisodeDataset, TaskEntry, append
from manyparts.data.formats.lerobot import appending, layout
from manyparts.data.formats.lerobot.card import counts
from manyparts.data.formats.lerobot.writer import Images

EPISODES = [make_episode(seed, 5 + seed) for seed in range(5)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> EpisodeDataset:
    return write(tmp_path_factory.mktemp("toy") / "set", EPISODES)


def contents(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def test_episodes_come_back_as_they_were(dataset: EpisodeDataset) -> None:
    assert dataset.num_episodes == 5 and dataset.num_frames == sum(map(len, EPISODES))
    assert dataset.starts.tolist() == np.cumsum([0, *map(len, EPISODES)]).tolist()
    assert dataset.episode_task.tolist() == [0, 1, 0, 1, 0]
    assert (
        dataset.spec == make_spec()
        and dataset.tasks == TASKS
        and dataset.environment == ENVIRONMENT
    )
    for index in (3, 0, 4, 1, 2):
        assert_equal(dataset.episode(index), EPISODES[index])


def test_dataset_is_sequence_of_episodes(dataset: EpisodeDataset) -> None:
    assert len(dataset) == 5
    assert_equal(dataset[-1], EPISODES[4])
    assert_equal(dataset.episode(-5), EPISODES[0])
    for episode, expected in zip(dataset, EPISODES, strict=True):
        assert_equal(episode, expected)
    assert dataset.length(-1) == len(EPISODES[4]) and dataset.seed(-1) == EPISODES[4].seed
    np.testing.assert_array_equal(
        dataset.frames(-1, "front", [2]), EPISODES[4].images["front"][2:3]
    )
    assert dataset.frames(0, "front", []).shape == (0, 16, 16, 3)


@pytest.mark.parametrize("index", [5, -6])
def test_missing_episode_index_is_refused(dataset: EpisodeDataset, index: int) -> None:
    for read in (dataset.episode, dataset.columns, dataset.length, dataset.seed, dataset.rewards):
        with pytest.raises(UserError, match=f"no episode {index}; expected 0 to 4"):
            read(index)


def test_two_cameras_without_state(tmp_path: Path) -> None:
    spec = make_spec(cameras=("front", "wrist"))
    action = type(spec.action)("torque", "joint", ("u",), (-1.0,), (1.0,), FPS)
    spec = type(spec)("toy", spec.cameras, (), action)
    episode = make_episode(1, 6, spec)
    assert_equal(write(tmp_path / "set", [episode], spec).episode(0), episode)


def test_equal_episodes_give_equal_bytes(dataset: EpisodeDataset, tmp_path: Path) -> None:
    again = write(tmp_path / "again", EPISODES)
    assert contents(again.path) == contents(dataset.path)
    assert again.fingerprint == dataset.fingerprint


def test_fingerprint_follows_the_content(dataset: EpisodeDataset, tmp_path: Path) -> None:
    fewer = write(tmp_path / "fewer", EPISODES[:-1])
    assert fewer.fingerprint != dataset.fingerprint


def test_layout_equals_lerobots_own(dataset: EpisodeDataset) -> None:
    assert contents(dataset.path).keys() == {
        "README.md",
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "data/chunk-000/file-000.parquet",
    }
    info = json.loads((dataset.path / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["fps"] == 80 and info["video_path"] is None
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (
        5,
        dataset.num_frames,
        2,
    )
    assert info["splits"] == {"train": "0:5"} and info["chunks_size"] == 1000
    assert info["features"]["observation.images.front"] == {
        "dtype": "image",
        "shape": [16, 16, 3],
        "names": ["height", "width", "channels"],
    }
    assert info["features"]["timestamp"] == {"dtype": "float32", "shape": [1], "names": None}


def test_tasks_carry_a_pandas_index(dataset: EpisodeDataset) -> None:
    table = pq.read_table(dataset.path / "meta/tasks.parquet")
    described = json.loads(table.schema.metadata[b"pandas"])
    assert described["index_columns"] == ["task"]
    assert table["task"].to_pylist() == [task.instruction for task in TASKS]
    assert (
        table["task_index"].to_pylist() == [0, 1]
        and str(table.schema.field("task_index").type) == "int64"
    )


def test_one_row_group_per_episode(dataset: EpisodeDataset) -> None:
    file = pq.ParquetFile(dataset.path / "data/chunk-000/file-000.parquet")
    assert [
        file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)
    ] == list(map(len, EPISODES))
    assert file.metadata.row_group(0).column(0).compression == "SNAPPY"
    table = file.read()
    assert str(table.schema.field("observation.state").type).startswith(
        "fixed_size_list<element: float"
    )
    assert str(table.schema.field("action").type).endswith("[2]")
    assert str(table.schema.field("next.reward").type) == "float"
    assert table["index"].to_pylist() == list(range(dataset.num_frames))
    assert table["frame_index"].to_pylist() == [
        step for episode in EPISODES for step in range(len(episode))
    ]
    np.testing.assert_allclose(
        table["timestamp"], np.asarray(table["frame_index"]) / FPS, rtol=1e-6
    )
    assert [bool(done) for done in table["next.done"].to_pylist()] == [
        step == len(episode) - 1 for episode in EPISODES for step in range(len(episode))
    ]
    image = table["observation.images.front"][0].as_py()
    assert image["path"] == "frame-000000.png" and image["bytes"][:8] == b"\x89PNG\r\n\x1a\n"


def test_episodes_carry_indices_and_statistics(dataset: EpisodeDataset) -> None:
    rows = pq.read_table(dataset.path / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    for index, (row, episode) in enumerate(zip(rows, EPISODES, strict=True)):
        assert (
            row["episode_index"] == index
            and row["tasks"] == [episode.instruction]
            and row["length"] == len(episode)
        )
        assert row["dataset_to_index"] - row["dataset_from_index"] == len(episode)
        assert row["seed"] == episode.seed and row["noisy"] == bool(episode.seed % 2)
        np.testing.assert_allclose(
            row["stats/observation.state/mean"], episode.state.mean(0), rtol=1e-5
        )
        np.testing.assert_allclose(
            row["stats/action/q90"], np.quantile(episode.action, 0.9, axis=0), rtol=1e-5
        )
        assert row["stats/action/count"] == [len(episode)]
        assert np.shape(row["stats/observation.images.front/mean"]) == (3, 1, 1)


def test_statistics_are_those_of_all_frames(dataset: EpisodeDataset) -> None:
    states = np.concatenate([episode.state for episode in EPISODES]).astype(np.float64)
    statistics = dataset.statistics["observation.state"]
    np.testing.assert_allclose(statistics.mean, states.mean(0), rtol=1e-9)
    np.testing.assert_allclose(statistics.std, states.std(0), rtol=1e-9)
    np.testing.assert_allclose(statistics.q99, np.quantile(states, 0.99, axis=0), rtol=1e-9)
    assert statistics.count == dataset.num_frames


def test_files_roll_over_at_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "DATA_FILE_MEGABYTES", 0.003)
    monkeypatch.setattr(layout, "FILES_PER_CHUNK", 2)
    rolled = write(tmp_path / "rolled", EPISODES)
    files = sorted(name for name in contents(rolled.path) if name.startswith("data"))
    assert len(files) > 2 and files[:3] == [
        f"data/chunk-00{n // 2}/file-00{n % 2}.parquet" for n in range(3)
    ]
    for index, episode in enumerate(EPISODES):
        assert_equal(rolled.episode(index), episode)


def test_appending_equals_writing_at_once(dataset: EpisodeDataset, tmp_path: Path) -> None:
    first = write(tmp_path / "grown", EPISODES[:2])
    added = TaskEntry("toy/wave", "wave")
    with append(first.path, first.spec, fps=FPS, tasks=[added], environment=ENVIRONMENT) as writer:
        for episode in EPISODES[2:]:
            writer.add(episode)
        assert EpisodeDataset.open(first.path).fingerprint == first.fingerprint
    grown = EpisodeDataset.open(first.path)
    assert grown.tasks == (*TASKS, added) and grown.statistics == dataset.statistics
    for index, episode in enumerate(EPISODES):
        assert_equal(grown.episode(index), episode)
    assert grown.fingerprint != first.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["grown"]


@pytest.mark.parametrize("images", ["png", "video"])
def test_appending_after_a_writer_reads_nothing_and_gives_the_same_bytes(
    tmp_path: Path, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(64)
    episodes = [make_episode(seed, 5 + seed, spec) for seed in range(4)]
    sets, last = (tmp_path / "read", tmp_path / "continued"), None
    for number, episode in enumerate(episodes):
        for path in sets:
            given: dict[str, Any] = {"fps": FPS, "tasks": TASKS, "environment": ENVIRONMENT}
            if number == 0:
                writer = DatasetWriter(path, spec, images=images, **given)
            else:
                after = last if path.name == "continued" else None
                with monkeypatch.context() as patched:
                    if after is not None:
                        patched.setattr(appending, "LeRobotReader", None)
                    writer = append(path, spec, after=after, **given)
            with writer:
                writer.add(episode)
        last = writer
    read, continued = map(contents, sets)
    if images == "video":  # which is lossy: statistics of what was read are not of what was written
        assert continued.pop(layout.STATS) != read.pop(layout.STATS)
    assert continued == read
    for index, episode in enumerate(episodes if images == "png" else []):
        assert_equal(EpisodeDataset.open(sets[1]).episode(index), episode)


def test_a_dataset_that_changed_since_its_writer_is_read(tmp_path: Path) -> None:
    given: dict[str, Any] = {"fps": FPS, "tasks": TASKS, "environment": ENVIRONMENT}
    path, last = tmp_path / "set", DatasetWriter(tmp_path / "set", make_spec(), **given)
    with last:
        last.add(EPISODES[0])
    with append(path, make_spec(), **given) as other:
        other.add(EPISODES[1])
    with append(path, make_spec(), after=last, **given) as writer:
        writer.add(EPISODES[2])
    grown = EpisodeDataset.open(path)
    for index, episode in enumerate(EPISODES[:3]):
        assert_equal(grown.episode(index), episode)
    with pytest.raises(UserError, match=r"cameras.*16.*32"):
        append(path, make_spec(32), after=writer, **given)


def test_append_refuses_another_embodiment(tmp_path: Path) -> None:
    made = write(tmp_path / "set", EPISODES[:1])
    with pytest.raises(UserError, match=r"cameras.*16.*32"):
        append(made.path, make_spec(32), fps=FPS, tasks=TASKS, environment=ENVIRONMENT)
    with pytest.raises(UserError, match="fps: 80, 20"):
        append(made.path, make_spec(), fps=20.0, tasks=TASKS, environment=ENVIRONMENT)


def test_failures_leave_old_dataset_untouched(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        DatasetWriter(
            tmp_path / "set", make_spec(), fps=FPS, tasks=TASKS, environment={}
        ) as writer,
    ):
        writer.add(EPISODES[0])
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    made = write(tmp_path / "set", EPISODES[:1])
    before = contents(made.path)
    with (
        pytest.raises(ZeroDivisionError),
        append(made.path, make_spec(), fps=FPS, tasks=TASKS, environment=ENVIRONMENT) as writer,
    ):
        writer.add(EPISODES[1])
        raise ZeroDivisionError
    assert contents(made.path) == before and [path.name for path in tmp_path.iterdir()] == ["set"]


def test_adding_keeps_what_others_put_there(tmp_path: Path) -> None:
    path = write(tmp_path / "set", EPISODES[:1]).path
    added = {"LICENSE": "mine", "meta/calibration.json": "{}", ".git/config": "[core]"}
    for name, text in added.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    more = {"fps": FPS, "tasks": TASKS, "environment": ENVIRONMENT}
    with append(path, make_spec(), **more) as writer:
        writer.add(EPISODES[1])
        writer.attach("meta/calibration.json", b"new")
    assert "2 episodes" in (path / "README.md").read_text()
    (path / "README.md").write_text("# Ours\n")
    with append(path, make_spec(), **more) as writer:
        writer.add(EPISODES[2])
    assert (path / "README.md").read_text() == "# Ours\n"
    added["meta/calibration.json"] = "new"
    writer = append(path, make_spec(), **more)
    writer.add(EPISODES[1])
    writer.attach("meta/calibration.json", b"newer")
    writer.abort()
    assert {name: (path / name).read_text() for name in added} == added
    assert len(EpisodeDataset.open(path)) == 3


def test_adding_keeps_links_strays_and_what_comes_meanwhile(tmp_path: Path) -> None:
    path = write(tmp_path / "set", EPISODES[:1]).path
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "large").write_text("large")
    links = {"raw": "../raw", "gone": "/nowhere/at/all", "up": ".."}
    for name, target in links.items():
        (path / name).symlink_to(target)
    (path / "empty").mkdir()
    stray = path / "data" / "chunk-000" / "file-001.parquet"
    stray.write_bytes((path / "data" / "chunk-000" / "file-000.parquet").read_bytes())
    content = stray.read_bytes()
    readme = (path / "README.md").read_text().replace(" demonstrations", " episodes of ours")
    (path / "README.md").write_text(readme)
    with append(path, make_spec(), fps=FPS, tasks=TASKS, environment=ENVIRONMENT) as writer:
        writer.add(EPISODES[1])
        (path / "NOTES").write_text("meanwhile")
    assert {name: os.readlink(path / name) for name in links} == links
    assert (path / "empty").is_dir() and (path / "NOTES").read_text() == "meanwhile"
    assert stray.read_bytes() == content
    before, after = counts(1, len(EPISODES[0])), counts(2, len(EPISODES[0]) + len(EPISODES[1]))
    assert before in readme
    assert (path / "README.md").read_text() == readme.replace(before, after)
    stray.unlink()
    dataset = EpisodeDataset.open(path)
    np.testing.assert_array_equal(dataset.episode(1).state, EPISODES[1].state)


def test_a_dataset_behind_a_link_is_not_forked(tmp_path: Path) -> None:
    real = write(tmp_path / "disk" / "set", EPISODES[:1]).path
    (tmp_path / "set").symlink_to(real, target_is_directory=True)
    more = {"fps": FPS, "tasks": TASKS, "environment": ENVIRONMENT}
    with append(tmp_path / "set", make_spec(), **more) as writer:
        writer.add(EPISODES[1])
    assert (tmp_path / "set").is_symlink() and len(EpisodeDataset.open(real)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "set"]
    with hold_beside(real, what="one"), pytest.raises(UserError, match="other is in use"):
        hold_beside(tmp_path / "set", what="other").__enter__()


def test_columns_that_an_episode_would_lack_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "set", EPISODES[:1]).path
    info = json.loads((path / "meta/info.json").read_text())
    info["features"]["subtask_index"] = info["features"]["task_index"]
    (path / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match="columns that no added episode would have: subtask_index"):
        append(path, make_spec(), fps=FPS, tasks=TASKS, environment=ENVIRONMENT)
    assert len(EpisodeDataset.open(path)) == 1


def test_leftovers_of_killed_writer_are_removed(tmp_path: Path) -> None:
    """And those of machines with similar names stay, which may be at work."""
    import socket
    import subprocess

    process = subprocess.Popen(["true"])
    process.wait()
    host = socket.gethostname()
    own = temporary_folder(tmp_path / "set")
    prefix = own.name.rsplit("-", 2)[0]
    own.rmdir()
    left = tmp_path / f"{prefix}-{process.pid}-00"
    # A machine with a longer name, and a container with this one's.
    others = [tmp_path / f"{prefix}-{name}-{process.pid}-00" for name in ("12", "a")]
    others.append(tmp_path / f".set.partial-{host}.7-{process.pid}-00")
    for folder in (left, *others):
        folder.mkdir()
        (folder / "part").write_text("torn")
    write(tmp_path / "set", EPISODES[:1])
    assert {path.name for path in tmp_path.iterdir()} == {"set", *(path.name for path in others)}


def test_refusals_name_what_is_wrong(dataset: EpisodeDataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"exists; choose another"):
        DatasetWriter(dataset.path, make_spec(), fps=FPS, tasks=TASKS, environment={})
    with (
        pytest.raises(UserError, match="no episodes"),
        DatasetWriter(tmp_path / "none", make_spec(), fps=FPS, tasks=TASKS, environment={}),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_unfitting_episodes_are_refused(tmp_path: Path) -> None:
    good = EPISODES[0]
    bad = {
        "not among": replace(good, task="toy/other"),
        "instruction": replace(good, instruction="do it"),
        "state has shape": replace(good, state=good.state[:, :2]),
        "holds NaN": replace(good, action=np.full_like(good.action, np.nan)),
        "cameras": replace(good, images={}),
        "uint8": replace(good, images={"front": good.images["front"].astype(np.float32)}),
        "no steps": make_episode(0, 0),
        "reward holds <U3": replace(good, reward=np.array(["yes"] * len(good))),
    }
    with DatasetWriter(
        tmp_path / "set", make_spec(), fps=FPS, tasks=TASKS, environment={}
    ) as writer:
        for message, episode in bad.items():
            with pytest.raises(UserError, match=message):
                writer.add(episode)
        writer.add(good)
    assert EpisodeDataset.open(tmp_path / "set").num_episodes == 1


def test_episodes_of_other_lengths_are_refused() -> None:
    good = EPISODES[0]
    steps = len(good)
    bad = {
        f"reward has 1 row; expected {steps}": {"reward": good.reward[:1]},
        f"image of camera 'front' has 2 rows; expected {steps}": {
            "images": {"front": good.images["front"][:2]}
        },
        r"state is float64 \(\); expected a numpy array": {"state": np.zeros(())},
    }
    for message, values in bad.items():
        with pytest.raises(UserError, match=message):
            replace(good, **values)


def test_summary_is_plain_json(dataset: EpisodeDataset) -> None:
    summary = json.loads(json.dumps(dataset.summary()))
    assert summary["episodes"] == 5 and summary["images"] == "png"
    reach, push = summary["tasks"]
    assert reach["task"] == "toy/reach" and reach["episodes"] == 3 and reach["success"] == 1.0
    assert push["noisy_episodes"] == 2 and push["frames"] == 14


def test_opened_dataset_can_be_pickled(dataset: EpisodeDataset) -> None:
    dataset.episode(0)
    assert_equal(pickle.loads(pickle.dumps(dataset)).episode(1), EPISODES[1])


def test_shared_row_group_is_read_once(
    dataset: EpisodeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(dataset.path, tmp_path / "set"))
    (file,) = (copy / "data").rglob("*.parquet")
    pq.write_table(pq.read_table(file), file)  # as LeRobot's own converter to v3.0 writes them
    read, times = pq.ParquetFile.read_row_groups, []
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_groups", lambda *a, **k: (times.append(a), read(*a, **k))[1]
    )
    joined = EpisodeDataset.open(copy)
    for index, wanted in enumerate(EPISODES):
        assert_equal(joined.episode(index), wanted)
    assert len(times) == 2  # the numbers, and the images


def test_uncreatable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file"):
        write(tmp_path / "file" / "set", EPISODES[:1])
