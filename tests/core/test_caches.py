"""Where caches go when there is no home folder, or none that can be written."""

from __future__ import annotations

import os
import pwd
import tempfile
import warnings
from pathlib import Path

import pytest

from manyparts.core.errors import SurroundingsWarning, UserError
from manyparts.core.storage import atomic as staging
from manyparts.core.storage import caches
from manyparts.core.storage.caches import cache_root


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No variable, no HOME, no entry in the list of users; a folder for temporary files."""
    for name in (*caches.CACHE_VARIABLES, "HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(number: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_without_a_home_caches_are_temporary(bare: Path) -> None:
    with pytest.warns(
        SurroundingsWarning, match=r"there is no home folder; .*export MANYPARTS_CACHE=FOLDER"
    ):
        root = cache_root()
    assert root == bare / f"manyparts-cache-{os.getuid()}" and root.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("home", ["/dev/null", "/proc/nobody"])
def test_read_only_home_is_left(bare: Path, monkeypatch, home: str) -> None:
    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(
        os, "access", lambda path, mode: str(path).startswith(str(bare))
    )  # root may write anywhere
    with pytest.warns(SurroundingsWarning, match="cannot be written"):
        assert cache_root().parent == bare


def test_chosen_folder_gives_no_warning(bare: Path, monkeypatch) -> None:
    monkeypatch.setenv("MANYPARTS_CACHE", "/proc/mine")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache_root() == Path("/proc/mine") and cache_root(bare) == bare


def test_another_users_temporary_folder_is_refused(bare: Path, monkeypatch) -> None:
    (bare / f"manyparts-cache-{os.getuid()}").symlink_to(bare)
    with pytest.raises(UserError, match=r"another user's; name a folder .*MANYPARTS_CACHE"):
        cache_root()


def test_tilde_without_home_is_refused(bare: Path, monkeypatch) -> None:
    monkeypatch.setenv("MANYPARTS_CACHE", "~/caches")
    with pytest.raises(UserError, match=r"~/caches cannot be found: there is no home folder"):
        cache_root()


def test_an_unwritable_cache_names_its_variable(monkeypatch) -> None:
    monkeypatch.setenv("MANYPARTS_CACHE", "/proc/mine")
    with pytest.raises(
        UserError, match=r"cannot write /proc/mine/frames: .*export MANYPARTS_CACHE=FOLDER"
    ):
        staging.make_folder(cache_root() / "frames")
    with pytest.raises(UserError, match=r"cannot write /proc/other: [^;]*$"):
        staging.make_folder(Path("/proc/other"))
