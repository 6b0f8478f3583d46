"""Numbers that formats may spoil come back to the last bit, whatever else stands in their
column."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from data.formats.small_hdf5 import put
from data.synthetic import make_episode, make_spec, write

from manyparts.core.errors import UserError
from manyparts.core.records import Episode
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check, repair
from manyparts.data.tools.convert import convert

NUMBERS = ("state", "action", "expert_action", "reward", "success")
TINY, SUBNORMAL = np.float32(1e-9), np.finfo(np.float32).smallest_subnormal
AWKWARD = np.array(
    [
        0.1,
        -0.3,
        1e6,
        TINY,
        -TINY,
        2**24,
        2**24 - 1,
        -0.0,
        0.0,
        SUBNORMAL,
        -3 * SUBNORMAL,
        1 / 3,
        1e-30,
        123456.789,
    ],
    np.float32,
)
FAR = {
    "none": np.linspace(-0.3, 0.3, 14, dtype=np.float32),
    "one far number": np.append(np.linspace(-0.3, 0.3, 13), 1e6).astype(np.float32),
    "large and nearly still": (1e5 + np.linspace(-0.01, 0.01, 14)).astype(np.float32),
    "still": np.full(14, 1000.3, np.float32),
    "far on both sides": np.append(np.linspace(-1e-6, 1e-6, 12), [-3e38, 3e38]).astype(np.float32),
    "awkward": AWKWARD,
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning"),
]


def episodes(column: np.ndarray) -> list[Episode]:
    """Two with numbers made of a column (T,)."""
    both = np.stack([column, column[::-1]], axis=1)
    made = make_episode(0, len(column)), make_episode(2, len(column))
    numbers = {
        "action": both,
        "expert_action": both[::-1].copy(),
        "state": np.stack([column, column * 0.5, -column], 1),
    }
    return [replace(each, reward=column[::-1].copy(), **numbers) for each in made]


def declared(folder: Path, column: np.ndarray) -> Path:
    """With bounds that somebody wrote down, and which not all actions keep."""
    return write(folder, episodes(column)).path


def measured(folder: Path, column: np.ndarray) -> Path:
    """With the bounds of what was seen."""
    spec = make_spec()
    low, high = (
        float(bound) for bound in (column.min(), column.max() + (column.min() == column.max()))
    )
    action = replace(spec.action, low=(low,) * 2, high=(high,) * 2, measured=True)
    return write(folder, episodes(column), replace(spec, action=action)).path


def foreign(folder: Path, column: np.ndarray) -> Path:
    """.npz of others."""
    folder.mkdir()
    for number, each in enumerate(episodes(column)):
        arrays = {
            "state": each.state,
            "action": each.action,
            "reward": each.reward,
            "sentence": np.array("lift it"),
        }
        np.savez(folder / f"episode_{number}.npz", **arrays)  # pyright: ignore
    return folder


def assert_same_bits(read: EpisodeDataset, wanted: EpisodeDataset) -> None:
    assert read.num_episodes == wanted.num_episodes
    for one, other in zip(read, wanted, strict=True):
        for name in NUMBERS:
            left, right = getattr(one, name), getattr(other, name)
            assert left.dtype == right.dtype and left.shape == right.shape, name
            assert left.tobytes() == right.tobytes(), (name, left, right)


@pytest.mark.parametrize(
    ("make", "column"),
    [
        *((measured, column) for column in FAR),
        *((make, "awkward") for make in (declared, foreign)),
        *(
            pytest.param(make, column, marks=pytest.mark.slow)
            for make in (declared, foreign)
            for column in FAR
            if column != "awkward"
        ),
    ],
)
def test_round_trip_keeps_every_bit(make: Any, column: str, tmp_path: Path) -> None:
    """From format to format, each of which the next one is made of."""
    source = make(tmp_path / "source", FAR[column])
    wanted = EpisodeDataset.open(source)
    first = wanted.episode(0)
    assert first.action[:, 0].tobytes() == first.state[:, 0].tobytes() == FAR[column].tobytes()
    assert first.reward.tobytes() == FAR[column][::-1].tobytes()
    for number, format in enumerate(("robomimic", "lerobot", "minari", "robomimic")):
        target = tmp_path / f"{number}{'.hdf5' if format == 'robomimic' else ''}"
        convert(source, target, format=format)
        assert_same_bits(EpisodeDataset.open(target), wanted)
        source = target


@pytest.mark.parametrize("column", FAR)
def test_repaired_copy_keeps_every_bit(column: str, tmp_path: Path) -> None:
    source = measured(tmp_path / "source", FAR[column])
    repair(source, tmp_path / "copy")
    assert_same_bits(EpisodeDataset.open(tmp_path / "copy"), EpisodeDataset.open(source))


def robomimic(folder: Path, column: np.ndarray) -> Path:
    """With a third episode, so that one may be spoilt."""
    made = [*episodes(column), replace(make_episode(4, len(column)))]
    convert(write(folder / "source", made).path, folder / "set.hdf5", format="robomimic")
    return folder / "set.hdf5"


def test_actions_are_scaled_for_robomimic(tmp_path: Path) -> None:
    contract = make_spec().action
    with h5py.File(robomimic(tmp_path, FAR["none"])) as file:
        for name in ("actions", "actions_expert"):
            demo: Any = file["data/demo_0"]
            assert demo[name].dtype == np.float32 and np.abs(demo[name]).max() <= 1
            np.testing.assert_array_equal(
                demo[name], contract.normalise(demo[f"{name}_recorded"][()])
            )


def test_files_without_recorded_actions_are_read(tmp_path: Path) -> None:
    path = robomimic(tmp_path, FAR["none"])
    wanted = [(each.action, each.expert_action) for each in EpisodeDataset.open(path)]
    with h5py.File(path, "a") as file:
        for number in (0, 2):  # and such beside others, as a conversion that went on has
            del (
                file[f"data/demo_{number}/actions_recorded"],
                file[f"data/demo_{number}/actions_expert_recorded"],
            )
    for episode, (action, expert) in zip(EpisodeDataset.open(path), wanted, strict=True):
        np.testing.assert_allclose(episode.action, action, atol=3e-7)
        np.testing.assert_allclose(episode.expert_action, expert, atol=3e-7)


SPOILT: dict[str, tuple[str, Any, str]] = {
    "scaled": (
        "actions",
        lambda values: values.clip(-0.1, 0.1),
        r"actions of demo_1 are not those recorded \(row 0",
    ),
    "recorded": (
        "actions_recorded",
        lambda values: values + 0.01,
        "actions of demo_1 are not those recorded",
    ),
    "expert": (
        "actions_expert",
        lambda values: -values,
        "actions_expert of demo_1 are not those recorded",
    ),
    "narrower": (
        "actions_recorded",
        lambda values: values[:, :1],
        "have shape .14, 2., those recorded",
    ),
    "shorter": (
        "actions_expert_recorded",
        lambda values: values[:-1],
        "has actions_expert_recorded of float32",
    ),
    "not finite": ("actions_recorded", lambda values: values * np.nan, "are not those recorded"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_edited_actions_are_left_out(how: str, tmp_path: Path) -> None:
    name, change, why = SPOILT[how]
    path = robomimic(tmp_path, FAR["none"])
    with h5py.File(path, "a") as file:
        demo = file["data/demo_1"]
        put(demo, name, change(demo[name][()]))  # pyright: ignore
    with pytest.raises(UserError, match=f"{why}.*--fix COPY"):
        EpisodeDataset.open(path)
    (finding,) = [each for each in check(path) if each.severity == "error"]
    assert finding.where == "episode demo_1"
    assert repair(path, tmp_path / "copy") == ["demo_1"]
    assert [each.seed for each in EpisodeDataset.open(tmp_path / "copy")] == [0, 4]


@pytest.mark.parametrize("format", ["robomimic", "minari"])
def test_invalid_choice_stays_invalid(format: Any, tmp_path: Path) -> None:
    spec = make_spec()
    choices = replace(
        spec.action, names=("which",), low=(0.0,), high=(2.0,), choices=("a", "b", "c")
    )
    chosen = np.array([[0.0], [2.0], [1.0], [1.0]], np.float32)
    made = [
        replace(make_episode(seed, 4), action=chosen, expert_action=chosen) for seed in range(3)
    ]
    made[1] = replace(made[1], action=chosen + 0.5)
    source = write(tmp_path / "source", made, replace(spec, action=choices)).path
    target = tmp_path / ("set.hdf5" if format == "robomimic" else "set")
    convert(source, target, format=format)
    (finding,) = [each for each in check(target) if each.severity == "error"]
    assert "1" in finding.where
    copy = tmp_path / "copy"
    assert len(repair(target, copy)) == 1
    assert [each.action.tolist() for each in EpisodeDataset.open(copy)] == [chosen.tolist()] * 2
