"""Files and folders that are no dataset we read: each gets the right word and the right advice."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import sqlite3
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from data.formats import foreign
from data.formats.rlds_files import episode, rlds

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check


def hdf5(path: Path, **arrays: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name.replace("__", "/")] = values
    return path


def aloha(path: Path) -> Path:
    return hdf5(path, action=np.zeros((3, 14)), observations__qpos=np.zeros((3, 14)))


def d4rl(path: Path) -> Path:
    rows = {name: np.zeros((9, 2)) for name in ("observations", "actions")}
    return hdf5(path, **rows, terminals=np.zeros(9, bool), rewards=np.zeros(9))


def raw_robosuite(path: Path) -> Path:
    return hdf5(path, data__demo_1__states=np.zeros((3, 9)), data__demo_1__actions=np.zeros((3, 7)))


def folder_of(make: Callable[[Path], Path], folder: Path, names: tuple[str, ...]) -> Path:
    folder.mkdir()
    for name in names:
        make(folder / name)
    return folder


def both(folder: Path, first: Callable[[Path], Path], name: str, second, other: str) -> Path:
    """A folder with one file each of two kinds."""
    folder_of(first, folder, (name,))
    second(folder / other)
    return folder


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "{}")
    return path


def tar(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("x"), io.BytesIO())
    return path


def one_npz(path: Path) -> Path:
    np.savez(path, action=np.zeros((3, 2)), q=np.zeros((3, 2)))
    return path


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def parted_npz(path: Path) -> Path:
    np.savez(
        path,
        **{"action/arm": np.zeros((3, 2)), "action/hand": np.zeros((3, 1)), "q": np.zeros((3, 2))},
    )
    return path


def renamed(path: Path, name: str) -> Path:
    foreign.robomimic(path)
    with h5py.File(path, "a") as file:
        for number in range(3):
            file.move(f"data/demo_{number}", name.format(number))
        if not name.startswith("data"):
            del file["data"]
    return path


def in_zlib(folder: Path) -> Path:
    for shard in folder.glob("*.tfrecord*"):
        shard.write_bytes(zlib.compress(shard.read_bytes()))
    return folder


def one_npy(path: Path) -> Path:
    np.save(path, np.zeros(3))
    return path


def database(path: Path) -> Path:
    with sqlite3.connect(path) as connection:
        connection.execute("create table topics (name text)")
    return path


def old_lerobot(folder: Path, version: str) -> Path:
    put(folder / "meta/info.json", json.dumps({"codebase_version": version}))
    return folder


def in_lance(folder: Path) -> Path:
    foreign.lerobot_v2(folder, "v2.1")
    info = json.loads((folder / "meta/info.json").read_text())
    (folder / "meta/info.json").write_text(json.dumps(info | {"storage_format": "lance"}))
    return folder


def rlds_parent(folder: Path) -> Path:
    return rlds(folder, [episode(0)]).parent


Case = tuple[Callable[[Path], Path], str, str]
FILES: dict[str, Case] = {
    "raw robosuite": (
        lambda p: raw_robosuite(p / "demo.hdf5"),
        "no observations",
        "dataset_states_to_obs.py",
    ),
    "columns": (
        lambda p: hdf5(p / "x.h5", ep_len=np.ones(2), ep_offset=np.ones(2)),
        "many episodes end to end",
        "convert",
    ),
    "unknown HDF5": (
        lambda p: hdf5(p / "x.h5", a=np.ones(2)),
        "it has no group data, but a",
        "can be read:",
    ),
    "numbered otherwise": (
        lambda p: renamed(p / "x.hdf5", "data/episode_{}"),
        "no data/demo_0",
        r"rename.*episode_0",
    ),
    "demonstrations at the top": (
        lambda p: renamed(p / "x.hdf5", "demo_{}"),
        "no group data",
        r"move\('demo_0'",
    ),
    "one npz": (lambda p: one_npz(p / "ep_0.npz"), "a single .npz", "give the folder"),
    "one npy": (lambda p: one_npy(p / "a.npy"), "a single array", "one .npz per episode"),
    "zarr in a zip": (
        lambda p: zipped(p / "d.zarr.zip", ".zgroup", "data/.zgroup"),
        "a zarr store without meta/episode_ends",
        "convert",
    ),
    "zip": (lambda p: zipped(p / "set.zip", "meta/info.json"), "an archive", "unpack it"),
    "tar": (lambda p: tar(p / "set.tar"), "an archive", "unpack it"),
    "gzip": (
        lambda p: put(p / "set.tar.gz", gzip.compress(b"x")),
        "compressed with gzip",
        "decompress it",
    ),
    "mcap": (
        lambda p: put(p / "a.mcap", b"\x89MCAP0\r\n" + bytes(99)),
        "a ROS recording",
        "topics",
    ),
    "ROS 1 bag": (lambda p: put(p / "a.bag", "#ROSBAG V2.0\n"), "a ROS recording", "topics"),
    "ROS 2 database": (lambda p: database(p / "a.db3"), "a ROS recording", "topics"),
    "pickle": (
        lambda p: put(p / "a.pkl", pickle.dumps({})),
        "a pickle, which is never read",
        "one file per episode",
    ),
    "parquet": (
        lambda p: put(p / "f.parquet", "PAR1"),
        "a file of a dataset",
        "give the dataset's folder",
    ),
    "shard": (
        lambda p: put(p / "x.tfrecord-00000-of-00001", bytes(99)),
        "one file of an RLDS",
        "features.json",
    ),
    "json": (lambda p: put(p / "info.json", "{}"), "a file of text", "the folder of the dataset"),
    "video": (lambda p: put(p / "a.mp4", bytes(99)), "a video", "the folder of the dataset"),
    "pointer": (
        lambda p: put(p / "a.hdf5", "version https://git-lfs.github.com/spec/v1\n"),
        "Git LFS",
        "git lfs pull",
    ),
    "notes": (
        lambda p: put(p / "notes.txt", "hello"),
        "no known dataset",
        "HDF5 of robomimic",
    ),
}
FOLDERS: dict[str, Case] = {
    "ALOHA and D4RL": (
        lambda p: both(p, aloha, "episode_0.hdf5", d4rl, "hopper.hdf5"),
        r"several formats: ALOHA \(episode_0.hdf5\), D4RL \(hopper.hdf5\)",
        "a folder of their own",
    ),
    "ALOHA and npz": (
        lambda p: both(p, aloha, "episode_0.hdf5", one_npz, "ep_1.npz"),
        "several formats, such as ep_1.npz and episode_0.hdf5",
        "a folder of their own",
    ),
    "two of D4RL": (
        lambda p: both(p, d4rl, "hopper-medium-v2.hdf5", d4rl, "walker2d-medium-v2.hdf5"),
        "2 datasets, by the names of their files: hopper-medium-v2.hdf5, walker2d",
        "such as .*hopper-medium-v2.hdf5",
    ),
    "unknown HDF5": (
        lambda p: hdf5(p / "x.h5", a=np.ones(2)).parent,
        "one HDF5 file in no layout that can be read",
        "data info .*x.h5",
    ),
    "episodes of RoboTwin": (
        lambda p: (
            hdf5(p / "x.h5", joint_action__vector=np.ones(2), observation__a=np.ones(2)).parent
        ),
        "one HDF5 file; x.h5 is an episode of RoboTwin",
        "RoboTwin's own scripts",
    ),
    "tasks below": (
        lambda p: aloha(p / "task_1" / "episode_0.hdf5").parents[1],
        "a folder of datasets",
        "set/task_1",
    ),
    "HDF5": (
        lambda p: folder_of(foreign.robomimic, p, ("a.hdf5", "b.hdf5")),
        "2 HDF5 files",
        "a.hdf5, or several",
    ),
    "zarr": (lambda p: put(p / ".zgroup", "{}").parent, "a zarr store", "convert"),
    "zarr below": (
        lambda p: put(p / "replay_buffer.zarr/.zgroup", "{}").parents[1],
        "replay_buffer.zarr",
        "convert",
    ),
    "bag": (lambda p: database(made(p) / "a_0.db3").parent, "a ROS recording", "topics"),
    "bags": (
        lambda p: put(p / "episode_0/a_0.mcap", "").parents[1],
        "a ROS recording",
        "topics",
    ),
    "RLDS parent": (rlds_parent, "an RLDS dataset's versions", "give"),
    "datasets": (lambda p: rlds_parent(p).parent, "a folder of datasets", "toy/1.0.0"),
    "npz below": (
        lambda p: one_npz(made(p / "train") / "ep.npz").parents[1],
        "a folder of datasets",
        "set/train",
    ),
    "actions in parts": (
        lambda p: parted_npz(made(p) / "ep.npz").parent,
        "no array named action",
        "concatenate",
    ),
    "shards in zlib": (
        lambda p: in_zlib(rlds(p, [episode(0)])),
        "compressed with ZLIB",
        "zlib.decompress",
    ),
    "shards alone": (
        lambda p: put(p / "a.tfrecord-00000-of-00001", "").parent,
        "without features.json",
        "with",
    ),
    "LeRobot 1": (
        lambda p: put(p / "meta_data/info.json", "{}").parents[1],
        "older than 2.0",
        "convert",
    ),
    "LeRobot 1.6": (
        lambda p: old_lerobot(p, "v1.6"),
        "has codebase_version v1.6",
        "can be read: v2.0",
    ),
    "LeRobot 9": (
        lambda p: old_lerobot(p, "v9.0"),
        "has codebase_version v9.0",
        "can be read: v2.0",
    ),
    "Lance": (in_lance, "in Lance storage", "parquet storage"),
    "lance tables": (
        lambda p: put(p / "frames.lance/_versions/1", "").parents[2],
        "Lance storage",
        "parquet storage",
    ),
    "pickles": (
        lambda p: put(p / "a.pkl", "").parent,
        "a folder of pickles",
        "one file per episode",
    ),
    "archives": (lambda p: put(p / "a.tar", "").parent, "a folder of archives", "unpack them"),
    "tables": (
        lambda p: put(p / "a.parquet", "").parent,
        "tables without meta/info.json",
        "in which meta lies",
    ),
    "nothing": (
        lambda p: put(p / "x.txt", "").parent,
        "meta/info.json is missing",
        "can be read: .*HDF5 of robomimic",
    ),
}


@pytest.mark.parametrize("case", [*FILES, *FOLDERS])
def test_foreign_data_get_the_right_word(case: str, tmp_path: Path) -> None:
    make, what, remedy = (FILES | FOLDERS)[case]
    path = make(tmp_path if case in FILES else tmp_path / "set")
    with pytest.raises(UserError, match=rf"(?s){what}.*; .*{remedy}") as refused:
        EpisodeDataset.open(path)
    assert "\n" not in str(refused.value) and "torn" not in str(refused.value)
    (finding,) = check(path)
    assert f"{finding.what}; {finding.remedy}" == str(refused.value)


def test_torn_files_are_called_torn(tmp_path: Path) -> None:
    for name, content, words in (
        ("a.hdf5", b"\x89HDF\r\n\x1a\nno more", "cannot be read as HDF5"),
        ("b.hdf5", b"something", "is not an HDF5 file, or is torn"),
        ("c.zip", b"PK\x03\x04", "a torn archive"),
        ("d.npz", b"", "is empty"),
    ):
        (finding,) = check(put(tmp_path / name, content))
        assert words in finding.what and "restore the file from its source" in finding.remedy


def test_brackets_in_paths_are_no_pattern(tmp_path: Path) -> None:
    folder = foreign.npz(tmp_path / "odd [red] set[")
    assert EpisodeDataset.open(folder).num_episodes == 3 and check(folder) == []
    assert rlds(tmp_path / "a[b]", [episode(0)]).parent.name == "toy"
    assert EpisodeDataset.open(tmp_path / "a[b]" / "toy" / "1.0.0").num_episodes == 1
