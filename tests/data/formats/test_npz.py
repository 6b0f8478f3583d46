"""Folders of .npz as others write them: read rightly, or refused in one line that says what they
are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.formats.npz_sets import LENGTHS, Arrays, episode, images, require_right, values, write

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check, repair

pytestmark = pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning")

LEFT_OUT: dict[str, tuple[str, Callable[[int], Any], str]] = {
    "scalar": ("id", np.array, "shape ()"),
    "fixed size": ("intrinsics", lambda n: np.eye(3), "no row for each"),
    "objects": ("info", lambda n: np.array([{}] * LENGTHS[n]), "Python objects"),
    "text": ("note", lambda n: np.array(["x"] * LENGTHS[n]), "text"),
    "depth": ("range", lambda n: images(n, np.uint16)[..., 0], "more than 8 bits"),
    "named depth": ("depth", lambda n: images(n, np.uint8, 1), "depth"),
    "float pictures": (
        "image",
        lambda n: images(n, np.float32) / 255,
        "(12, 12, 3), an image of more than",
    ),
    "channels first": ("image", lambda n: images(n).transpose(0, 3, 1, 2), "channels first"),
    "four channels": ("image", lambda n: images(n, channels=4), "4 channels"),
    "token numbers": ("text_tokens", lambda n: np.full((LENGTHS[n], 8), 30_000), "codes of text"),
    "codes as floats": ("instruction", lambda n: np.full((LENGTHS[n], 40), 97.0), "codes of text"),
    "many whole numbers": (
        "codes",
        lambda n: np.ones((LENGTHS[n], 512), np.int32),
        "512 whole numbers",
    ),
    "bytes of pictures": (
        "coded",
        lambda n: np.tile(
            np.frombuffer(b"\xff\xd8\xff\xe0" + bytes(96), np.uint8), (LENGTHS[n], 1)
        ),
        "bytes of a JPEG",
    ),
    "of the next step": ("next_observations", lambda n: values(n, 3), "of the step that follows"),
    "another action": ("actions", lambda n: values(n, 2), "an action"),
    "another reward": ("returns", lambda n: values(n, 1)[:, 0], "known only after the step"),
    "codes that read as text": (
        "goal",
        lambda n: np.tile(
            np.frombuffer(b"pick up the cube", np.uint8).astype(int), (LENGTHS[n], 1)
        ),
        "read as text",
    ),
    "tokens": ("tok", lambda n: np.tile(np.arange(77) * 300, (LENGTHS[n], 1)), "hardly change"),
    "a sensor that is not there": ("force", lambda n: np.full((LENGTHS[n], 2), np.nan), "NaN"),
    "ends as floats": (
        "dones_float",
        lambda n: np.arange(LENGTHS[n]) == LENGTHS[n] - 1.0,
        "where an episode ends",
    ),
    "ends under a common name": (
        "last",
        lambda n: np.arange(LENGTHS[n]) == LENGTHS[n] - 1,
        "where an episode ends",
    ),
    "the episode's number": (
        "episode_id",
        lambda n: np.full(LENGTHS[n], float(n)),
        "which episode",
    ),
    "where episodes end": (
        "is_first",
        lambda n: np.arange(LENGTHS[n]) == 0,
        "where an episode ends",
    ),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_is_not_understood_is_named(case: str, tmp_path: Path) -> None:
    name, make, why = LEFT_OUT[case]
    dataset = EpisodeDataset.open(write(tmp_path / "set", lambda n: episode(n, **{name: make(n)})))
    require_right(dataset)
    ((left_out, reason),) = dataset.summary()["left_out"].items()
    assert left_out == name and why in reason


def test_arrays_of_few_files_are_named(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "set", lambda n: episode(n, **({"extra": values(n, 1)} if n == 1 else {}))
    )
    dataset = EpisodeDataset.open(folder)
    require_right(dataset)
    assert dataset.summary()["left_out"] == {"extra": "only 1 of 3 episodes have it"}


def test_extra_last_observation_is_not_read(tmp_path: Path) -> None:
    def make(number: int) -> Arrays:
        rows = LENGTHS[number] + 1
        return episode(number, q=values(number, 3, rows), image=images(number, rows=rows))

    dataset = EpisodeDataset.open(write(tmp_path / "set", make))
    require_right(dataset)
    np.testing.assert_array_equal(dataset.frames(1, "image"), images(1))
    assert "q, image have one row more than action" in dataset.summary()["notes"][0]


def test_expert_action_is_its_own_column(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", lambda n: episode(n, expert_action=values(n, 2) / 2000))
    dataset = EpisodeDataset.open(folder)
    require_right(dataset)
    np.testing.assert_allclose(dataset.episode(1).expert_action, values(1, 2) / 2000, rtol=1e-6)
    other = EpisodeDataset.open(
        write(tmp_path / "other", lambda n: episode(n, expert_action=values(n, 3)))
    )
    require_right(other)
    assert other.summary()["left_out"] == {"expert_action": "float64 (3,), unlike action"}


INSTRUCTIONS: dict[str, tuple[Callable[[int], Arrays], str]] = {
    "instruction": (lambda n: {"instruction": np.array("put it down")}, "put it down"),
    "per step": (
        lambda n: {"language_instruction": np.array(["", *["put it down"] * (LENGTHS[n] - 1)])},
        "put it down",
    ),
    "bytes": (lambda n: {"task": np.array([b"put it down"])}, "put it down"),
    "second annotation": (
        lambda n: {
            "language_instruction": np.array(" "),
            "language_instruction_2": np.array("put it down"),
        },
        "put it down",
    ),
    "character codes": (
        lambda n: {
            "instruction": np.tile(
                np.frombuffer(b"put it down\0\0", np.uint8).astype(int), (LENGTHS[n], 1)
            )
        },
        "put it down",
    ),
    "nowhere": (lambda n: {}, "set"),
}


@pytest.mark.parametrize("case", INSTRUCTIONS)
def test_empty_instruction_falls_back_to_next(case: str, tmp_path: Path) -> None:
    make, wanted = INSTRUCTIONS[case]
    folder = write(tmp_path / "set", lambda n: episode(n, sentence=np.array(""), **make(n)))
    dataset = EpisodeDataset.open(folder)
    require_right(dataset)
    assert {dataset.episode(number).instruction for number in range(3)} == {wanted}
    warned = [finding.what for finding in check(folder) if finding.check == "instructions"]
    assert ["'set' looks like a name" in what for what in warned] == (
        [True] if case == "nowhere" else []
    )


def test_changing_instructions_are_noted(tmp_path: Path) -> None:
    texts = np.array(["open", "open", "close", "close", "close", "close"])
    folder = write(tmp_path / "set", lambda n: episode(n, sentence=texts[: LENGTHS[n]]))
    assert (
        EpisodeDataset.open(folder)
        .summary()["notes"][0]
        .startswith("3 episodes have several instructions")
    )


STATE: dict[str, tuple[str, Callable[[int], np.ndarray]]] = {
    "motors in ticks": (
        "ticks",
        lambda n: np.arange(24) * 7 + 100 + np.arange(LENGTHS[n])[:, None],
    ),
    "memory": (
        "ram",
        lambda n: ((np.arange(128) * 13 + 5 * np.arange(LENGTHS[n])[:, None]) % 256).astype(
            np.uint8
        ),
    ),
    "one of many": ("which", lambda n: np.tile(np.eye(20, dtype=int)[n], (LENGTHS[n], 1))),
    "the last action": ("prev_action", lambda n: values(n, 2)),
    "where to go next": ("distance_to_next_gate", lambda n: values(n, 1)),
    "few printable numbers": ("buttons", lambda n: np.full((LENGTHS[n], 4), 97)),
    "muscles": ("act", lambda n: values(n, 4)),
}


@pytest.mark.parametrize("case", STATE)
def test_sound_numbers_stay_state(case: str, tmp_path: Path) -> None:
    name, make = STATE[case]
    dataset = EpisodeDataset.open(write(tmp_path / "set", lambda n: episode(n, **{name: make(n)})))
    assert not dataset.summary()["left_out"]
    assert dataset.spec.state_dimension == 3 + make(0).shape[1]


def test_dtypes_may_differ_between_episodes(tmp_path: Path) -> None:
    def make(number: int) -> Arrays:
        kind = (np.float64, np.float32, np.int64)[number]
        whole = np.arange(LENGTHS[number])
        action = values(number, 2) / 1000
        return {
            "q": values(number, 3),
            "action": action.astype(np.float32 if number else kind),
            "reward": whole.astype(kind),
        }

    folder = write(tmp_path / "set", make)
    require_right(EpisodeDataset.open(folder))
    for number in range(3):
        assert EpisodeDataset.open(folder).rewards(number).tolist() == list(range(LENGTHS[number]))
    assert not [finding for finding in check(folder) if finding.severity == "error"]


def test_a_second_reward_is_no_observation(tmp_path: Path) -> None:
    ones = np.ones(9)
    folder = write(
        tmp_path / "set",
        lambda n: episode(n, reward=ones[: LENGTHS[n]], rewards=ones[: LENGTHS[n]]),
    )
    dataset = EpisodeDataset.open(folder)
    require_right(dataset)
    assert dataset.summary()["left_out"] == {"rewards": "next to reward, which is read"}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("cube-v0", "cube-v0-val"), ["val (1)", "without a name (1)"]),
        (("train_000", "train_001", "test_000"), ["train (2)", "test (1)"]),
        (("train_0", "train_1"), []),
        (("pick_test_tube_0", "pick_cube_1"), []),
        (("run_val_0", "run_val_1"), []),
    ],
)
def test_files_of_several_splits_are_noted(
    names: tuple[str, ...], said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    for number, name in enumerate(names):
        np.savez(tmp_path / "set" / f"{name}.npz", **episode(number))
    notes = [
        note
        for note in EpisodeDataset.open(tmp_path / "set").summary()["notes"]
        if "splits" in note
    ]
    assert len(notes) == bool(said) and all(part in notes[0] for part in said)


def test_endings_in_capitals_are_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", episode)
    (folder / "ep_1.npz").rename(folder / "ep_1.NPZ")
    require_right(EpisodeDataset.open(folder))


def test_number_not_finite_is_named(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "set", lambda n: episode(n, force=np.full(LENGTHS[n], np.nan if n == 1 else 0.5))
    )
    with pytest.raises(
        UserError, match=r"observation.state holds NaN or infinity \(row 0, dimension 0, force\)"
    ):
        EpisodeDataset.open(folder)


STEPS: dict[str, Arrays] = {
    "full": {
        "actions": np.ones(7),
        "rel_actions": np.ones(7),
        "rgb": np.ones((20, 20, 3), np.uint8),
    },
    "equal lengths": {"actions": np.ones(7), "joints": np.ones(7)},
    "one number": {"action": np.array(3), "joints": np.ones(7)},
    "one row": {"action": np.ones((1, 7)), "joints": np.ones((1, 7))},
}


@pytest.mark.parametrize("case", STEPS)
def test_file_per_time_step_is_refused(case: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "set", lambda n: STEPS[case])
    (finding,) = check(folder)
    assert (
        "hold one time step each, as CALVIN's do" in finding.what
        and "one .npz per episode" in finding.remedy
    )


@pytest.mark.parametrize("observed", [{"q": values(0, 3)}, {"image": images(0)}])
def test_single_numbers_may_be_actions(observed: Arrays, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for number in range(2):
        np.savez(tmp_path / "set" / f"{number}.npz", action=np.arange(LENGTHS[0]), **observed)
    assert EpisodeDataset.open(tmp_path / "set").episode(1).action.ravel().tolist() == [
        0,
        1,
        2,
        3,
        4,
        5,
    ]


def test_stacked_episodes_are_refused(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "set", lambda n: {"action": np.zeros((4, 6, 2)), "q": np.zeros((4, 6, 3))}
    )
    with pytest.raises(
        UserError, match=r"action has shape \(T, 6, 2\); write actions \(T, a\), with one .npz per"
    ):
        EpisodeDataset.open(folder)


def spoil(file: Path, kind: str) -> None:
    changes: dict[str, Arrays] = {
        "not a number": {"q": np.full((LENGTHS[1], 3), np.nan)},
        "no rows": {"action": np.zeros((0, 2)), "q": np.zeros((0, 3))},
        "other width": {"q": values(1, 2)},
        "shorter": {"q": values(1, 3, 3)},
        "other size": {"image": images(1)[:, :6]},
        "several episodes": {"done": np.arange(LENGTHS[1]) % 2 == 0},
    }
    if kind == "torn":
        file.write_bytes(file.read_bytes()[:-60])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "torn inside":
        content = bytearray(file.read_bytes())
        content[content.index(b"NUMPY") + 140] ^= 255
        file.write_bytes(content)
    else:
        whole = episode(1, image=images(1), done=np.arange(LENGTHS[1]) > 9)
        np.savez(file, **whole | changes[kind])


@pytest.mark.parametrize(
    "kind",
    [
        *("not a number", "no rows", "other width", "shorter", "other size", "several episodes"),
        *("torn", "empty", "torn inside"),
    ],
)
@pytest.mark.parametrize("index", [0, 1])
def test_fix_leaves_bad_file_out(kind: str, index: int, tmp_path: Path) -> None:
    others = [number for number in range(3) if number != 1]
    order = [1, *others] if index == 0 else [0, 1, 2]
    folder = tmp_path / "set"
    folder.mkdir()
    for name, number in enumerate(order):
        done = np.arange(LENGTHS[number]) > 9
        np.savez(folder / f"ep_{name}.npz", **episode(number, image=images(number), done=done))
    spoil(folder / f"ep_{index}.npz", kind)
    with pytest.raises(
        UserError, match=rf"ep_{index}.*data check DATASET --fix COPY` leaves it out"
    ):
        EpisodeDataset.open(folder)
    (finding,) = [finding for finding in check(folder) if finding.severity == "error"]
    assert finding.where == f"episode ep_{index}" and "leaves the episode out" in finding.remedy
    assert repair(folder, tmp_path / "mended") == [f"ep_{index}"]
    require_right(EpisodeDataset.open(tmp_path / "mended"), tuple(others))


def test_files_without_episodes_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", episode)
    np.savez(folder / "statistics.npz", mean=np.zeros(3))
    (folder / "._ep_0.npz").write_bytes(b"\0\5\26\7")
    dataset = EpisodeDataset.open(folder)
    require_right(dataset)
    assert dataset.summary()["episodes_left_out"] == {"statistics": "no array named action"}
    assert repair(folder, tmp_path / "mended") == ["statistics"]
