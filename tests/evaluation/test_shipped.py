"""The agents that come with the package are small, and do what their page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyparts.evaluation.protocol import evaluate
from manyparts.models.checkpoint import SHIPPED, load_info

NAMES = sorted(folder.name for folder in SHIPPED.iterdir() if folder.is_dir())


@pytest.mark.parametrize("name", NAMES)
def test_shipped_agent_is_small_and_described(name: str) -> None:
    assert sum(file.stat().st_size for file in (SHIPPED / name).iterdir()) < 20e6
    page = (SHIPPED / name / "README.md").read_text()
    assert f"manyparts/{name}" in page and all(
        task.name in page for task in load_info(SHIPPED / name).tasks
    )


@pytest.mark.slow
def test_shipped_metaworld45_small_acts(tmp_path: Path) -> None:
    tasks = ["metaworld/button-press", "metaworld/drawer-close", "metaworld/faucet-open"]
    result = evaluate(
        "manyparts/metaworld45-small",
        tasks=tasks,
        episodes=2,
        until_success=True,
        output=tmp_path / "evaluation",
    )
    assert len(result.episodes) == 6 and all(record.success_any for record in result.episodes)
