"""Where a result comes from: code that may change without a new version is named by its source."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from manyparts.core.provenance import version_of


def test_an_installed_package_has_its_version() -> None:
    assert version_of("numpy") == metadata.version("numpy")
    assert version_of("no_such_module") == "unknown"


@pytest.mark.parametrize("file", ["my_world.py", "my_world/__init__.py"])
def test_a_module_of_ones_own_changes_when_it_is_edited(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / file
    source.parent.mkdir(exist_ok=True)
    source.write_text("REWARD = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = version_of("my_world")
    assert before.startswith("source ") and version_of("my_world") == before
    source.write_text("REWARD = 100")
    assert version_of("my_world") not in (before, "unknown")
