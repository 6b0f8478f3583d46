"""Predictions of latent worlds: of states they are scored, of images and of teachers refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cli.running import one_line, run
from training.online.tiny import record, small

from manyparts.core.errors import UserError
from manyparts.evaluation.prediction.open_loop import imagine, open_loop
from manyparts.training.train import train

SEEN = {"cameras": ["none"], "max_steps": 40, "state": "full"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record("pointmass/reach", tmp_path_factory.mktemp("data") / "reach", episodes=12, **SEEN)


@pytest.fixture(scope="module")
def world(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(data, tmp_path_factory.mktemp("runs") / "world", steps=100)


def trained(data: Path, output: Path, *, steps: int) -> Path:
    config = small("vid2act/world-debug", steps=steps)
    model = replace(config.model, width=32, latent=replace(config.model.latent, variables=8))
    rate = replace(config.optimizer, learning_rate=1e-2, warmup_steps=10)
    config = replace(config, model=model, optimizer=rate, batch_size=16)
    return train(config, data=data, output=output, device="cpu")


def test_states_of_a_latent_world_are_scored(data: Path, world: Path, tmp_path: Path) -> None:
    untrained = trained(data, tmp_path / "untrained", steps=1)
    after, before = open_loop([world, untrained], data, horizons=(1, 10), windows=16)
    assert [row.steps for row in after.horizons] == [1, 10]
    assert after.horizons[0].error < 0.7 * before.horizons[0].error
    assert all(row.reward is not None for row in after.horizons)
    (window, *_) = imagine(world, data, horizon=10, windows=2)
    (states, rewards) = next(iter(window.imagined.values()))
    assert states.shape == (10, 6) and rewards.shape == (10,)


def test_what_cannot_be_scored_is_refused(
    data: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teachers = train(
        small("vid2act/teachers-debug", steps=1),
        data=[data, data],
        output=tmp_path / "teachers",
        device="cpu",
    )
    with pytest.raises(UserError, match="is a teacher that tells 2 sources apart; predictions are"):
        open_loop(teachers, data)
    seen = record("pointmass/reach", tmp_path / "seen", episodes=2, image_size=16, max_steps=20)
    images = small("vid2act/world-debug", sees="images", steps=1)
    blind = train(images, data=seen, output=tmp_path / "images", device="cpu")
    with pytest.raises(UserError, match="is a world model that sees images; predictions are"):
        open_loop(blind, seen)
    capsys.readouterr()
    replay = data.with_name("reach-replay")
    assert run("predict", world, "--data", replay) == 2
    assert f"{replay} is a run's replay, not a dataset" in one_line(capsys)
    assert run("evaluate", teachers, "--planner", "cem", "--tasks", "pointmass/reach") == 2
    assert "a teacher that tells 2 sources apart, and acts in none" in one_line(capsys)
