"""Folders that are worked in: one process at a time, the same settings throughout."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from manyparts.core.errors import UserError
from manyparts.core.storage.atomic import write_atomically
from manyparts.core.storage.locked_folder import holds, locked_folder
from manyparts.core.storage.locks import LOCK


def test_folders_continue_with_equal_settings(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    with locked_folder(folder, {"seed": 0, "tasks": ("a", "b")}):
        (folder / "result").touch()
    assert holds(folder, {"seed": 0, "tasks": ("a", "b")})
    with locked_folder(folder, {"seed": 0, "tasks": ["a", "b"]}):
        pass
    assert not holds(folder, {"seed": 1, "tasks": ("a", "b")})
    with (
        pytest.raises(UserError, match=r"begun with other settings \(seed was 0, is 1\)"),
        locked_folder(folder, {"seed": 1, "tasks": ("a", "b")}),
    ):
        pass
    assert (folder / "result").exists()


def test_one_process_holds_a_folder(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from manyparts.core.storage.locked_folder import locked_folder\n"
        f"with locked_folder(Path({str(tmp_path / 'work')!r}), {{}}): pass"
    )
    with locked_folder(tmp_path / "work", {}):
        (tmp_path / "work" / "result").touch()
        refused = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        holder = f"process {os.getpid()} of {socket.gethostname()}"
        assert f"{tmp_path / 'work'} is in use by another process ({holder})" in refused.stderr
        assert "wait until that ends" in refused.stderr
    assert (tmp_path / "work" / LOCK).read_text() == ""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_failed_work_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no simulator"), locked_folder(tmp_path / "work", {}):
        raise UserError("no simulator")
    assert list(tmp_path.iterdir()) == []


def test_failed_work_leaves_no_parents(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with (
        pytest.raises(UserError, match="no simulator"),
        locked_folder(tmp_path / "runs" / "today" / "work", {}),
    ):
        raise UserError("no simulator")
    assert list(tmp_path.rglob("*")) == [tmp_path / "runs"]


def test_folders_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "work", Path("/proc/work")):
        with (
            pytest.raises(UserError, match=f"cannot write {folder}"),
            locked_folder(folder, {}),
        ):
            pass


def test_many_other_settings_are_counted(tmp_path: Path) -> None:
    with locked_folder(tmp_path / "work", dict.fromkeys("abcdefgh", 0)):
        (tmp_path / "work" / "result").touch()
    with (
        pytest.raises(UserError, match=r"a was 0, is 1; .* and 3 more\); finish it with those"),
        locked_folder(tmp_path / "work", dict.fromkeys("abcdefgh", 1)),
    ):
        pass


def test_unwritable_file_is_named() -> None:
    with pytest.raises(UserError, match="cannot write /proc/manifest"):
        write_atomically(Path("/proc/manifest"), b"")


def test_a_setting_of_today_has_its_former_value(tmp_path: Path) -> None:
    with locked_folder(tmp_path / "begun", {"environment": {"max_steps": 5}}):
        (tmp_path / "begun" / "result").touch()
    assert holds(tmp_path / "begun", {"environment": {"max_steps": 5, "action_repeat": 1}})
    assert not holds(tmp_path / "begun", {"environment": {"max_steps": 5, "action_repeat": 2}})
