"""Runs that were copied with links followed or lost, or lie where there are no links, go on as if
nothing were."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from training.runs import first, rows, weights
from training.test_resume import stop_after

from manyparts.agents.loading import load_system
from manyparts.core.storage.links import pointed_at
from manyparts.training.train import train

CONFIG = first(steps=8, checkpoint_every_steps=3)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(
        CONFIG, data=data, output=tmp_path_factory.mktemp("copied") / "whole", device="cpu"
    )


@pytest.fixture(scope="module")
def stopped(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after its step 7, with checkpoints of steps 3 and 6."""
    run = tmp_path_factory.mktemp("copied") / "stopped"
    stop_after(7, CONFIG, data=data, output=run)
    return run


def links_followed(run: Path, copy: Path) -> None:
    shutil.copytree(run, copy)


def links_lost(run: Path, copy: Path) -> None:
    shutil.copytree(run, copy, symlinks=True)
    (copy / "checkpoints/last").unlink()


def links_as_texts(run: Path, copy: Path) -> None:
    links_lost(run, copy)
    (copy / "checkpoints/last").write_text("000006")


def last_alone(run: Path, copy: Path) -> None:
    links_followed(run, copy)
    for step in ("000003", "000006"):
        shutil.rmtree(copy / "checkpoints" / step)


@pytest.mark.parametrize(
    "how",
    [pytest.param(links_followed, marks=pytest.mark.slow), links_lost, links_as_texts, last_alone],
)
def test_copied_runs_resume_to_the_bit(
    whole: Path, stopped: Path, data: Path, tmp_path: Path, how
) -> None:
    how(stopped, tmp_path / "run")
    load_system(tmp_path / "run")
    train(CONFIG, data=data, output=tmp_path / "run", resume=True, device="cpu")
    assert rows(tmp_path / "run") == rows(whole) and weights(tmp_path / "run") == weights(whole)
    checkpoints = tmp_path / "run/checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["000006", "000008", "last"]
    assert pointed_at(checkpoints / "last") == "000008"


@pytest.mark.parametrize(
    "number", [errno.EPERM, pytest.param(errno.EOPNOTSUPP, marks=pytest.mark.slow)]
)
def test_disks_without_links_hold_runs(
    whole: Path, data: Path, tmp_path: Path, monkeypatch, number: int
) -> None:
    def refuse(*names: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "symlink", refuse)
    stop_after(7, CONFIG, data=data, output=tmp_path / "run")
    assert (tmp_path / "run/checkpoints/last").read_text() == "000006\n"
    train(CONFIG, data=data, output=tmp_path / "run", resume=True, device="cpu")
    assert weights(tmp_path / "run") == weights(whole)


def test_users_files_in_checkpoints_stay(stopped: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped, tmp_path / "run", symlinks=True)
    results = tmp_path / "run/checkpoints/000003/evaluation/results.json"
    results.parent.mkdir()
    results.write_text("{}")
    train(CONFIG, data=data, output=tmp_path / "run", resume=True, device="cpu")
    assert [path.name for path in results.parents[1].iterdir()] == [
        "evaluation"
    ] and results.exists()


def test_copied_last_without_step_is_kept(stopped: Path, data: Path, tmp_path: Path) -> None:
    links_followed(stopped, tmp_path / "run")
    (tmp_path / "run/checkpoints/last/training_state.pt").write_bytes(b"torn")
    train(CONFIG, data=data, output=tmp_path / "run", resume=True, device="cpu")
    assert (tmp_path / "run/checkpoints/last-copied/model.safetensors").exists()
