"""Training on data that is fetched and shuffled a few files at a time, and on datasets weighted by
their size."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest
from data.synthetic import make_episode, write
from training.runs import first, rows, second, weights
from training.test_resume import stop_after

from manyparts.core.errors import UserError
from manyparts.data.formats.lerobot import layout
from manyparts.training.run_folder import read_config
from manyparts.training.train import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One episode per file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "DATA_FILE_MEGABYTES", 0)
        return write(
            tmp_path_factory.mktemp("data") / "set", [make_episode(seed, 20) for seed in range(24)]
        ).path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MANYPARTS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files_left(cache: Path) -> list[Path]:
    return [file for file in cache.rglob("*") if file.is_file()]


def test_streamed_runs_count_epochs_without_cache(data: Path, cache: Path, tmp_path: Path) -> None:
    config = first(buffer_frames=60, steps=60, validate_every_steps=30)
    run = train(config, data=f"file://{data}", output=tmp_path / "run", device="cpu")
    logged = rows(run)
    trained_on = 20 * (24 - 2)  # one episode of each task is held out
    assert (
        logged[-1]["epoch"] == pytest.approx(60 * config.batch_size / trained_on)
        and logged[-1]["epoch"] > 1
    )
    assert {f"validation/{loss}" for loss in config.objectives} <= logged[-1].keys()
    assert read_config(run)[1]["data"] == f"file://{data}"
    assert not [file for file in files_left(cache) if file.suffix in (".u8", ".f32")]


def test_streamed_runs_resume_to_the_sample(data: Path, tmp_path: Path) -> None:
    config = first(buffer_frames=800, steps=12, checkpoint_every_steps=4)
    whole = train(config, data=data, output=tmp_path / "whole", device="cpu")
    stop_after(9, config, data=data, output=tmp_path / "stopped")
    stopped = train(config, data=data, output=tmp_path / "stopped", resume=True, device="cpu")
    assert rows(whole) == rows(stopped) and weights(whole) == weights(stopped)


@pytest.mark.slow
def test_processes_stream_files_of_their_own(data: Path, tmp_path: Path) -> None:
    run = train(
        first(buffer_frames=800, steps=6, processes=2),
        data=data,
        output=tmp_path / "run",
        device="cpu",
    )
    assert len(rows(run)) == 6


def test_a_streamed_mixture_keeps_its_fractions(data: Path, tmp_path: Path) -> None:
    small = write(tmp_path / "small", [make_episode(seed, 10) for seed in range(4)]).path
    run = train(
        first(buffer_frames=800, steps=8),
        data=[data, small],
        temperature=1.0,
        output=tmp_path / "run",
        device="cpu",
    )
    logged = rows(run)
    fractions = [
        sum(row[f"fraction/{name}"] for row in logged) / len(logged) for name in ("toy", "toy-2")
    ]
    assert fractions == pytest.approx([480 / 520, 40 / 520], abs=0.02)
    assert logged[-1]["epoch/toy-2"] == pytest.approx(logged[-1]["epoch/toy"], rel=0.3)


def test_temperature_weighs_datasets_by_their_size(data: Path, tmp_path: Path) -> None:
    small = write(tmp_path / "small", [make_episode(seed, 10) for seed in range(3)]).path
    config = first(steps=1)
    for number, (temperature, ratio) in enumerate(
        ((None, 1.0), (1.0, 16.0), (2.0, 4.0), (1e9, 1.0))
    ):
        run = train(
            config,
            data=[data, small],
            temperature=temperature,
            output=tmp_path / f"run{number}",
            device="cpu",
        )
        large, small_weight = read_config(run)[1]["weights"]
        assert large / small_weight == pytest.approx(ratio)
    with pytest.raises(UserError, match="temperature is 0"):
        train(config, data=data, temperature=0.0, output=tmp_path / "none", device="cpu")
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_streamed_is_refused(data: Path, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.put(str(data), "/streamed/set", recursive=True)
    with pytest.raises(
        UserError, match="memory://streamed/set is remote: stream it with --buffer-frames 20000"
    ):
        train(first(), data="memory://streamed/set", output=tmp_path / "run", device="cpu")
    with pytest.raises(UserError, match="buffer_frames is 2; expected 0 with cache_features"):
        second(buffer_frames=2, cache_features=True)
    assert not (tmp_path / "run").exists() and os.listdir(tmp_path / "cache") in ([], ["remote"])
    train(
        first(buffer_frames=80, steps=2),
        data="memory://streamed/set",
        output=tmp_path / "run",
        device="cpu",
    )
