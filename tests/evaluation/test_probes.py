"""Probes tell a representation that knows the state from one that does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training.runs import first, write_dataset

from manyparts.core.errors import UserError
from manyparts.envs.base import EnvConfig
from manyparts.evaluation.probes import _perceptron, _ridge, _scores, probe
from manyparts.methods.inverse_dynamics import finetune_states, from_scratch, pretrain
from manyparts.rollout.collect import collect
from manyparts.training.train import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = EnvConfig(image_size=16, goal="hidden", state="full")
    path = tmp_path_factory.mktemp("data") / "set"
    return collect(["pointmass/reach"], episodes=20, output=path, config=config, workers=1).path


def test_state_predicts_itself_not_hidden_goals(data: Path, tmp_path: Path) -> None:
    scores = probe(train(finetune_states("debug"), data=data, output=tmp_path / "run"), data)
    names = {
        "x",
        "y",
        "velocity_x",
        "velocity_y",
        "goal 0",
        "goal 1",
    }  # a hidden goal is no part of the state
    assert scores["linear"].keys() == scores["mlp"].keys() == names
    assert all(
        scores["linear"][name] > 0.99 and scores["mlp"][name] > 0.8
        for name in ("x", "y", "velocity_x")
    )
    assert scores["linear"]["goal 0"] < 0.9


@pytest.mark.parametrize("fit", [_ridge, _perceptron])
@pytest.mark.slow
def test_probe_of_many_random_features(fit) -> None:
    random = np.random.default_rng(0)
    fold = np.repeat(np.arange(20) % 5, 20)
    embedded = random.normal(size=(400, 400)).astype(np.float32)
    embedded[:, 30:] *= fold[:, None] == 3  # dead but in one part
    values = np.stack([embedded[:, :5].sum(axis=1), np.repeat(random.normal(size=20), 20)], axis=1)
    readable, random = _scores(fit, embedded, values, fold, seed=0)
    assert readable > 0.3 and -0.2 < random < 0.2


@pytest.mark.slow
def test_keypoints_predict_the_position(data: Path, tmp_path: Path) -> None:
    config = replace(pretrain("inverse-dynamics", "debug"), steps=100)
    scores = probe(train(config, data=data, output=tmp_path / "run"), data)
    assert scores["linear"]["x"] > 0.2 and scores["linear"]["velocity_x"] < scores["linear"]["x"]
    assert scores == probe(tmp_path / "run", data)


def test_probe_refuses_unfit_runs_and_data(data: Path, tmp_path: Path) -> None:
    other = write_dataset(tmp_path / "other", episodes=6, length=8).path
    run = train(first(steps=1), data=other, output=tmp_path / "transformer")
    with pytest.raises(UserError, match="is of a ControlTransformer"):
        probe(run, other)
    scratch = train(from_scratch("debug"), data=data, output=tmp_path / "scratch")
    with pytest.raises(UserError, match="another embodiment"):
        probe(scratch, other)
    config = EnvConfig(image_size=16, goal="hidden", state="full")
    small = collect(
        ["pointmass/reach"], episodes=2, output=tmp_path / "small", config=config, workers=1
    )
    with pytest.raises(UserError, match="2 episodes; probes need at least 5"):
        probe(scratch, small.path)
