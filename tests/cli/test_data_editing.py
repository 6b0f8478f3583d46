"""`manyparts data delete, relabel, split, merge` as they are typed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli.running import one_line, run
from data.formats.lerobot_sets import write_v3
from data.tools.editing.lerobot_rules import read_as_lerobot
from data.tools.editing.sets import rich, snapshot

TASK = "pick up the cube"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_v3(tmp_path / "set")
    return tmp_path


def test_delete_says_what_it_wrote(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "delete", "set", "--episodes", "0", "2", "--output", "copy") == 0
    first, note = capsys.readouterr().err.splitlines()
    assert first == "wrote copy: 1 episode, 5 frames, 1 task"
    assert note == "note: episodes are numbered from 0: the last one, 1, is 0 now"
    assert len(read_as_lerobot(folder / "copy")) == 1


def test_in_place_says_that_it_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "relabel", "set", "--instruction", "lift it", "--in-place"]
    assert run(*words, "--dry-run") == 0
    assert capsys.readouterr().err.startswith("would replace ")
    assert run(*words) == 0
    assert f"replaced {folder / 'set'}: 3 episodes" in capsys.readouterr().err
    assert read_as_lerobot(folder / "set")[0].tasks == ["lift it"] * 6


def test_relabel_by_file(folder: Path) -> None:
    (folder / "labels.json").write_text(json.dumps({TASK: "lift it", "1": "drop it"}))
    assert run("data", "relabel", "set", "--file", "labels.json", "--output", "copy") == 0
    tasks = [read.tasks[0] for read in read_as_lerobot(folder / "copy")]
    assert tasks == ["lift it", "drop it", "lift it"]


def test_split_and_merge(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--counts", "test=1", "train=rest", "--seed", "1"]
    assert run("data", "split", "set", "--output", "parts", *words) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("wrote parts/test: 1 episode")
    assert lines[1].startswith("wrote parts/train: 2 episodes")
    assert run("data", "merge", "parts/test", "parts/train", "--output", "merged") == 0
    assert len(read_as_lerobot(folder / "merged")) == 3


REFUSED = {
    "delete set --episodes 0": "where to? --output COPY writes a new folder",
    "delete set --output copy": "what is to be deleted? name it with --episodes or --tasks",
    "delete set --episodes 3 --output copy": "set has no episode 3; it has 0 to 2",
    "delete set --tasks pick --output copy": "set has no task 'pick'; choices: pick up the cube",
    "delete set --episodes 0-2 --in-place": "all 3 episodes of set would be deleted",
    "delete set --episodes --output copy": "--episodes has no value",
    "relabel set --output copy": "give one of --instruction TEXT and --file FILE.json",
    "relabel set --instruction x --file y --output copy": "give one of --instruction TEXT",
    "relabel set --file none.json --output copy": "none.json is missing",
    "relabel set --file set/meta/tasks.parquet --output copy": "is not readable JSON",
    "relabel set --file x.json --tasks y --output copy": "--file names its own",
    "split set --output copy": "split by one of --fractions",
    "split set --counts a=1": "missing --output",
    "merge set --output copy": "1 dataset to merge; expected two at least",
    "merge set set --output copy": "set is given twice",
    "merge --output copy": "",
    "merge set nowhere --output copy": "no dataset at nowhere",
}


@pytest.mark.parametrize("words", REFUSED)
def test_bad_input_is_one_line(
    words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(folder)
    assert run("data", *words.split()) == 2
    assert REFUSED[words] in one_line(capsys)
    assert snapshot(folder) == before


@pytest.mark.parametrize("where", ["--output=small/copy", "--in-place"])
def test_full_disk_leaves_the_dataset(where: str, tmp_path: Path) -> None:
    """On a file system of 200 kB, made in a namespace of its own."""
    rich(tmp_path / "set")
    (tmp_path / "small").mkdir()
    script = (
        'cd "$1" && mount -t tmpfs -o size=200k none small && cp -r set small/set '
        '&& head -c 120000 /dev/zero > small/other && shift && "$@"; code=$?; '
        "diff -r set small/set >&2 && exit $code"
    )
    own = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run([*own, "true"]).returncode:
        pytest.skip("this machine lets nobody mount a small file system")
    program = "import sys; from manyparts.cli import main; sys.exit(main())"
    words = ["data", "delete", "small/set", "--episodes", "1", where]
    result = subprocess.run(
        [*own, sys.executable, "-c", program, *words], capture_output=True, text=True
    )
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    assert "disk full while writing" in line or os.strerror(errno.ENOSPC) in line
