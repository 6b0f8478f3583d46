"""Latent worlds predict states and images, open loop, of datasets and of their agent's episodes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from cli.running import one_line
from cli.running import run as command
from einops import rearrange
from training.online.tiny import small, tiny

from manyparts import cli
from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.evaluation.prediction.forecasters import Forecaster
from manyparts.evaluation.prediction.open_loop import imagine, open_loop
from manyparts.evaluation.prediction.own_episodes import TeacherWeights, record
from manyparts.evaluation.prediction.windows import draw_windows
from manyparts.methods import preset
from manyparts.models.dynamics.latent_context import LatentContext
from manyparts.models.dynamics.state_space import WorldState
from manyparts.models.dynamics.world_model import step_by_step
from manyparts.rollout.collect import collect
from manyparts.training.online.train import train_online
from manyparts.training.train import train

pytestmark = pytest.mark.slow

SEEN = {"max_steps": 20, "state": "full", "image_size": 16}


def acted(output: Path, sees: str, **online: Any) -> Path:
    """A tiny run that learned from states, images or both."""
    config = tiny(environment_steps=80, **online)
    model = replace(config.model, sees=sees, depth=2)
    seen = SEEN if sees != "state" else {**SEEN, "cameras": ["none"]}
    return train_online(
        replace(config, model=model),
        environment="pointmass/reach",
        environment_config=seen,
        output=output,
        device="cpu",
    )


@pytest.fixture(scope="module")
def of_states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return acted(tmp_path_factory.mktemp("runs") / "states", "state", action_repeat=2)


@pytest.fixture(scope="module")
def of_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return acted(tmp_path_factory.mktemp("runs") / "images", "images")


def frames_of(film: Path) -> np.ndarray:
    with av.open(str(film)) as opened:
        return np.stack([each.to_ndarray(format="rgb24") for each in opened.decode(video=0)])


def test_own_episodes_are_its_actions(of_states: Path, tmp_path: Path) -> None:
    dataset, weights = record(of_states, tmp_path / "own", episodes=2, seed=3)
    assert weights is None and dataset.num_episodes == 2
    # An action is held for two of the 20 steps, each a twentieth of a second.
    assert [dataset.length(number) for number in range(2)] == [10, 10] and dataset.fps == 10
    again, _ = record(of_states, tmp_path / "again", episodes=2, seed=3)
    assert np.array_equal(dataset[1].action, again[1].action)
    other, _ = record(of_states, tmp_path / "other", episodes=2, seed=4)
    assert not np.array_equal(dataset[1].state, other[1].state)


def test_states_are_predicted_as_planners_do(of_states: Path, tmp_path: Path) -> None:
    dataset, _ = record(of_states, tmp_path / "own", episodes=2)
    forecaster = Forecaster.load(of_states, dataset, {})
    (window,) = draw_windows(dataset, np.zeros(0), context=3, horizon=5, count=1, seed=0)
    foreseen = forecaster.foresee(window, context=3)
    codec, model = forecaster.codec, forecaster.model
    state = torch.from_numpy(codec.encode_state(window.state[:4]))
    action = torch.from_numpy(codec.encode_action(window.action))
    filtered = model.filter(model.embed({}, state)[None], action[None, :3])
    seen = WorldState(filtered.recurrent[:, -1], filtered.drawn[:, -1])
    context = LatentContext(model, seen)
    observation, _ = step_by_step(context.imagine(1), action[None, 3:])
    assert np.allclose(foreseen.state, observation[0].numpy(), atol=1e-5)
    assert foreseen.reward.shape == (5,) and not foreseen.images


def test_images_are_predicted_and_scored(of_images: Path, tmp_path: Path) -> None:
    dataset, _ = record(of_images, tmp_path / "own", episodes=2)
    (forecast,) = open_loop(of_images, dataset, horizons=(1, 6), windows=3, seen=4)
    (window, *_) = imagine(of_images, dataset, horizon=6, windows=3, seen=4)
    assert window.context == 3 and window.images["top"].shape == (10, 16, 16, 3)
    drawn = window.drawn["images"]["top"]
    assert drawn.shape == (10, 16, 16, 3) and drawn.dtype == np.uint8
    assert window.imagined["images"][0].shape == (6, 0)
    last = forecast.horizons[-1]
    assert last.error is None and last.still is None and last.image is not None
    errors, still = [], []
    for each in imagine(of_images, dataset, horizon=6, windows=3, seen=4):
        real = each.images["top"] / 255
        errors.append(np.square(each.drawn["images"]["top"][-1] / 255 - real[-1]).mean())
        still.append(np.square(real[3] - real[-1]).mean())
    assert last.image.error == pytest.approx(np.mean(errors), rel=1e-4)
    assert last.image.still == pytest.approx(np.mean(still), rel=1e-4)


def test_seen_images_are_drawn_from_filtered_states(of_images: Path, tmp_path: Path) -> None:
    dataset, _ = record(of_images, tmp_path / "own", episodes=1)
    forecaster = Forecaster.load(of_images, dataset, {})
    (window,) = draw_windows(
        dataset, np.zeros(0), context=3, horizon=2, count=1, seed=0, cameras=["top"]
    )
    drawn, model = forecaster.foresee(window, context=3).images["top"], forecaster.model
    (slot,) = model.cameras
    images = rearrange(torch.from_numpy(window.images["top"][:4]), "t h w c -> t c h w")
    embedding = model.embed({slot: images}, torch.zeros(4, 0))
    action = torch.from_numpy(forecaster.codec.encode_action(window.action[:3]))
    with torch.no_grad():
        features = model.filter(embedding[None], action[None]).features[0]
        decoded = rearrange(model.image_heads[slot](features), "t c h w -> t h w c")
    expected = ((decoded + 0.5) * 255).clamp(0, 255).numpy()
    assert np.abs(drawn[:4] - expected).max() <= 0.51 and drawn[4:].std() > 0


def test_command_films_what_it_draws(
    of_images: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ["predict", str(of_images), "--episodes", "2", "--windows", "3", "--shown", "1"]
    assert cli.main([*command, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "images, pixels from 0 to 1" in printed and "2 episodes that" in printed
    written = json.loads((tmp_path / "prediction.json").read_text())
    # Of 20 steps, 5 are seen.
    assert [row["steps"] for row in written["horizons"]] == [1, 5, 10, 15]
    frames = frames_of(tmp_path / "imagined-0.mp4").astype(int)
    assert len(frames) == 20
    real, own = np.split(frames, 2, axis=2)
    apart = np.abs(real - own)[:, :, :4].mean(axis=(1, 2, 3))  # the frames around the images
    assert apart[:5].max() < 8 and apart[5:].min() > 20


def test_worlds_of_both_have_both_errors(tmp_path: Path) -> None:
    run = acted(tmp_path / "run", "both")
    dataset, _ = record(run, tmp_path / "own", episodes=1)
    (forecast,) = open_loop(run, dataset, horizons=(2,), windows=1)
    (row,) = forecast.horizons
    assert row.error is not None and row.image is not None and row.low is row.image.low is None
    assert forecast.trained_on == "its own episodes"


def test_teachers_predict_their_own_sources(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {**SEEN, "cameras": ["none"]}
    for name in ("left", "right"):
        collect(
            f"pointmass/reach-{name}",
            episodes=2,
            output=tmp_path / name,
            config=config,
            keep_failures=True,
        )
    world = preset("vid2act/teachers-debug")
    model = replace(world.model, width=8, latent=replace(world.model.latent, variables=3))
    world = replace(world, model=model, steps=1, batch_size=2)
    run = train(
        world,
        data=[tmp_path / "left", tmp_path / "right"],
        output=tmp_path / "run",
        device="cpu",
    )
    right = EpisodeDataset.open(tmp_path / "right")
    assert Forecaster.load(run, right, {}).source == 1
    (forecast,) = open_loop(run, right, horizons=(3,), windows=2)
    assert forecast.trained_on == "these episodes" and forecast.horizons[0].error is not None
    collect("pointmass/reach", episodes=1, output=tmp_path / "none", config=config)
    with pytest.raises(UserError, match="tells its sources apart"):
        open_loop(run, tmp_path / "none", horizons=(3,), windows=2)
    assert cli.main(["predict", str(run)]) == 2
    assert "missing --data, the dataset to predict" in capsys.readouterr().err


def test_weights_of_teachers_are_read_again(tmp_path: Path) -> None:
    assert TeacherWeights.read(tmp_path) is None
    weights = TeacherWeights(("a", "b"), (np.array([[0.25, 0.75]]), np.array([[1.0, 0.0]] * 3)))
    weights.write(tmp_path / "new")
    read = TeacherWeights.read(tmp_path / "new")
    assert read is not None and read.names == weights.names
    assert all(map(np.array_equal, read.episodes, weights.episodes))
    (tmp_path / "new" / "weights.json").write_text("{")
    with pytest.raises(UserError, match="cannot read"):
        TeacherWeights.read(tmp_path / "new")


@pytest.mark.slow
def test_training_makes_predictions_better(tmp_path: Path) -> None:
    data = tmp_path / "reach"
    collect("pointmass/reach", episodes=12, output=data, config={**SEEN, "cameras": ["none"]})

    def trained(steps: int) -> Path:
        config = small("vid2act/world-debug", steps=steps)
        model = replace(config.model, width=32, latent=replace(config.model.latent, variables=8))
        rate = replace(config.optimizer, learning_rate=1e-2, warmup_steps=10)
        config = replace(config, model=model, optimizer=rate, batch_size=16)
        return train(config, data=data, output=tmp_path / str(steps), device="cpu")

    after, before = open_loop([trained(100), trained(1)], data, horizons=(1, 5), windows=16)
    assert after.horizons[0].error < 0.7 * before.horizons[0].error
    assert all(row.reward is not None for row in after.horizons)


def test_what_cannot_be_predicted_is_named(
    of_states: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replay = of_states / "replay"
    assert command("predict", of_states, "--data", replay) == 2
    assert f"{replay} is a run's replay, not a dataset" in one_line(capsys)
