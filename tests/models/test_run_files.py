"""Which checkpoint a run folder means, however it was copied, and where results are written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from manyparts.core.errors import SurroundingsWarning, UserError
from manyparts.core.storage.links import point_at
from manyparts.models.run_files import (
    CONFIG,
    WEIGHTS,
    is_whole,
    last_checkpoint,
    resolve,
    results_folder,
    run_of,
)


def put_checkpoint(run: Path, step: int) -> Path:
    folder = run / "checkpoints" / f"{step:06d}"
    folder.mkdir(parents=True)
    safetensors.torch.save_file({"weight": torch.full((8,), float(step))}, folder / WEIGHTS)
    (folder / CONFIG).write_text("{}")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two checkpoints; the last step has more digits than the first."""
    for step in (999980, 1000000):
        put_checkpoint(tmp_path / "run", step)
    point_at(tmp_path / "run/checkpoints/last", "1000000")
    return tmp_path / "run"


def missing(last: Path) -> None:
    last.unlink()


def a_text(last: Path) -> None:
    last.unlink()
    last.write_text("999980\n")


def a_copied_folder(last: Path) -> None:
    content = last.resolve()
    last.unlink()
    shutil.copytree(content, last)


def a_copied_file_of_nothing(last: Path) -> None:
    last.unlink()
    last.write_bytes(b"")


def dangling(last: Path) -> None:
    last.unlink()
    last.symlink_to("000400")


def leading_outside(last: Path) -> None:
    last.unlink()
    last.symlink_to(put_checkpoint(last.parents[2] / "other", 5))


@pytest.mark.parametrize(
    ("change", "step"),
    [
        (missing, "1000000"),
        (a_text, "999980"),
        (a_copied_folder, "1000000"),
        (a_copied_file_of_nothing, "1000000"),
        (leading_outside, "1000000"),
    ],
)
def test_copied_run_keeps_last_checkpoint(run: Path, change, step: str) -> None:
    change(run / "checkpoints/last")
    assert resolve(run) == run / "checkpoints" / step


@pytest.mark.parametrize("tear", ["weights", "config", "header"])
def test_truncated_checkpoint_is_skipped(run: Path, tear: str) -> None:
    weights = run / "checkpoints/1000000" / WEIGHTS
    if tear == "config":
        (weights.parent / CONFIG).unlink()
    else:
        weights.write_bytes(weights.read_bytes()[: -1 if tear == "weights" else 4])
    assert not is_whole(weights.parent)
    with pytest.warns(
        SurroundingsWarning, match=r"1000000 is missing or incomplete: .*999980 is used"
    ):
        assert resolve(run).name == "999980"


def test_dangling_last_is_warned_of(run: Path) -> None:
    dangling(run / "checkpoints/last")
    with pytest.warns(SurroundingsWarning, match="000400 is missing"):
        assert resolve(run).name == "1000000"


def test_run_with_only_last_is_resolved(run: Path) -> None:
    a_copied_folder(run / "checkpoints/last")
    for step in ("999980", "1000000"):
        shutil.rmtree(run / "checkpoints" / step)
    assert resolve(run) == run / "checkpoints/last"


def test_run_without_checkpoint_is_refused(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    assert last_checkpoint(run) is None
    with pytest.raises(UserError, match=r"no checkpoint in .*run: neither checkpoints/last"):
        resolve(run)


def test_checkpoint_results_lie_in_run_folder(run: Path, monkeypatch) -> None:
    assert results_folder(run, "evaluation") == run / "evaluation"
    for name in ("999980", "1000000"):
        assert (
            results_folder(run / "checkpoints" / name, "evaluation") == run / f"evaluation-{name}"
        )
        assert run_of(run / "checkpoints" / name) == run
    assert results_folder(run / "checkpoints/last", "prompts") == run / "prompts-1000000"
    monkeypatch.chdir(run / "checkpoints/999980")
    assert results_folder(".", "evaluation").resolve() == run / "evaluation-999980"
    monkeypatch.chdir(run.parent)
    assert results_folder("run/checkpoints/last", "evaluation") == Path("run/evaluation-1000000")


def test_run_may_lie_in_checkpoints_folder(run: Path) -> None:
    moved = run.parent / "checkpoints" / "10"
    os.makedirs(moved.parent)
    run.rename(moved)
    assert results_folder(moved, "evaluation") == moved / "evaluation"
