"""RLDS as others write it: what is not understood is left out and named, and what is read is
right."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.formats.rlds_files import (
    LENGTHS,
    TEXT,
    Values,
    episode,
    example,
    image,
    nested,
    pngs,
    rlds,
    sequence_example,
    tensor,
    write_shard,
)

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check, repair

pytestmark = pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning")

ALL = range(len(LENGTHS))
SIDE = 12
Make = Callable[[int], Values]


def grey(number: int, dtype: Any = np.uint8, channels: int = 3) -> np.ndarray:
    """(T, h, w, channels); each step has a colour of its own."""
    shades = 20 * number + np.arange(LENGTHS[number])
    return np.broadcast_to(shades[:, None, None, None], (len(shades), SIDE, SIDE, channels)).astype(
        dtype
    )


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


def require_right(dataset: EpisodeDataset, wanted: tuple[int, ...] = tuple(ALL)) -> None:
    """The state and action of these episodes, and nothing else."""
    assert dataset.num_episodes == len(wanted)
    for index, number in enumerate(wanted):
        found, values = dataset.episode(index), episode(number)
        np.testing.assert_array_equal(found.state, values["steps/observation/state"][:-1])
        np.testing.assert_array_equal(found.action, values["steps/action"][:-1])


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
def test_eight_bit_pictures_are_cameras(
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
    found = [finding for finding in check(folder) if finding.check == "instructions"]
    assert bool(found) == (case == "nowhere")


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


def hide(file: Path) -> None:
    file.with_name(f"._{file.name}").write_bytes(b"\0\5\26\7" + bytes(90))
    file.with_name(f"{file.name}.incomplete.1").write_bytes(b"torn")
    file.with_name(f"{file.name}_index.json").write_text("{}")


def test_companions_of_shards_are_not_read(tmp_path: Path) -> None:
    folder = rlds(tmp_path, [episode(number) for number in ALL])
    hide(next(folder.glob("*.tfrecord*")))
    require_right(EpisodeDataset.open(folder))
    assert check(folder) == []


def test_shards_counted_as_empty_are_fine(tmp_path: Path) -> None:
    folder = rlds(tmp_path, [episode(number) for number in ALL], shards=4)
    assert [file.stat().st_size for file in sorted(folder.glob("*.tfrecord*"))][-1] == 0
    require_right(EpisodeDataset.open(folder))
    assert check(folder) == []


def drop(folder: Path, number: int) -> None:
    next(folder.glob(f"*-{number:05d}-of-*")).unlink()


def forget_counts(folder: Path) -> None:
    (folder / "dataset_info.json").unlink()
    drop(folder, 1)


def shorten(folder: Path) -> None:
    write_shard(next(folder.glob("*-00001-of-*")), [])


def add_split(folder: Path) -> None:
    rlds(folder.parents[1], [episode(0)], split="val")
    next(folder.glob("toy-val*")).unlink()


MISSING: dict[str, tuple[Callable[[Path], Any], str, tuple[int, ...]]] = {
    "a shard": (
        lambda folder: drop(folder, 1),
        "1 of 3 files of train is missing (number 00001), with 1 of 3",
        (0, 2),
    ),
    "a shard nobody counts": (
        forget_counts,
        "1 of 3 files of train is missing (number 00001)",
        (0, 2),
    ),
    "the end of a shard": (shorten, "holds 0 of the 1 episodes", (0, 2)),
    "a split": (add_split, "the split val is missing, with 1 episode", (0, 1, 2)),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_is_missing_is_noted(case: str, tmp_path: Path) -> None:
    spoil, words, left = MISSING[case]
    folder = rlds(tmp_path, [episode(number) for number in ALL], shards=3)
    spoil(folder)
    dataset = EpisodeDataset.open(folder)
    require_right(dataset, left)
    (note,) = dataset.summary()["notes"]
    assert words in note and [finding.what for finding in check(folder)] == [note]


def test_malformed_dataset_info_is_noted(tmp_path: Path) -> None:
    folder = rlds(tmp_path, [episode(number) for number in ALL])
    (folder / "dataset_info.json").write_text('{"splits": [{"shardLengths": ["3"]}]}')
    dataset = EpisodeDataset.open(folder)
    require_right(dataset)
    assert (
        "dataset_info.json lacks 'name'; whether episodes are missing is not known"
        in dataset.summary()["notes"][0]
    )


@pytest.mark.parametrize(
    "name",
    ["toy-train-{0}-of-00003.tfrecord", "part{0}.tfrecord", "toy-train.tfrecord-{0}-of-00003"],
)
def test_shards_may_be_named_otherwise(name: str, tmp_path: Path) -> None:
    folder = rlds(tmp_path, [episode(number) for number in ALL], shards=3)
    for number in ALL:
        file = folder / f"toy-train.tfrecord-{number:05d}-of-00003"
        file.rename(folder / name.format(f"{number:05d}"))
    if name.startswith("part"):
        (folder / "dataset_info.json").unlink()
    dataset = EpisodeDataset.open(folder)
    require_right(dataset)
    assert dataset.summary()["notes"] == []


def test_splits_that_are_joined_are_noted(tmp_path: Path) -> None:
    rlds(tmp_path, [episode(0), episode(1)])
    folder = rlds(tmp_path, [episode(2)], split="val")
    dataset = EpisodeDataset.open(folder)
    require_right(dataset)
    (note,) = dataset.summary()["notes"]
    assert "train (2 episodes), val (1 episode) are read as one dataset" in note
    assert [dataset.reader.contents.name_of(number) for number in ALL] == [
        "train 0",
        "train 1",
        "val 0",
    ]


def test_two_conversions_of_split_are_refused(tmp_path: Path) -> None:
    folder = rlds(tmp_path, [episode(number) for number in ALL], shards=3)
    (folder / "toy-train.tfrecord-00000-of-00001").write_bytes(b"")
    with pytest.raises(UserError, match="two conversions of train: -of-00001 and -of-00003"):
        EpisodeDataset.open(folder)


def compress(folder: Path) -> None:
    for file in folder.glob("*.tfrecord*"):
        file.write_bytes(gzip.compress(file.read_bytes()))


def as_sequence_examples(folder: Path) -> None:
    values = {
        "steps/action": np.zeros((6, 2), np.float32),
        "steps/observation/state": np.zeros((6, 3), np.float32),
    }
    write_shard(next(folder.glob("*.tfrecord*")), [sequence_example(values)])


def as_array_records(folder: Path) -> None:
    next(folder.glob("*.tfrecord*")).rename(folder / "toy-train.array_record-00000-of-00001")
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "array_record"}))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (compress, "compressed with gzip, which is not read; decompress it with gunzip"),
        (
            as_sequence_examples,
            "tf.train.SequenceExample, which are not read; write the dataset as RLDS",
        ),
        (
            as_array_records,
            "no .tfrecord files: its fileFormat is array_record; write it as tfrecord",
        ),
    ],
)
def test_other_kinds_of_shards_are_refused(
    spoil: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    folder = rlds(tmp_path, [episode(number) for number in ALL])
    spoil(folder)
    with pytest.raises(UserError, match=words):
        EpisodeDataset.open(folder)
    (finding,) = check(folder)
    assert finding.severity == "error" and "restore" not in finding.remedy


def spoilt(number: int, kind: str) -> bytes:
    steps = LENGTHS[number]
    changes: dict[str, dict[str, Values]] = {
        "not a number": {"steps/observation/state": np.full((steps, 3), np.nan, np.float32)},
        "empty": {
            name: np.zeros(0, np.float32)
            for name in ("steps/observation/state", "steps/action", "steps/is_last")
        },
        "other width": {"steps/observation/state": np.ones((steps, 2), np.float32)},
        "shorter": {"steps/action": np.ones((steps - 1, 2), np.float32)},
        "other picture": {"steps/observation/front": pngs(grey(number)[:, :6])},
        "no picture": {"steps/observation/front": [b""] * steps},
        "other picture later": {
            "steps/observation/front": [*pngs(grey(number)[:1]), *pngs(grey(number)[1:, :6])]
        },
        "fewer pictures": {"steps/observation/front": pngs(grey(number)[:2])},
        "torn picture": {"steps/observation/front": [b"\x89PNG torn"] * steps},
    }
    if kind == "torn record":
        return b"\xff" * 40
    if kind == "lacking":
        return example(
            {name: each for name, each in episode(number).items() if "state" not in name}
        )
    return example(
        episode(number, {"steps/observation/front": pngs(grey(number)), **changes[kind]})
    )


@pytest.mark.parametrize(
    "kind",
    [
        *(
            "not a number",
            "empty",
            "other width",
            "shorter",
            "other picture",
            "no picture",
            "torn picture",
        ),
        *("torn record", "lacking", "fewer pictures"),
    ],
)
def test_fix_leaves_bad_episode_out(kind: str, tmp_path: Path) -> None:
    records = [episode(number, {"steps/observation/front": pngs(grey(number))}) for number in ALL]
    folder = rlds(tmp_path, records, {"observation/front": image(SIDE, SIDE, 3)})
    write_shard(
        next(folder.glob("*.tfrecord*")),
        [example(records[0]), spoilt(1, kind), example(records[2])],
    )
    with pytest.raises(UserError, match=r"data check DATASET --fix COPY` leaves it out"):
        EpisodeDataset.open(folder)
    (finding,) = [finding for finding in check(folder) if finding.severity == "error"]
    assert finding.where == "episode 1" and "leaves the episode out" in finding.remedy
    assert repair(folder, tmp_path / "mended") == ["1"]
    require_right(EpisodeDataset.open(tmp_path / "mended"), (0, 2))


def test_records_before_torn_end_are_kept(tmp_path: Path) -> None:
    folder = rlds(tmp_path, [episode(number) for number in ALL])
    file = next(folder.glob("*.tfrecord*"))
    file.write_bytes(file.read_bytes()[:-30])
    (finding,) = [finding for finding in check(folder) if finding.severity == "error"]
    assert finding.where == "episode 2" and "is torn" in finding.what
    assert repair(folder, tmp_path / "mended") == ["2"]
    require_right(EpisodeDataset.open(tmp_path / "mended"), (0, 1))


def test_episodes_after_torn_file_keep_numbers(tmp_path: Path) -> None:
    folder = rlds(tmp_path, [episode(number) for number in ALL], shards=3)
    file = next(folder.glob("*-00001-of-*"))
    file.write_bytes(file.read_bytes()[:-30])
    assert repair(folder, tmp_path / "mended") == ["1"]
    require_right(EpisodeDataset.open(tmp_path / "mended"), (0, 2))


def test_dataset_without_readable_episode_refused(tmp_path: Path) -> None:
    folder = rlds(tmp_path, [episode(number) for number in ALL])
    write_shard(next(folder.glob("*.tfrecord*")), [b"\xff" * 40] * 2)
    (finding,) = check(folder)
    assert finding.check == "open" and "record 0 is not a tf.train.Example" in finding.what
