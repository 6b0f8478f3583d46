"""RLDS as others write it: what is not understood is left out and named, and what is read is
right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.formats.rlds_files import (
    ALL,
    LENGTHS,
    SIDE,
    TEXT,
    Values,
    episode,
    grey,
    image,
    nested,
    pngs,
    require_right,
    rlds,
    tensor,
)

from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check

pytestmark = pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning")

Make = Callable[[int], Values]


def float_bytes(number: int) -> list[bytes]:
    """As TFDS keeps float32 pictures: the four bytes of each number as the channels of a PNG."""
    return pngs(grey(number, "<f4", 1).copy().view(np.uint8))


def codes(text: str, length: int) -> np.ndarray:
    return np.pad(
        np.frombuffer(text.encode(), np.uint8).astype(np.int64), (0, length - len(text.encode()))
    )


def write(folder: Path, name: str, feature: Mapping[str, Any], values: Make) -> Path:
    """A dataset with one further feature of each step."""
    return rlds(
        folder,
        [episode(number, {f"steps/{name}": values(number)}) for number in ALL],
        {name: feature},
    )


LEFT_OUT: dict[str, tuple[str, Mapping[str, Any], Make, str]] = {
    "uint16 picture": (
        "observation/depth",
        image(SIDE, SIDE, 1, dtype="uint16"),
        lambda n: pngs(grey(n, np.uint16, 1)),
        "uint16",
    ),
    "float picture": (
        "observation/depth_m",
        image(SIDE, SIDE, 1, dtype="float32"),
        float_bytes,
        "float32",
    ),
    "16 bits called uint8": (
        "observation/front",
        image(SIDE, SIDE, 1),
        lambda n: pngs(grey(n, np.uint16, 1)),
        "more than 8 bits",
    ),
    "four channels": (
        "observation/front",
        image(SIDE, SIDE, 4),
        lambda n: pngs(grey(n, channels=4)),
        "4 channels",
    ),
    "four channels called three": (
        "observation/front",
        image(SIDE, SIDE, 3),
        lambda n: pngs(grey(n, channels=4)),
        "4 channels",
    ),
    "uint16 tensor": (
        "observation/scan",
        tensor(SIDE, SIDE, dtype="uint16"),
        lambda n: grey(n, np.int64, 1),
        "more than 8 bits",
    ),
    "pictures of two sizes": (
        "observation/front",
        image(-1, -1, 3),
        lambda n: [*pngs(grey(n)[:1]), *pngs(grey(n)[1:, :6])],
        "several sizes",
    ),
    "deep pictures later": (
        "observation/front",
        image(-1, -1, 1),
        lambda n: [*pngs(grey(n, channels=1)[:1]), *pngs(grey(n, np.uint16, 1)[1:])],
        "more than 8 bits",
    ),
    "no pictures": (
        "observation/wrist",
        image(SIDE, SIDE, 3),
        lambda n: [b""] * LENGTHS[n],
        "empty images",
    ),
    "nested sequence": (
        "observation/objects",
        nested(tensor()),
        lambda n: np.zeros(0, np.float32),
        "a sequence",
    ),
    "packed numbers": (
        "observation/packed",
        tensor(2) | {"tensor": tensor(2)["tensor"] | {"encoding": "zlib"}},
        lambda n: [b"x"] * LENGTHS[n],
        "packed as zlib",
    ),
    "unknown kind": (
        "observation/box",
        {"boundingBox": {}},
        lambda n: np.zeros((LENGTHS[n], 4), np.float32),
        "kind",
    ),
    "text": ("observation/note", TEXT, lambda n: [b"x"] * LENGTHS[n], "text"),
    "token numbers": (
        "observation/instruction",
        tensor(8, dtype="int32"),
        lambda n: np.full((LENGTHS[n], 8), 30_000),
        "codes of text",
    ),
    "bytes of a picture": (
        "observation/coded",
        tensor(90, dtype="uint8"),
        lambda n: np.stack(
            [np.frombuffer(pngs(grey(n))[0][:90].ljust(90, b"\0"), np.uint8)] * LENGTHS[n]
        ).astype(int),
        "bytes of a PNG",
    ),
    "bits": (
        "observation/mask",
        image(SIDE, SIDE, 1, dtype="bool"),
        lambda n: pngs(grey(n, channels=1)),
        "of bool",
    ),
    "codes under another name": (
        "observation/goal",
        tensor(100, dtype="uint8"),
        lambda n: np.tile(codes("pick up", 100), LENGTHS[n]),
        "read as text",
    ),
    "the action": (
        "observation/action",
        tensor(2),
        lambda n: np.ones((LENGTHS[n], 2), np.float32),
        "an action",
    ),
    "of the next step, last": (
        "observation/state_next",
        tensor(3),
        lambda n: np.ones((LENGTHS[n], 3), np.float32),
        "of the step that follows",
    ),
    "not there": (
        "observation/force",
        tensor(2),
        lambda n: np.full((LENGTHS[n], 2), np.nan, np.float32),
        "NaN",
    ),
    "of the next step": (
        "observation/next_state",
        tensor(3),
        lambda n: np.ones((LENGTHS[n], 3), np.float32),
        "follows",
    ),
    "embedding": (
        "observation/language_embedding",
        tensor(4),
        lambda n: np.ones((LENGTHS[n], 4), np.float32),
        "embedding",
    ),
    "beside observations": (
        "action_dict/grip",
        tensor(1),
        lambda n: np.ones((LENGTHS[n], 1), np.float32),
        "neither",
    ),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_is_not_understood_is_named(case: str, tmp_path: Path) -> None:
    name, feature, values, why = LEFT_OUT[case]
    dataset = EpisodeDataset.open(write(tmp_path, name, feature, values))
    require_right(dataset)
    ((left_out, reason),) = dataset.summary()["left_out"].items()
    assert left_out == name.removeprefix("observation/") and why in reason
    assert not dataset.spec.cameras


@pytest.mark.parametrize(
    ("feature", "values"),
    [
        (image(-1, -1, 3), lambda n: pngs(grey(n))),
        (image(), lambda n: pngs(grey(n))),
        (image(SIDE, SIDE, 1), lambda n: pngs(grey(n, channels=1))),
        (tensor(SIDE, SIDE, 3, dtype="uint8"), lambda n: grey(n).astype(np.int64)),
    ],
    ids=["sides unset", "no shape", "grey", "raw"],
)
def test_eight_bit_images_are_cameras(
    feature: Mapping[str, Any], values: Make, tmp_path: Path
) -> None:
    dataset = EpisodeDataset.open(write(tmp_path, "observation/front", feature, values))
    require_right(dataset)
    assert dataset.spec.cameras == {"front": (SIDE, SIDE)}
    for number in ALL:
        np.testing.assert_array_equal(dataset.frames(number, "front"), grey(number)[:-1])


def test_unset_sizes_come_from_values(tmp_path: Path) -> None:
    folder = write(
        tmp_path, "observation/q", tensor(-1), lambda n: np.ones((LENGTHS[n], 2), np.float32)
    )
    assert EpisodeDataset.open(folder).spec.state_names[:2] == ("q_0", "q_1")
    fixed = nested(tensor(2), length=2)
    folder = write(
        tmp_path / "b", "observation/q", fixed, lambda n: np.ones((LENGTHS[n], 4), np.float32)
    )
    assert list(EpisodeDataset.open(folder).summary()["left_out"]) == [
        "q"
    ]  # (2, 2) is no row of numbers


INSTRUCTIONS: dict[
    str, tuple[dict[str, Any], dict[str, Any], Callable[[int], dict[str, Values]]]
] = {
    "second annotation": (
        {"language_instruction_2": TEXT},
        {},
        lambda n: {"steps/language_instruction_2": [b"", b" put it down "] * 3},
    ),
    "observation": (
        {"observation/natural_language_instruction": TEXT},
        {},
        lambda n: {"steps/observation/natural_language_instruction": [b"put it down"]},
    ),
    "episode": (
        {},
        {"episode_metadata/language_instruction": TEXT},
        lambda n: {"episode_metadata/language_instruction": [b"put it down"]},
    ),
    "character codes": (
        {"observation/instruction": tensor(40, dtype="int32")},
        {},
        lambda n: {"steps/observation/instruction": np.tile(codes("put it down", 40), LENGTHS[n])},
    ),
    "string tensor": (
        {"language_instruction_2": tensor(dtype="string")},
        {},
        lambda n: {"steps/language_instruction_2": [b"put it down"]},
    ),
    "nowhere": ({}, {}, lambda n: {}),
}


@pytest.mark.parametrize("case", INSTRUCTIONS)
def test_empty_instruction_falls_back_to_next(case: str, tmp_path: Path) -> None:
    steps, beside, values = INSTRUCTIONS[case]
    records = [
        episode(number, {"steps/language_instruction": [b""] * LENGTHS[number]}) for number in ALL
    ]
    folder = rlds(tmp_path, [{**records[n], **values(n)} for n in ALL], steps, beside=beside)
    dataset = EpisodeDataset.open(folder)
    require_right(dataset)
    assert {dataset.episode(number).instruction for number in ALL} == {
        "toy" if case == "nowhere" else "put it down"
    }
    findings = [finding for finding in check(folder) if finding.check == "instructions"]
    assert bool(findings) == (case == "nowhere")


def test_texts_per_episode_read_or_named(tmp_path: Path) -> None:
    beside = {"episode_metadata/instructions": nested(TEXT), "episode_metadata/file_path": TEXT}
    texts = {
        "episode_metadata/instructions": [b"", b"put it down", b"lower it"],
        "episode_metadata/file_path": [b"x"],
    }
    records = [episode(n, {"steps/language_instruction": [b""] * LENGTHS[n], **texts}) for n in ALL]
    dataset = EpisodeDataset.open(rlds(tmp_path, records, beside=beside))
    require_right(dataset)
    assert [task.instruction for task in dataset.tasks] == ["put it down"]
    assert not dataset.reader.contents.notes
    assert dataset.reader.contents.left_out == {
        "episode_metadata/file_path": "of the whole episode, and no instruction"
    }


def test_changing_instructions_are_noted(tmp_path: Path) -> None:
    texts = (
        [b"", b"open", b"open", b"open", b"open"],
        [b"open", b"open", b"close", b"close"],
        [b"close"] * 6,
    )
    folder = rlds(tmp_path, [episode(n, {"steps/language_instruction": texts[n]}) for n in ALL])
    dataset = EpisodeDataset.open(folder)
    assert [dataset.episode(number).instruction for number in ALL] == ["open", "open", "close"]
    (note,) = dataset.summary()["notes"]
    assert note.startswith("1 episode has several instructions")
    assert [finding.what for finding in check(folder)] == [note]


def test_one_hot_numbers_are_no_text(tmp_path: Path) -> None:
    one_hot = np.eye(3, dtype=np.int64)
    folder = write(
        tmp_path,
        "observation/task",
        tensor(3, dtype="int64"),
        lambda n: np.tile(one_hot[n], LENGTHS[n]),
    )
    assert EpisodeDataset.open(folder).spec.state_dimension == 6
