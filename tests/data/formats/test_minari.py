"""Minari datasets with one thing that is special: each is read rightly, or refused or left out with
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
    box,
    encoded,
    leaves_out_the_second,
    minari,
    minari_arrow,
    padded,
    put,
    put_torn,
)
from data.synthetic import make_episode, write

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import repair
from manyparts.data.tools.convert import convert

pytestmark = [
    pytest.mark.usefixtures("no_probe"),
    pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning"),
]
LARGE = {"hdf5": np.uint64(2**63 + 5), "arrow": 2**63 + 5, "parquet": 2**64 - 1}


@pytest.mark.parametrize("seed", ["large", -3, None, "text", [1, 2]])
@pytest.mark.parametrize("storage", LARGE)
def test_seeds_above_63_bits_are_unknown(storage: str, seed: Any, tmp_path: Path) -> None:
    value = LARGE[storage] if seed == "large" else seed
    if storage == "hdf5":
        attributes = [{"seed": 12}, {} if value is None else {"seed": value}, {"seed": 2**63 - 1}]
        path = minari(
            tmp_path / "set",
            change=lambda number, episode: episode.attrs.update(attributes[number]),
        )
    else:
        seeds = [12, value, 2**63 - 1]
        path = minari_arrow(
            tmp_path / "set",
            storage,
            lambda number, parts: parts["label"].update(seed=seeds[number]),
        )
    dataset = EpisodeDataset.open(path)
    assert [dataset.seed(index) for index in range(3)] == [12, -1, 2**63 - 1]


def test_unneeded_attributes_and_infos_ignored(tmp_path: Path) -> None:
    def change(_: int, episode: Any) -> None:
        length = len(episode["actions"])
        episode.attrs.update(
            {"nothing": h5py.Empty("f4"), "options/x": 3, "pair": np.zeros(2, "i4,f4")}
        )
        put(episode, "infos/success", np.ones((length, 2)))
        put(episode, "infos/words", ["x"] * length, dtype=TEXT)
        put(episode, "infos/pairs", np.zeros(length, "i4,f4"))
        put(episode, "infos/expert_action", np.ones((length, 9)))

    dataset = EpisodeDataset.open(minari(tmp_path / "set", change=change))
    assert dataset.reader.contents.left_out["infos"] == "expert_action, pairs, success, words"
    assert not dataset.episode(0).success.any() and "expert_action" not in " ".join(
        dataset.columns(0)
    )


def test_spaces_without_numbers_are_named(tmp_path: Path) -> None:
    spaces = {
        "mission": {"type": "Text", "max_length": 9},
        "graph": {"type": "Graph", "node_space": {}},
        "matrix": box(2, 3),
        "direction": {"type": "Discrete", "n": 4, "start": -1},
        "buttons": {"type": "MultiBinary", "n": 2},
        "levels": {"type": "MultiDiscrete", "nvec": [3, 4], "dtype": "int64"},
        "free": box(2, low=-np.inf, high=np.inf),
        "pair": {"type": "Tuple", "subspaces": [box(1), {"type": "Discrete", "n": 2}]},
        "nested": {
            "type": "Dict",
            "subspaces": {"image": box(7, 7, 3, dtype="uint8", low=0, high=255)},
        },
    }

    def change(_: int, episode: Any) -> None:
        length = len(episode["actions"]) + 1
        put(episode, "observations/mission", ["go"] * length, dtype=TEXT)
        put(episode, "observations/matrix", np.zeros((length, 2, 3)))
        put(episode, "observations/direction", np.full(length, -1))
        put(episode, "observations/buttons", np.ones((length, 2), np.int8))
        put(episode, "observations/levels", np.ones((length, 2), np.int64))
        put(episode, "observations/free", np.full((length, 2), 1e6, np.float32))
        put(episode, "observations/pair/_index_0", np.zeros((length, 1)))
        put(episode, "observations/pair/_index_1", np.ones(length, np.int64))
        put(episode, "observations/nested/image", np.zeros((length, 7, 7, 3), np.uint8))

    observed = {"type": "Dict", "subspaces": spaces}
    dataset = EpisodeDataset.open(minari(tmp_path / "set", observed=observed, change=change))
    assert dataset.episode(0).state[0].tolist() == [1, 1, -1, 1e6, 1e6, 1, 1, 0, 1]
    assert dataset.spec.cameras == {"image": (7, 7)}
    left_out = dataset.reader.contents.left_out
    assert set(left_out) == {"graph", "mission", "matrix"} and "type Graph" in left_out["graph"]


def test_a_mission_is_the_instruction(tmp_path: Path) -> None:
    def change(number: int, episode: Any) -> None:
        length = len(episode["actions"]) + 1
        put(episode, "observations/hand", np.ones((length, 3)))
        put(
            episode,
            "observations/mission",
            ["go to the red ball" if number else "open the box"] * length,
            dtype=TEXT,
        )

    observed = {"type": "Dict", "subspaces": {"hand": box(3), "mission": {"type": "Text"}}}
    dataset = EpisodeDataset.open(minari(tmp_path / "set", observed=observed, change=change))
    assert [dataset.episode(index).instruction for index in range(3)] == [
        "open the box",
        *["go to the red ball"] * 2,
    ]
    assert (
        not dataset.reader.contents.notes
        and "instruction" in dataset.reader.contents.left_out["mission"]
    )


def test_a_mission_that_changes_is_noted(tmp_path: Path) -> None:
    def change(number: int, episode: Any) -> None:
        length = len(episode["actions"]) + 1
        put(episode, "observations/hand", np.ones((length, 3)))
        said = ["open"] * (length - 2) + [
            "close" if number == 1 else "open",
            "after the last action",
        ]
        put(episode, "observations/mission", said, dtype=TEXT)

    observed = {"type": "Dict", "subspaces": {"hand": box(3), "mission": {"type": "Text"}}}
    dataset = EpisodeDataset.open(minari(tmp_path / "set", observed=observed, change=change))
    assert [task.instruction for task in dataset.tasks] == ["open"]
    assert dataset.reader.contents.notes[0].startswith("1 episode has several instructions")


def test_what_is_no_state_is_named(tmp_path: Path) -> None:
    spaces = {"hand": box(3), "next_hand": box(3), "last_action": box(2), "action": box(2)}
    spaces |= {
        "codes": box(20, dtype="int64", low=0, high=9999),
        "buttons": {"type": "MultiDiscrete", "nvec": [9] * 20},
    }

    def change(_: int, episode: Any) -> None:
        rows = len(episode["actions"]) + 1
        for name, space in spaces.items():
            width = 20 if "nvec" in space else space["shape"][0]
            values = np.tile(np.arange(width) % 9, (rows, 1))
            put(
                episode,
                f"observations/{name}",
                values.astype(np.int64 if width == 20 else np.float32),
            )

    dataset = EpisodeDataset.open(
        minari(tmp_path / "set", observed={"type": "Dict", "subspaces": spaces}, change=change)
    )
    assert set(dataset.reader.contents.left_out) == {"next_hand", "action", "codes"}
    assert dataset.spec.state_dimension == 3 + 2 + 20


@pytest.mark.parametrize("about", [{}, {"description": "random moves"}])
def test_name_instead_of_instruction_is_noted(about: dict[str, str], tmp_path: Path) -> None:
    dataset = EpisodeDataset.open(minari(tmp_path / "set", about=about))
    (note,) = dataset.reader.contents.notes
    assert (
        "no instruction" in note and ("description is used" if about else "'toy/small-v0'") in note
    )


@pytest.mark.parametrize("name", ["", "camera"])
@pytest.mark.parametrize("stored", ["raw", "jpeg", "jpegs of one length"])
def test_grey_images_are_cameras(name: str, stored: str, tmp_path: Path) -> None:
    grey = box(48, 40, dtype="uint8", low=0, high=255)

    def change(_: int, episode: Any) -> None:
        frames = np.stack(
            [np.full((48, 40), 10 * step, np.uint8) for step in range(len(episode["actions"]) + 1)]
        )
        key = f"observations/{name}".rstrip("/")
        if stored == "raw":
            put(episode, key, frames)
        elif stored == "jpeg":
            kept = episode.create_dataset(key, (len(frames),), h5py.vlen_dtype(np.uint8))
            for row, frame in enumerate(frames):
                kept[row] = np.frombuffer(encoded(frame), np.uint8)
        else:
            put(episode, key, padded([encoded(frame) for frame in frames], 600))

    observed = {"type": "Dict", "subspaces": {name: grey}} if name else grey
    dataset = EpisodeDataset.open(minari(tmp_path / "set", observed=observed, change=change))
    assert dict(dataset.spec.cameras) == {name or "image": (48, 40)}
    assert np.abs(dataset.frames(1, name or "image").astype(int)[3] - 30).max() < 3
    assert dataset.frames(1, name or "image").shape == (5, 48, 40, 3)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((4, 48, 40), "uint8"),
        ((3, 48, 40), "uint8"),
        ((48, 40, 3), "float32"),
        ((48, 40), "uint16"),
    ],
)
def test_images_of_other_kinds_named(shape: tuple[int, ...], dtype: str, tmp_path: Path) -> None:
    def change(_: int, episode: Any) -> None:
        put(episode, "observations", np.zeros((len(episode["actions"]) + 1, *shape), dtype))

    dataset = EpisodeDataset.open(
        minari(tmp_path / "set", observed=box(*shape, dtype=dtype), change=change)
    )
    assert (
        not dataset.spec.cameras
        and f"{dtype} {shape}" in dataset.reader.contents.left_out["observations"]
    )


def test_actions_without_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metadata.json has actions that are no numbers: Text"):
        EpisodeDataset.open(minari(tmp_path / "set", acted={"type": "Text"}))


# One bad episode


def _empty(episode: Any) -> None:
    for name in ("actions", "rewards", "terminations", "truncations", "observations/hand"):
        put(episode, name, episode[name][:0])


BAD: dict[str, tuple[Callable[[Any], None], str]] = {
    "empty": (_empty, "has no steps"),
    "missing": (
        lambda episode: episode.pop("observations"),
        "has no array /episode_1/observations/hand",
    ),
    "no flags": (
        lambda episode: episode.pop("terminations"),
        "has no array /episode_1/terminations",
    ),
    "not finite": (
        lambda episode: put(episode, "observations/hand", np.full((6, 3), np.nan)),
        "holds NaN",
    ),
    "infinite": (
        lambda episode: put(episode, "actions", np.full((5, 2), np.inf)),
        "action holds NaN or infinity",
    ),
    "wider": (
        lambda episode: put(episode, "observations/hand", np.ones((6, 4))),
        "4 per step; its space has 3",
    ),
    "shorter": (
        lambda episode: put(episode, "actions", np.ones((4, 2))),
        "has 4 actions, 5 rewards",
    ),
    "words": (
        lambda episode: put(episode, "actions", ["x"] * 5, dtype=TEXT),
        "actions holds objects",
    ),
    "torn": (
        lambda episode: put_torn(episode, "observations/hand", 6),
        "observations/hand cannot be read",
    ),
}


@pytest.mark.parametrize("how", BAD)
def test_one_bad_episode_is_left_out(how: str, tmp_path: Path) -> None:
    spoil, why = BAD[how]
    path = minari(
        tmp_path / "set", change=lambda number, episode: spoil(episode) if number == 1 else None
    )
    leaves_out_the_second(path, why, tmp_path / "copy")


@pytest.mark.parametrize("storage", ["hdf5", "arrow"])
def test_missing_episode_is_named(storage: str, tmp_path: Path) -> None:
    if storage == "hdf5":
        path = minari(tmp_path / "set")
        with h5py.File(path / "data/main_data.hdf5", "a") as file:
            del file["episode_1"]
    else:
        path = minari_arrow(tmp_path / "set", storage)
        (path / "data/1").rename(tmp_path / "elsewhere")
    with pytest.raises(
        UserError, match=r"has 2 episodes, metadata\.json counts 3; episode 1 is missing"
    ):
        EpisodeDataset.open(path)
    repair(path, tmp_path / "copy")
    assert np.diff(EpisodeDataset.open(tmp_path / "copy").starts).tolist() == [
        LENGTHS[0],
        LENGTHS[2],
    ]


# Layouts


def _as_before_version_5(path: Path, *, without: str = "") -> Path:
    """Attributes of the file instead of metadata.json."""
    about = json.loads((path / "data/metadata.json").read_text())
    with h5py.File(path / "data/main_data.hdf5", "a") as file:
        file.attrs.update({name: value for name, value in about.items() if name != without})
    (path / "data/metadata.json").unlink()
    return path


@pytest.mark.parametrize("inside", ["", "data", "data/main_data.hdf5"])
def test_layout_before_minari_05_is_read(inside: str, tmp_path: Path) -> None:
    new = EpisodeDataset.open(minari(tmp_path / "new"))
    old = EpisodeDataset.open(_as_before_version_5(minari(tmp_path / "old")) / inside)
    assert old.spec == new.spec and old.tasks == new.tasks
    np.testing.assert_array_equal(old.episode(2).action, new.episode(2).action)


def test_old_dataset_without_spaces_is_refused(tmp_path: Path) -> None:
    path = _as_before_version_5(minari(tmp_path / "old"), without="action_space")
    with pytest.raises(
        UserError, match=r"Minari's layout before 0.5 .*action_space.*minari download"
    ):
        EpisodeDataset.open(path)


def test_missing_spaces_say_how_to_add(tmp_path: Path) -> None:
    path = minari(tmp_path / "set")
    about = json.loads((path / "data/metadata.json").read_text())
    del about["observation_space"]
    (path / "data/metadata.json").write_text(json.dumps(about))
    with pytest.raises(
        UserError, match=r"does not say its observation_space: add .*serialize_space"
    ):
        EpisodeDataset.open(path)


@pytest.mark.parametrize("storage", ["hdf5", "arrow"])
def test_equal_observation_and_action_counts(storage: str, tmp_path: Path) -> None:
    """minari#199. In Arrow the count of steps tells that no row is padding."""

    def cut(_: int, episode: Any) -> None:
        put(episode, "observations/hand", episode["observations/hand"][:-1])

    def short(number: int, parts: dict[str, Any]) -> None:
        parts["label"]["total_steps"] = LENGTHS[number] + 1

    path = tmp_path / "set"
    dataset = EpisodeDataset.open(
        minari(path, change=cut) if storage == "hdf5" else minari_arrow(path, storage, short)
    )
    extra = 0 if storage == "hdf5" else 1
    assert np.diff(dataset.starts).tolist() == [length + extra for length in LENGTHS]


def test_own_episode_without_task_left_out(tmp_path: Path) -> None:
    source = write(tmp_path / "set", [make_episode(seed, 4) for seed in range(3)])
    convert(source.path, tmp_path / "copy", format="minari")
    with h5py.File(tmp_path / "copy/data/main_data.hdf5", "a") as file:
        del file["episode_1"].attrs["task"]
    with pytest.raises(UserError, match="episode 1 has no task of this dataset"):
        EpisodeDataset.open(tmp_path / "copy")
    assert repair(tmp_path / "copy", tmp_path / "mended") == ["1"]
