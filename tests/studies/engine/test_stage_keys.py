"""Every stage of every archive is read as the stage that it was, under the key that it had."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from manyparts.studies.engine.stages import DESCRIPTION, read_description

ARCHIVES = sorted((Path(__file__).parents[3] / "docs" / "evidence").glob("*.tar.xz"))
STAGES = {
    "dualmind-laptop": 493,
    "dynamics-generalist-laptop": 293,
    "dynamics-specialist-laptop": 63,
    "embodiments-laptop": 44,
    "new-embodiment-laptop": 60,
    "representations-laptop": 795,
    "representations-paper": 29,
}


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_archived_stages_keep_their_keys(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as content:
        described = [member for member in content if member.name.endswith(f"/{DESCRIPTION}")]
        content.extractall(tmp_path, described, filter="data")
    folders = [path.parent for path in sorted(tmp_path.glob(f"stages/*/{DESCRIPTION}"))]
    assert len(folders) == STAGES[archive.name.removesuffix(".tar.xz")]
    for folder in folders:
        assert folder.name.endswith(f"-{read_description(folder).key}"), folder.name
