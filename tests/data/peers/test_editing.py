"""Datasets that LeRobot recorded and we edited: its own loader reads them, and it records on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from data.peers.conftest import Run
from data.synthetic import make_episode

from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check
from manyparts.data.tools.editing.commands import (
    Destination,
    Parts,
    delete,
    merge,
    relabel,
    split,
)

pytestmark = pytest.mark.slow
EPISODES = [make_episode(seed, 6 + seed % 3) for seed in range(5)]
LENGTHS = [len(episode) for episode in EPISODES]
NUMBERS = ("episode_index", "index", "task_index", "task")
NEW = "put it down"


def episodes_file(path: Path, numbers: list[int]) -> Path:
    """The episodes as `lerobot_write.py` takes them; images are large enough for a video."""
    chosen = [EPISODES[number] for number in numbers]
    images = [np.kron(each.images["front"], np.ones((1, 4, 4, 1), np.uint8)) for each in chosen]
    columns = {
        "state": np.concatenate([each.state for each in chosen]),
        "action": np.concatenate([each.action for each in chosen]),
        "images": np.concatenate(images),
        "episode": np.repeat(range(len(chosen)), [len(each) for each in chosen]),
        "task": np.asarray([each.instruction for each in chosen]),
    }
    np.savez(path, **columns)  # pyright: ignore
    return path


def rows_of(numbers: list[int]) -> np.ndarray:
    """The rows of some episodes among those of the source."""
    starts = np.cumsum([0, *LENGTHS])
    return np.concatenate([np.arange(starts[each], starts[each + 1]) for each in numbers])


def assert_rows(
    read: Mapping[str, np.ndarray], source: Mapping[str, np.ndarray], numbers: list[int]
) -> None:
    """LeRobot gives the same rows, to the bit also in images, under new numbers."""
    rows = rows_of(numbers)
    for name in (name for name in source if not name.startswith(("stats/", "window"))):
        if name not in NUMBERS:
            np.testing.assert_array_equal(read[name], source[name][rows])
    lengths = [LENGTHS[number] for number in numbers]
    assert read["index"].tolist() == list(range(len(rows)))
    assert read["episode_index"].tolist() == np.repeat(range(len(numbers)), lengths).tolist()
    np.testing.assert_array_equal(read["window"], source["window"][rows])
    for name in ("action", "observation.state"):
        for key, wanted in (("mean", "mean"), ("std", "std"), ("min", "min"), ("max", "max")):
            computed = getattr(source[name][rows].astype(np.float64), wanted)(axis=0)
            np.testing.assert_allclose(read[f"stats/{name}/{key}"], computed, atol=1e-6)
    images = source["observation.images.front"][rows].astype(np.float64)
    mean = read["stats/observation.images.front/mean"].ravel()
    np.testing.assert_allclose(mean, images.mean(axis=(0, 2, 3)), atol=0.02)


@pytest.mark.parametrize("kind", ["image", "video"])
def test_lerobot_reads_what_we_edit(kind: str, tmp_path: Path, run: Run) -> None:
    source = tmp_path / "source"
    run("lerobot_write.py", episodes_file(tmp_path / "all.npz", list(range(5))), source, kind)
    edited = {
        "source": list(range(5)),
        "deleted": [0, 2, 4],
        "parts/a": [1, 3],
        "parts/b": [0, 2, 4],
        "merged": [1, 3, 0, 2, 4],
        "relabelled": list(range(5)),
    }
    written = delete(source, Destination(tmp_path / "deleted"), episodes=["1", "3"])
    split(source, tmp_path / "parts", Parts(episodes=["a=1,3", "b=rest"]))
    merge([tmp_path / "parts/a", tmp_path / "parts/b"], tmp_path / "merged")
    texts = {EPISODES[0].instruction: NEW, "1": NEW}
    relabel(source, Destination(tmp_path / "relabelled"), texts=texts)
    assert not any("copied whole" in note for note in written.notes)
    words: list[Path] = []
    for name in edited:
        words += [tmp_path / name, tmp_path / f"{name.replace('/', '-')}.npz"]
    run("lerobot_read.py", *words)
    read = {name: np.load(file) for name, file in zip(edited, words[1::2], strict=True)}
    for name, numbers in edited.items():
        assert_rows(read[name], read["source"], numbers)
        if name != "relabelled":
            np.testing.assert_array_equal(
                read[name]["task"], read["source"]["task"][rows_of(numbers)]
            )
        findings = check(tmp_path / name, every_frame=True)
        assert [each for each in findings if each.severity == "error"] == []
    wanted = [EPISODES[3].instruction if number == 3 else NEW for number in range(5)]
    assert read["relabelled"]["task"].tolist() == np.repeat(wanted, LENGTHS).tolist()


@pytest.mark.parametrize("kind", ["image", "video"])
def test_lerobot_records_on(kind: str, tmp_path: Path, run: Run) -> None:
    """An edited dataset takes further episodes of LeRobot's recorder."""
    folder = tmp_path / "set"
    run("lerobot_write.py", episodes_file(tmp_path / "some.npz", [0, 1, 2]), folder, kind)
    before = EpisodeDataset.open(folder)
    frames = [before.frames(index, "front") for index in range(3)]
    delete(folder, Destination(in_place=True), episodes=["1"])
    run("lerobot_write.py", episodes_file(tmp_path / "more.npz", [3, 4]), folder, kind)
    dataset = EpisodeDataset.open(folder)
    for index, number in enumerate((0, 2, 3, 4)):
        read = dataset.episode(index)
        np.testing.assert_array_equal(read.state, EPISODES[number].state)
        assert read.instruction == EPISODES[number].instruction
        if number < 3:
            np.testing.assert_array_equal(read.images["front"], frames[number])
    run("lerobot_read.py", folder, tmp_path / "read.npz")
    lengths = [LENGTHS[number] for number in (0, 2, 3, 4)]
    assert (
        np.load(tmp_path / "read.npz")["episode_index"].tolist()
        == np.repeat(range(4), lengths).tolist()
    )
