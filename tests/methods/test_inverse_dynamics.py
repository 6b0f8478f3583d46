"""From trajectories of many contexts to a policy of one: pretrain, freeze, tune, act."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data.synthetic import make_episode, write

from manyparts import methods
from manyparts.agents.loading import load
from manyparts.agents.reactive import ReactiveAgent
from manyparts.core.errors import UserError
from manyparts.core.records import Prompt
from manyparts.data.dataset import EpisodeDataset
from manyparts.envs.base import EnvConfig
from manyparts.evaluation.protocol import evaluate
from manyparts.methods.inverse_dynamics import OBJECTIVES, Size, pretrain
from manyparts.models.checkpoint import WEIGHTS, read_weights, resolve
from manyparts.rollout.collect import collect
from manyparts.training.train import train

MANY = EnvConfig(image_size=16, goal="hidden", state="full")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "data"
    return collect(["pointmass/reach"], episodes=4, output=path, config=MANY, workers=1).path


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, one = (
        tmp_path_factory.mktemp("few") / "data",
        EnvConfig(image_size=16, goal="hidden", state="full", context=0),
    )
    return collect(["pointmass/reach"], episodes=2, output=path, config=one, seed=1, workers=1).path


@pytest.fixture(scope="module")
def pretrained(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(
        pretrain("inverse-dynamics", "debug"),
        data=many,
        output=tmp_path_factory.mktemp("run") / "pretrained",
    )


@pytest.fixture(scope="module")
def tuned(pretrained: Path, few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = methods.preset("inverse_dynamics/finetune-debug")
    return train(
        config, data=few, output=tmp_path_factory.mktemp("run") / "tuned", start_from=pretrained
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_can_train(objective: str, many: Path, tmp_path: Path) -> None:
    run = train(
        methods.preset(f"inverse_dynamics/{objective}-debug"), data=many, output=tmp_path / "run"
    )
    assert resolve(run).name == "000012"


def test_tuning_keeps_the_pretrained_encoder(pretrained: Path, tuned: Path) -> None:
    before, after = (read_weights(resolve(run) / WEIGHTS) for run in (pretrained, tuned))
    shared = [name for name in before if name.startswith("model.")]
    assert shared and all(before[name].equal(after[name]) for name in shared)
    assert not [name for name in after if "inverse_dynamics" in name]


def test_a_tuned_policy_acts(tuned: Path, few: Path) -> None:
    agent = load(tuned)
    assert isinstance(agent, ReactiveAgent) and agent.environment["context"] == 0
    episode = EpisodeDataset.open(few).episode(0)
    observation = {"images": {"top": episode.images["top"][3]}, "state": episode.state[3]}
    action, carry = agent.act(None, observation, explore=False)
    again, _ = agent.act(carry, observation, explore=False)
    assert np.array_equal(action, again) and action.shape == (2,) and not carry
    with pytest.raises(UserError, match="unprompted agent"):
        agent.act(None, observation, Prompt("go"), explore=False)
    with pytest.raises(UserError, match="trained on"):
        agent.act(
            None,
            {"images": {"top": episode.images["top"][3, :8]}, "state": episode.state[3]},
            explore=False,
        )
    result = evaluate(tuned, episodes=2, workers=1, videos=1, max_steps=6, output=tuned / "result")
    assert len(result.episodes) == 2 and list((tuned / "result" / "videos").rglob("*.mp4"))


def test_a_representation_alone_does_not_act(pretrained: Path) -> None:
    with pytest.raises(UserError, match="learned no policy"):
        load(pretrained)


@pytest.mark.parametrize("name", ["finetune-states", "scratch"])
def test_baselines_train_on_demonstrations_alone(name: str, few: Path, tmp_path: Path) -> None:
    agent = load(
        train(methods.preset(f"inverse_dynamics/{name}-debug"), data=few, output=tmp_path / "run")
    )
    episode = EpisodeDataset.open(few).episode(0)
    state, other = episode.state[0], episode.state[0] + np.asarray([9, 9, 0, 0, 0, 0], np.float32)
    actions = [
        agent.act(
            None, {"images": {"top": episode.images["top"][3]}, "state": each}, explore=False
        )[0]
        for each in (state, other)
    ]
    assert np.array_equal(*actions) == (name == "scratch")  # it sees images, the other one states


@pytest.mark.parametrize("size", ["debug", "laptop", "paper"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_pretraining_holds_out_no_trajectory(objective: str, size: Size) -> None:
    config = pretrain(objective, size)
    assert config.validation_fraction == 0 and config.precision == (
        "bf16" if size == "paper" else "fp32"
    )


def test_paper_encoder_has_papers_sizes() -> None:
    config = pretrain("inverse-dynamics", "paper")
    assert (config.batch_size, config.steps, config.optimizer.learning_rate) == (256, 100_000, 1e-3)
    assert config.model.encoder.maps == 256 and config.model.width == 64
    assert pretrain("forward-pixels", "paper").augmentation.shift_pixels == 0
    assert pretrain("inverse-dynamics-far", "paper").window.chunk == 5


def test_pretraining_takes_two_cameras(tmp_path: Path) -> None:
    from data.synthetic import make_spec

    spec = make_spec(cameras=("front", "side"))
    path = write(tmp_path / "set", [make_episode(seed, 8, spec) for seed in range(3)], spec).path
    run = train(pretrain("inverse-dynamics", "debug"), data=path, output=tmp_path / "run")
    assert {
        name.split(".")[2] for name in read_weights(resolve(run) / WEIGHTS) if ".encoders." in name
    } == {
        "front",
        "side",
    }
