"""Parts of a dataset, merged again, are the dataset; parts are what was asked for, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data.synthetic import assert_equal, make_episode, write
from data.tools.editing.lerobot_rules import (
    assert_same,
    assert_statistics_of_rows,
    read_as_lerobot,
)
from data.tools.editing.sets import rich, snapshot

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.editing.commands import Parts, merge, split

EPISODES = [make_episode(seed, 4 + seed % 3) for seed in range(7)]
SEEDS = list(range(7))  # of each episode, by which it is known again


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("own") / "set", EPISODES).path


def seeds_of(folder: Path) -> list[int]:
    dataset = EpisodeDataset.open(folder)
    return [dataset.seed(index) for index in range(len(dataset))]


@pytest.mark.parametrize("images", ["png", "video"])
def test_parts_merged_are_the_dataset(images: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "source", EPISODES, images=images)
    before = snapshot(source.path)
    parts = Parts(fractions=["train=0.6", "test=rest"])
    written = split(source.path, tmp_path / "parts", parts)
    assert [each.episodes for each in written] == [4, 3]
    merged = merge([each.path for each in written], tmp_path / "merged")
    assert (merged.episodes, merged.frames) == (7, source.num_frames)
    assert snapshot(source.path) == before
    assert_same(read_as_lerobot(tmp_path / "merged"), read_as_lerobot(source.path))
    again = EpisodeDataset.open(tmp_path / "merged")
    assert again.spec == source.spec and again.tasks == source.tasks
    for index in range(len(EPISODES)):
        assert_equal(again.episode(index), source.episode(index))
    for folder in (*(each.path for each in written), merged.path):
        assert_statistics_of_rows(folder)


def test_foreign_parts_merged_are_the_dataset(tmp_path: Path) -> None:
    source = rich(tmp_path / "source")
    written = split(source, tmp_path / "parts", Parts(episodes=["a=0,2", "b=1"]))
    merge([each.path for each in written], tmp_path / "merged")
    first, second, third = read_as_lerobot(source)
    assert_same(read_as_lerobot(tmp_path / "merged"), [first, third, second])
    for name in ("parts/a", "parts/b", "merged"):
        assert_statistics_of_rows(tmp_path / name)


CHOSEN: dict[str, tuple[Parts, dict[str, list[int]]]] = {
    "fractions in order": (
        Parts(fractions=["train=0.7", "test=.3"]),
        {"train": SEEDS[:5], "test": SEEDS[5:]},
    ),
    "fractions that leave some": (Parts(fractions=["a=0.5"]), {"a": SEEDS[:4]}),
    "counts": (
        Parts(counts=["a=2", "rest=rest", "c=1"]),
        {"a": [0, 1], "rest": [2, 3, 4, 5], "c": [6]},
    ),
    "per task": (
        Parts(counts=["tune=1", "held=rest"], per_task=True),
        {"tune": [0, 1], "held": [2, 3, 4, 5, 6]},
    ),
    "episodes": (
        Parts(episodes=["a=5-6", "a=0", "b=rest"]),
        {"a": [0, 5, 6], "b": [1, 2, 3, 4]},
    ),
    "tasks by name and text": (
        Parts(tasks=["a=toy/push", "b=reach the red ball"]),
        {"a": [1, 3, 5], "b": [0, 2, 4, 6]},
    ),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_parts_have_their_episodes(case: str, own: Path, tmp_path: Path) -> None:
    parts, wanted = CHOSEN[case]
    written = split(own, tmp_path / "parts", parts)
    assert {each.path.name: seeds_of(each.path) for each in written} == wanted
    left = 7 - sum(map(len, wanted.values()))
    assert any("in no part" in note for note in written[-1].notes) == bool(left)


def test_drawn_parts_repeat_with_their_seed(own: Path, tmp_path: Path) -> None:
    drawn = []
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        split(own, tmp_path / name, Parts(fractions=["a=0.4", "b=rest"], seed=seed))
        drawn.append((seeds_of(tmp_path / name / "a"), seeds_of(tmp_path / name / "b")))
    assert drawn[0] == drawn[1] != drawn[2]
    assert sorted(drawn[0][0] + drawn[0][1]) == SEEDS


def test_fractions_of_many_parts_add_up(own: Path, tmp_path: Path) -> None:
    """Rounded alone, five fractions of 0.2 would make 5 of 7 episodes."""
    fifths = [f"part{number}=0.2" for number in range(5)]
    written = split(own, tmp_path / "parts", Parts(fractions=fifths))
    assert sum(each.episodes for each in written) == 7
    assert {each.episodes for each in written} == {1, 2}


REFUSED: dict[str, tuple[Parts, str]] = {
    "nothing": (Parts(), "split by one of --fractions, --counts, --episodes, --tasks; given: none"),
    "two ways": (Parts(counts=["a=1"], tasks=["b=toy/push"]), "given: --counts and --tasks"),
    "no value": (Parts(counts=["a"]), "--counts has 'a'; expected NAME=VALUE, such as train=40"),
    "path": (Parts(counts=["../a=1"]), "--counts has the part '../a', which names a folder"),
    "hidden": (Parts(counts=[".a=1"]), "--counts has the part '.a', which names a folder"),
    "twice": (Parts(counts=["a=1", "a=2"]), "--counts has the part a twice"),
    "negative": (Parts(counts=["a=-1"]), "--counts has '-1'; expected a whole number from 1"),
    "half": (Parts(counts=["a=1.5"]), "--counts has '1.5'; expected a whole number from 1"),
    "no fraction": (Parts(fractions=["a=80"]), "--fractions has '80'; expected more than 0, 1 at"),
    "zero": (Parts(fractions=["a=0"]), "--fractions has '0'; expected more than 0"),
    "too much": (Parts(fractions=["a=.8", "b=0.3"]), "--fractions sum to 1.1; expected 1 at most"),
    "too many": (Parts(counts=["a=5", "b=3"]), "--counts sum to 8; there are 7 episodes"),
    "too many of a task": (
        Parts(counts=["a=4", "b=rest"], per_task=True),
        "--counts sum to 4; there are 3 episodes of the task 'push the block'",
    ),
    "empty": (Parts(fractions=["a=.99", "b=.01"]), "the part b has no episode; .* a 7, b 0"),
    "nothing left": (Parts(counts=["a=7", "b=rest"]), "the part b has no episode"),
    "two rests": (Parts(counts=["a=rest", "b=rest"]), "several parts with rest; only one can"),
    "two rests of episodes": (Parts(episodes=["a=rest", "b=rest"]), "several parts have rest"),
    "missing episode": (Parts(episodes=["a=0-7"]), "has no episode 7; it has 0 to 6"),
    "in two": (Parts(episodes=["a=0-3", "b=3-6"]), "episode 3 is in the parts a and b"),
    "backwards": (Parts(episodes=["a=3-0"]), "'3-0' ends before it begins; write 0-3"),
    "no number": (Parts(episodes=["a=first"]), "'first' names no episode; expected a number"),
    "unknown task": (Parts(tasks=["a=toy/pusj"]), "no task 'toy/pusj'; did you mean toy/push"),
    "seed": (Parts(episodes=["a=0"], seed=1), "--seed and --per-task are for --fractions and"),
    "one folder": (Parts(counts=["a=1", "A=1"]), "differ in capitals only"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_parts_are_refused(case: str, own: Path, tmp_path: Path) -> None:
    parts, message = REFUSED[case]
    with pytest.raises(UserError, match=message) as refused:
        split(own, tmp_path / "parts", parts)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_output_within_the_dataset_is_refused(own: Path) -> None:
    before = snapshot(own)
    with pytest.raises(UserError, match=r"is within .*; choose an output outside of it"):
        split(own, own / "parts", Parts(counts=["a=1"]))
    with pytest.raises(UserError, match="exists; choose another output"):
        split(own, own, Parts(counts=["a=1"]))
    assert snapshot(own) == before
