"""Recordings for the Rerun viewer, read back by Rerun's own tool where it is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from data.synthetic import make_episode, write

from manyparts.cli import main
from manyparts.core.errors import UserError
from manyparts.data.tools.rerun_export import export_rerun

EPISODES = [make_episode(seed, 5 + seed) for seed in range(4)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("source") / "set", EPISODES).path


def test_every_chosen_episode_is_recorded(source: Path, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("rerun")
    output = tmp_path / "recordings"
    assert main(["data", "view", str(source), "--rerun", str(output), "--only", "3", "1"]) == 0
    assert str(output) in capsys.readouterr().out.replace("\n", "")
    files = sorted(output.iterdir())
    assert [file.name for file in files] == ["episode-000001.rrd", "episode-000003.rrd"]
    rerun = [str(Path(sys.executable).with_name("rerun")), "rrd"]
    subprocess.run([*rerun, "verify", *map(str, files)], check=True)
    printed = subprocess.run(
        [*rerun, "print", str(files[1])], check=True, capture_output=True, text=True
    ).stdout
    rows = {
        name: int(count)
        for count, name in re.findall(r"with (\d+) rows .*? - /(\S+) - data", printed)
    }
    curves = {
        "action/x",
        "action/y",
        "state/hand_x",
        "state/hand_y",
        "state/gripper",
        "reward",
        "success",
    }
    assert {name: rows.get(name) for name in (*curves, "cameras/front")} == dict.fromkeys(
        (*curves, "cameras/front"), len(EPISODES[3])
    )
    assert rows["task"] == 1
    with pytest.raises(UserError, match="exists; choose another output"):
        export_rerun(source, output)


def test_missing_rerun_says_how_to_install(source: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(UserError, match=r"pip install 'rerun-sdk>=0\.26'"):
        export_rerun(source, tmp_path / "recordings")
    assert not (tmp_path / "recordings").exists()
