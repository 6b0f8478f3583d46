"""HDF5 files: links, layouts that are not read, and what a torn file may do to the process that
walks it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from data.formats.small_hdf5 import encoded, put, robomimic

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.formats import hdf5_probe
from manyparts.data.formats.hdf5 import open_hdf5
from manyparts.data.formats.hdf5_probe import probe
from manyparts.data.formats.unsupported_hdf5 import unsupported_hdf5
from manyparts.data.tools.check import check

pytestmark = [
    pytest.mark.usefixtures("no_probe"),
    pytest.mark.filterwarnings("ignore::manyparts.core.errors.DatasetWarning"),
]


@pytest.mark.parametrize("target", ["/data/demo_1", "demo_1", "./demo_1", "/data/hop"])
def test_soft_links_inside_file_are_followed(target: str, tmp_path: Path) -> None:
    path = robomimic(tmp_path / "set.hdf5")
    with h5py.File(path, "a") as file:
        file["data/demo_3"] = h5py.SoftLink(target)
        file["data/hop"] = h5py.SoftLink("demo_1")
        file["data/demo_0/obs/same"] = h5py.SoftLink("hand")
        file["data/demo_4/actions"] = np.zeros((4, 2))
        file["data/demo_4/obs"] = h5py.SoftLink("/data/demo_2/obs")
    dataset = EpisodeDataset.open(path)
    assert dataset.num_episodes == 5
    np.testing.assert_array_equal(dataset.episode(3).action, dataset.episode(1).action)
    np.testing.assert_array_equal(dataset.episode(4).state, dataset.episode(2).state)


LINKS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "out": (
        lambda _: h5py.ExternalLink("other.h5", "/x"),
        "demo_1/obs is a link to /x of another file, other.h5",
    ),
    "through": (
        lambda _: h5py.SoftLink("/elsewhere/obs"),
        "/elsewhere is a link to /data of another file, other.h5",
    ),
    "nothing": (
        lambda _: h5py.SoftLink("/data/demo_9"),
        "demo_1/obs is a link to /data/demo_9, which is missing",
    ),
    "circle": (lambda _: h5py.SoftLink("/data/demo_1/obs"), "is a link that leads in a circle"),
    "above": (lambda _: h5py.SoftLink("/data"), "nested too deep|has no|more than"),
}


@pytest.mark.parametrize("how", LINKS)
def test_other_links_are_refused_by_name(how: str, tmp_path: Path) -> None:
    link, why = LINKS[how]

    def change(number: int, demo: Any) -> None:
        if number == 1:
            del demo["obs"]
            demo["obs"] = link(demo)

    path = robomimic(tmp_path / "set.hdf5", change)
    with h5py.File(path, "a") as file:
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/data")
    with pytest.raises(UserError, match=why):
        EpisodeDataset.open(path)


def test_groups_that_hold_each_other_end(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "set.hdf5")
    with h5py.File(path, "a") as file:
        obs = file["data/demo_1/obs"]
        for number in range(8):
            obs[f"again{number}"] = obs
    began = time.monotonic()
    with pytest.raises(UserError, match=r"too deep|more than"):
        EpisodeDataset.open(path)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("name", [b"\xff\xfe", b"two\nlines"])
def test_unprintable_names_are_refused(name: bytes, tmp_path: Path) -> None:
    path = robomimic(
        tmp_path / "set.hdf5",
        lambda number, demo: number and demo["obs"].create_dataset(name, data=[1.0]),
    )
    with pytest.raises(UserError, match=r"demo_1/obs has a member with an unprintable name: b'"):
        EpisodeDataset.open(path)


def put_outside(file: Any, name: str, rows: int, how: str) -> None:
    if how == "external":
        file.create_dataset(name, (rows, 2), "f4", external=[("secret.bin", 0, 100)])
        return
    layout = h5py.VirtualLayout((rows, 2), "f4")
    layout[:] = h5py.VirtualSource("secret.hdf5", "x", (rows, 2))
    file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize("how", ["external", "virtual"])
def test_arrays_in_other_files_are_refused(how: str, tmp_path: Path) -> None:
    path = robomimic(
        tmp_path / "a.hdf5", lambda _, demo: put_outside(demo, "obs/out", len(demo["actions"]), how)
    )
    dataset = EpisodeDataset.open(path)
    assert dataset.spec.state_names == ("hand_0", "hand_1", "hand_2")
    assert dataset.reader.contents.left_out == {"out": "lies in other files, which are not read"}

    def change(_: int, demo: Any) -> None:
        rows = len(demo["actions"])
        del demo["actions"]
        put_outside(demo, "actions", rows, how)

    with pytest.raises(UserError, match="actions lies in other files, which are not read"):
        EpisodeDataset.open(robomimic(tmp_path / "b.hdf5", change))


# Layouts that are recognised


def _write(path: Path, *names: str) -> Path:
    with h5py.File(path, "w") as file:
        for name in names:
            file[name] = np.zeros((3, 2))
    return path


KINDS = {
    "Minari": (("episode_0/rewards", "episode_0/actions"), "main_data.hdf5"),
    "ManiSkill": (("traj_0/actions", "traj_0/obs/x"), "traj_0"),
    "RoboTwin": (("joint_action/vector", "observation/head_camera/rgb"), "RoboTwin"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_known_layouts_get_the_right_word(kind: str, tmp_path: Path) -> None:
    names, advice = KINDS[kind]
    path = _write(tmp_path / "episode_0.hdf5", *names)
    refusal = unsupported_hdf5(open_hdf5(path))
    assert refusal is not None and kind in refusal.what
    with pytest.raises(UserError, match=advice):
        EpisodeDataset.open(path)


def test_an_unknown_layout_has_no_kind(tmp_path: Path) -> None:
    assert unsupported_hdf5(open_hdf5(_write(tmp_path / "x.hdf5", "a", "b/c"))) is None


# The process that walks a file first


def test_unreadable_node_costs_one_demonstration(tmp_path: Path) -> None:
    """A torn array of variable length, which the walk reads: the others are still there."""
    content = np.frombuffer(
        encoded(np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)) * 6, np.uint8
    )

    def change(_: int, demo: Any) -> None:
        kept = demo.create_dataset("obs/top", (len(demo["actions"]),), h5py.vlen_dtype(np.uint8))
        for row in range(len(kept)):
            kept[row] = content

    path = robomimic(tmp_path / "set.hdf5", change)
    torn = bytearray(path.read_bytes())
    last = torn.rindex(b"GCOL")  # the heap of the last rows
    torn[last : last + 4] = b"torn"
    path.write_bytes(torn)
    probe(path)
    errors = [finding.where for finding in check(path) if finding.severity == "error"]
    assert errors == ["episode demo_2"]


STUCK = {
    "hang": ("print(end=chr(0), flush=True); time.sleep(60)", "made no progress"),
    "crash": ("os.kill(os.getpid(), 11)", "ended with signal 11"),
}


@pytest.mark.parametrize("how", STUCK)
def test_hanging_or_crashing_probe_is_ended(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    does, why = STUCK[how]
    (tmp_path / "stuck.py").write_text(f"import os, time\n{does}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(hdf5_probe.__spec__, "name", "stuck")
    with pytest.raises(UserError, match=why):
        probe(robomimic(tmp_path / "set.hdf5"), seconds=0.5)


def test_a_slow_start_is_no_fault_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as that of Python on a network disk, before any file is opened."""
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(1.5)\nprint(end=chr(0) + chr(10))")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(hdf5_probe.__spec__, "name", "slow")
    probe(robomimic(tmp_path / "set.hdf5"), seconds=0.5)


def test_empty_attributes_are_no_error(tmp_path: Path) -> None:
    def change(_: int, demo: Any) -> None:
        demo.attrs["ep_meta"] = h5py.Empty("f4")
        demo.attrs["language"] = np.zeros((2, 2))
        put(demo, "language_instruction", np.ones(384))

    dataset = EpisodeDataset.open(
        robomimic(tmp_path / "set.hdf5", change, {"env_args": np.ones(3), "lang": "lift it"})
    )
    assert [task.instruction for task in dataset.tasks] == ["lift it"]
