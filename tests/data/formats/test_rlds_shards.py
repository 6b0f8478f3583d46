"""Shards of an RLDS dataset that are missing, torn, renamed or of another kind."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.formats.rlds_files import (
    ALL,
    LENGTHS,
    SIDE,
    Values,
    episode,
    example,
    grey,
    image,
    pngs,
    require_right,
    rlds,
    sequence_example,
    write_shard,
)

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check, repair

pytestmark = pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning")


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
