"""Whatever happens, the dataset is as it was or edited and whole, and nothing else is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from data.formats.lerobot_sets import write_v3
from data.synthetic import make_episode, write
from data.tools.editing.lerobot_rules import read_as_lerobot
from data.tools.editing.sets import rich, snapshot

from manyparts.core.errors import UserError
from manyparts.core.storage import atomic
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.editing import writing
from manyparts.data.tools.editing.commands import Destination, Parts, delete, relabel, split

IN_PLACE = Destination(in_place=True)
DELETE = ["data", "delete", "set", "--episodes", "0", "--in-place"]
RUN = "import sys; from manyparts.cli import main; sys.exit(main())"


def destination(folder: Path, in_place: bool) -> Destination:
    return Destination(None if in_place else folder / "copy", in_place)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_in_place_replaces_the_dataset(tmp_path: Path) -> None:
    source = rich(tmp_path / "set")
    first, _, third = read_as_lerobot(source)
    former = snapshot(source)
    written = delete(source, IN_PLACE, episodes=["1"])
    assert written.path == source and listing(tmp_path) == ["set"]
    now, kept = snapshot(source), read_as_lerobot(source)
    assert [each.columns for each in kept] == [first.columns, third.columns]
    for name in ("LICENSE", ".cache/download", "meta/calibration.json"):
        assert now[name] == former[name]


def test_in_place_keeps_rows_and_videos_of_new_texts(tmp_path: Path) -> None:
    """The files are the same ones: a dataset of any size is relabelled at once."""
    source = rich(tmp_path / "set")
    files = [*source.rglob("*.mp4"), *(source / "data").rglob("*.parquet")]
    before = {file: file.stat().st_ino for file in files}
    relabel(source, IN_PLACE, texts={"pick up the cube": "lift it"})
    assert {file: file.stat().st_ino for file in files} == before
    assert read_as_lerobot(source)[0].tasks == ["lift it"] * 6


def test_copy_shares_no_file_with_its_source(tmp_path: Path) -> None:
    """A program that appends to the one must not change the other."""
    source = rich(tmp_path / "set")
    relabel(source, Destination(tmp_path / "copy"), texts={"pick up the cube": "lift it"})
    inodes = [{f.stat().st_ino for f in each.rglob("*")} for each in (source, tmp_path / "copy")]
    assert not inodes[0] & inodes[1]


def test_link_to_a_dataset_is_followed(tmp_path: Path) -> None:
    source = rich(tmp_path / "disk" / "set")
    (tmp_path / "link").symlink_to(source)
    delete(tmp_path / "link", IN_PLACE, episodes=["1"])
    assert (tmp_path / "link").is_symlink() and len(read_as_lerobot(source)) == 2
    assert listing(tmp_path / "disk") == ["set"]


def test_files_that_would_be_lost_stop_in_place(tmp_path: Path) -> None:
    source = rich(tmp_path / "set")
    (source / "data/chunk-000/notes.txt").write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match=r"would be lost: data/chunk-000/notes.txt; write a copy"):
        delete(source, IN_PLACE, episodes=["1"])
    assert snapshot(tmp_path) == before


def test_destination_has_to_be_clear(tmp_path: Path) -> None:
    source = write_v3(tmp_path / "set")
    for destination, message in (
        (Destination(), "where to. --output COPY writes a new folder, --in-place replaces"),
        (Destination(tmp_path / "copy", in_place=True), "--output and --in-place exclude each"),
        (Destination(source), "exists; choose another output"),
    ):
        with pytest.raises(UserError, match=message):
            delete(source, destination, episodes=["0"])
    hub = tmp_path / "datasets--me--arm" / "snapshots" / "abc"
    write_v3(hub)
    with pytest.raises(UserError, match="in the cache of the Hugging Face Hub, which is not"):
        delete(hub, IN_PLACE, episodes=["0"])


@pytest.mark.parametrize("in_place", [True, False])
def test_dry_run_writes_nothing(in_place: bool, tmp_path: Path) -> None:
    source = rich(tmp_path / "set")
    before = snapshot(tmp_path)
    output = None if in_place else tmp_path / "copy"
    edited = delete(source, Destination(output, in_place, dry_run=True), episodes=["0"])
    parts = split(source, tmp_path / "parts", Parts(counts=["a=1", "b=2"]), dry_run=True)
    assert (edited.episodes, edited.frames) == (2, 9)
    assert [each.path.name for each in parts] == ["a", "b"]
    assert snapshot(tmp_path) == before


STEPS = ("write_videos", "write_episodes", "write_info", "copy_further_files")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("in_place", [True, False])
def test_interrupt_leaves_the_dataset(
    step: str, in_place: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = rich(tmp_path / "set")
    before = snapshot(tmp_path)

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        delete(source, destination(tmp_path, in_place), episodes=["1"])
    assert snapshot(tmp_path) == before and listing(tmp_path) == ["set"]


@pytest.mark.parametrize("in_place", [True, False])
def test_source_that_changes_meanwhile_is_left(
    in_place: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program records an episode while one is deleted."""
    source = rich(tmp_path / "set")
    write_card = writing.write_card

    def recorded(*arguments: object) -> None:
        (source / "data/chunk-000/file-002.parquet").write_bytes(b"new rows")
        write_card(*arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(writing, "write_card", recorded)
    with pytest.raises(UserError, match=r"was changed by another program meanwhile \(.*file-002"):
        delete(source, destination(tmp_path, in_place), episodes=["1"])
    assert (source / "data/chunk-000/file-002.parquet").exists() and listing(tmp_path) == ["set"]


def test_kill_without_an_exchange_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where names cannot be exchanged in one step, a kill between two renames loses nothing, and
    the next edit does not take the former dataset for a leftover."""
    source = rich(tmp_path / "set")
    before = snapshot(source)
    monkeypatch.setattr(atomic, "_exchange_by_system", lambda first, second: False)
    rename, renamed = Path.rename, []

    def killed(path: Path, target: Path) -> Path:
        renamed.append(path)
        if len(renamed) == 2:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        delete(source, IN_PLACE, episodes=["1"])
    monkeypatch.setattr(Path, "rename", rename)
    (aside,) = [path for path in tmp_path.iterdir() if path.name.startswith("set.before-")]
    assert snapshot(aside) == before
    atomic.temporary_folder(source)
    assert snapshot(aside) == before
    aside.rename(source)
    delete(source, IN_PLACE, episodes=["1"])
    assert len(read_as_lerobot(source)) == 2


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A dataset that takes some tenths of a second to write."""
    episodes = [make_episode(seed, 3) for seed in range(60)]
    return write(tmp_path / "set", episodes).path


def run_until(folder: Path, arguments: list[str], is_time: Callable[[], bool]) -> int:
    """Start a command and kill it when it is time; its exit code."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", RUN, *arguments]
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE)
    while process.poll() is None:
        if is_time():
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.0005)
    process.communicate()
    return process.returncode


def moments(folder: Path) -> Iterator[Callable[[], bool]]:
    """When to kill: as soon as a file of that name is being written."""
    for name in ("data", "meta/episodes", "README.md"):
        yield lambda name=name: any(folder.glob(f".set.partial-*/{name}"))


@pytest.mark.slow
def test_kill_leaves_the_old_or_the_new(large: Path, tmp_path: Path) -> None:
    before, count, hits = snapshot(large), 60, 0
    for is_time in moments(tmp_path):
        code = run_until(tmp_path, DELETE, is_time)
        hits += code == -signal.SIGKILL
        if code == 0:
            count -= 1
            before = snapshot(large)
        now = EpisodeDataset.open(large).num_episodes
        if now != count:  # killed after the exchange
            count, before = count - 1, snapshot(large)
        assert now == count and snapshot(large) == before
    assert hits
    assert run_until(tmp_path, DELETE, lambda: False) == 0
    assert len(read_as_lerobot(large)) == count - 1
    assert listing(tmp_path) == ["set"], "what killed processes left is removed"


@pytest.mark.slow
def test_killed_split_shows_no_part(large: Path, tmp_path: Path) -> None:
    before = snapshot(large)
    words = ["data", "split", "set", "--output", "parts", "--fractions", "a=0.5", "b=0.5"]
    code = run_until(tmp_path, words, lambda: any(tmp_path.glob(".parts.partial-*/b/data")))
    assert code == -signal.SIGKILL
    assert snapshot(large) == before and not (tmp_path / "parts").exists()
    assert run_until(tmp_path, words, lambda: False) == 0
    assert listing(tmp_path) == ["parts", "set"]
