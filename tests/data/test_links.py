"""Content behind symbolic links is content: of two datasets that differ there alone neither stands
for the other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from data.formats import foreign
from data.formats.lerobot_sets import CAMERA, DATA, change_table, write_filmed, write_v3

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats.files import files_below
from manyparts.data.sampling.frames import FORMAT, FrameCache

CHUNK = "data/chunk-000"


def move_behind_link(path: Path, disk: Path) -> None:
    """The file or folder goes to another disk, and a link to it stays."""
    disk.mkdir(parents=True, exist_ok=True)
    elsewhere = disk / path.name
    path.rename(elsewhere)
    path.symlink_to(elsewhere.resolve(), target_is_directory=elsewhere.is_dir())


def swap_actions(folder: Path) -> None:
    """The first and the last row's, so that every statistic stays."""

    def swap(columns: dict[str, list[Any]]) -> None:
        actions = columns["action"]
        actions[0], actions[-1] = actions[-1], actions[0]

    change_table(folder / DATA.format(0), swap)


@pytest.mark.parametrize("linked", [CHUNK, "data", DATA.format(0)])
def test_linked_datasets_differ_by_content(linked: str, tmp_path: Path) -> None:
    one, other = (write_v3(tmp_path / name) for name in ("one", "other"))
    swap_actions(other)
    plain = [EpisodeDataset.open(folder).summary() for folder in (one, other)]
    for folder in (one, other):
        move_behind_link(folder / linked, tmp_path / f"disk-{folder.name}")
    opened = [EpisodeDataset.open(folder) for folder in (one, other)]
    assert [dataset.fingerprint for dataset in opened] == [
        summary["fingerprint"] for summary in plain
    ]
    assert opened[0].fingerprint != opened[1].fingerprint
    assert opened[0].summary()["megabytes"] == plain[0]["megabytes"]
    first, second = (FrameCache.open(dataset, tmp_path / "cache") for dataset in opened)
    action = first.columns["action"]
    assert first.numbers.read(0, 1)[0, action].tolist() == [0.5, 0.5]
    assert second.numbers.read(0, 1)[0, action].tolist() == [203.5, 203.5]


@pytest.mark.parametrize("linked", ["videos", f"videos/{CAMERA}", "meta/episodes/chunk-000"])
def test_linked_folders_of_any_kind_count(linked: str, tmp_path: Path) -> None:
    folder = write_filmed(tmp_path / "set")
    plain = EpisodeDataset.open(folder).fingerprint
    move_behind_link(folder / linked, tmp_path / "disk")
    dataset = EpisodeDataset.open(folder)
    assert dataset.fingerprint == plain and dataset.frames(1, "top").shape[0] == 5


@pytest.mark.parametrize(
    "write", [foreign.minari, lambda folder: foreign.minari_arrow(folder, "arrow")]
)
def test_minaris_linked_folders_count(write: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "set")
    plain = EpisodeDataset.open(folder).fingerprint
    move_behind_link(folder / "data", tmp_path / "disk")
    assert EpisodeDataset.open(folder).fingerprint == plain
    (episode,) = (
        path for path in (tmp_path / "disk/data").iterdir() if path.name in ("0", "main_data.hdf5")
    )
    move_behind_link(episode, tmp_path / "third")
    assert EpisodeDataset.open(folder).fingerprint == plain


@pytest.mark.parametrize("write", [foreign.npz, foreign.rlds])
def test_linked_files_of_other_formats_count(write: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "set")
    plain = EpisodeDataset.open(folder).fingerprint
    for file in sorted(folder.iterdir()):
        move_behind_link(file, tmp_path / "disk")
    assert EpisodeDataset.open(folder).fingerprint == plain


def test_link_to_dataset_is_the_dataset(tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set")
    (tmp_path / "link").symlink_to(folder)
    assert (
        EpisodeDataset.open(tmp_path / "link").fingerprint
        == EpisodeDataset.open(folder).fingerprint
    )


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set")
    plain = EpisodeDataset.open(folder).fingerprint
    (folder / CHUNK / "up").symlink_to(folder / "data")
    (folder / CHUNK / "own").symlink_to(".")
    (folder / CHUNK / "itself").symlink_to("itself")
    (folder / CHUNK / "nowhere").symlink_to(tmp_path / "nowhere")
    assert EpisodeDataset.open(folder).fingerprint == plain


def test_folders_nested_without_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "/".join("d" * 70)).mkdir(parents=True)
    with pytest.raises(UserError, match="nested more than 64 folders deep"):
        list(files_below(tmp_path))


def test_fingerprints_without_links_stay(tmp_path: Path) -> None:
    for name, content in (("meta/info.json", "{}"), ("data/chunk-000/file-000.parquet", "rows")):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(content)
    reader = SimpleNamespace(files=lambda: files_below(tmp_path))
    content = EpisodeDataset.__dict__["content"].func(SimpleNamespace(reader=reader, path=tmp_path))
    assert content == "b11921af253854e303b2f2010e7e12c14c4343eed1ce9ff41e600e5d5df4499b"
    folder = write_v3(tmp_path / "set")
    whole = hashlib.sha256()
    for file in sorted(
        file for part in ("meta", "data") for file in (folder / part).rglob("*") if file.is_file()
    ):
        whole.update(
            f"{file.relative_to(folder)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode()
        )
    assert EpisodeDataset.open(folder).fingerprint == whole.hexdigest()


def test_cache_of_earlier_format_is_unused(tmp_path: Path) -> None:
    """What is read differently since then must not come out of it."""
    dataset = EpisodeDataset.open(write_v3(tmp_path / "set"))
    assert FORMAT > 1
    fresh = FrameCache.open(dataset, tmp_path / "fresh")
    former = tmp_path / "cache/frames" / f"{dataset.fingerprint[:32]}-1"
    former.mkdir(parents=True)
    for name in os.listdir(fresh.folder):
        (former / name).write_bytes(bytes((fresh.folder / name).stat().st_size))
    cache = FrameCache.open(dataset, tmp_path / "cache")
    assert cache.folder.name == f"{dataset.fingerprint[:32]}-{FORMAT}"
    np.testing.assert_array_equal(cache.numbers.read(0, 15), fresh.numbers.read(0, 15))
    assert cache.numbers.read(0, 15).any()
