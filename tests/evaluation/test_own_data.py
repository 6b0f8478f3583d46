"""Agents that were trained on data of one's own, which no suite here has an environment for."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.running import one_line, run
from evaluation.evaluating import make_run


@pytest.mark.parametrize("command", ["evaluate", "prompts"])
def test_unknown_suites_have_two_ways_out(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(tmp_path / "run")
    config = folder / "checkpoints" / "last" / "config.json"
    config.write_text(config.read_text().replace('"pointmass/', '"rail/'))
    assert run(command, folder) == 2
    line = one_line(capsys)
    assert f"{folder} was trained on data of your own: no suite here is called rail" in line
    assert "evaluate(run, env=YOUR_ENVIRONMENT)" in line and "write-a-plugin.md" in line
    assert [path.name for path in folder.iterdir()] == ["checkpoints"]
