"""Training through a view: as on converted data, resumed, mixed, acted with and tuned."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.synthetic import make_episode, make_spec, write
from training.runs import first, rows, second, weights

from manyparts.agents.loading import load
from manyparts.agents.random import RandomAgent
from manyparts.agents.viewed import ViewedAgent
from manyparts.core.errors import UserError
from manyparts.core.records import Observation
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.convert import convert
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.statistics import Statistics
from manyparts.embodiment.views.source import Source
from manyparts.embodiment.views.view import View
from manyparts.models.checkpoint import load_info, resolve
from manyparts.training.config import TrainConfig
from manyparts.training.train import train

WIDE = make_spec(48)
VIEW = {"size": [16, 16], "every": 2}


def policy(**changes: Any) -> TrainConfig:
    """Phase II from nothing, in one or two seconds."""
    return second(**{"train_only": (), "cache_features": False} | changes)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> EpisodeDataset:
    episodes = [make_episode(seed, 20, WIDE) for seed in range(24)]
    return write(tmp_path_factory.mktemp("wide") / "wide", episodes, WIDE)


@pytest.fixture(scope="module")
def run(wide: EpisodeDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("wide") / "run"
    return train(policy(), data=wide.location, view=VIEW, output=output, device="cpu")


def observed(size: int, seed: int = 0) -> Observation:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (size, size, 3), np.uint8)
    return {"images": {"front": image}, "state": rng.normal(size=3).astype(np.float32)}


def test_training_equals_that_on_converted_data(
    wide: EpisodeDataset, run: Path, tmp_path: Path
) -> None:
    convert(wide.through(VIEW), tmp_path / "written")
    other = train(policy(), data=tmp_path / "written", output=tmp_path / "run", device="cpu")
    assert rows(run) == rows(other)
    assert weights(run) == weights(other)


def test_cameras_named_crosswise_are_not_mixed_up() -> None:
    """The robot's wrist has the size that the model sees of its top."""
    spec = make_spec(16, ("top", "wrist"))
    robot = replace(spec, cameras={"top": (64, 64), "wrist": (16, 16)})
    view = View(cameras={"wrist": "top", "top": "wrist"}, size=(16, 16))
    embodiment = Embodiment(spec, {}, Statistics({}), (), (Source(robot, view),))
    agent = ViewedAgent(RandomAgent(spec, seed=0), embodiment)
    images = {
        "top": np.full((64, 64, 3), 200, np.uint8),
        "wrist": np.full((16, 16, 3), 10, np.uint8),
    }
    state = np.zeros(spec.state_dimension, np.float32)
    seen = agent.seen({"images": images, "state": state})["images"]
    assert (seen["wrist"] == 200).all() and (seen["top"] == 10).all()
    models = {name: np.full((16, 16, 3), 7 + len(name), np.uint8) for name in images}
    as_given = agent.seen({"images": models, "state": state})["images"]
    assert all((as_given[name] == models[name]).all() for name in models)


def test_a_run_resumes_with_its_view_and_no_other(wide: EpisodeDataset, run: Path) -> None:
    before = weights(run)
    assert train(policy(), data=wide.location, output=run, resume=True, device="cpu") == run
    assert weights(run) == before
    with pytest.raises(UserError, match=r"views was .*'every': 2.*, is .*'every': 3"):
        train(
            policy(),
            data=wide.location,
            view={**VIEW, "every": 3},
            output=run,
            resume=True,
            device="cpu",
        )


def test_an_agent_sees_its_robot_through_the_view(run: Path) -> None:
    agent = load(run)
    assert isinstance(agent, ViewedAgent)
    assert agent.spec.cameras == {"front": (48, 48)}
    assert agent.agent.spec.cameras == {"front": (16, 16)}
    observation = observed(48)
    first_action, carry = agent.act(None, observation, "push the block", explore=False)
    assert not agent.needs_observation(carry)
    held, carry = agent.act(carry, None, "push the block", explore=False)
    assert np.array_equal(first_action, held)
    # The same by hand: what the model decides is a sum over two steps.
    small: Observation = agent.seen(observation)
    decided, _ = agent.agent.act(None, small, "push the block", explore=False)
    assert np.allclose(first_action, decided / 2, atol=1e-6)


@pytest.mark.slow
def test_an_exported_agent_sees_its_robot_through_the_view(run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "manyparts", "export", str(run)]
    subprocess.run([*command, "--output", str(tmp_path / "exported")], check=True)
    agent, exported = load(run), load(tmp_path / "exported")
    assert isinstance(exported, ViewedAgent) and exported.spec == agent.spec
    carry = other = None
    for step in range(6):
        seen = observed(48, step)
        action, carry = agent.act(carry, seen, "push the block", explore=False)
        same, other = exported.act(other, seen, "push the block", explore=False)
        np.testing.assert_allclose(same, action, atol=1e-5)


def test_images_may_have_the_size_that_the_model_sees(run: Path) -> None:
    agent = load(run)
    assert isinstance(agent, ViewedAgent)
    observation = observed(48)
    small: Observation = {
        "images": agent.seen(observation)["images"],
        "state": observation["state"],
    }
    one, _ = agent.act(None, observation, "push the block", explore=False)
    other, _ = agent.act(None, small, "push the block", explore=False)
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"images": {"front": np.zeros((40, 48, 3), np.uint8)}}, "trained on \\(48, 48, 3\\)"),
        ({"images": {"side": np.zeros((48, 48, 3), np.uint8)}}, "no images\\['front'\\]"),
        ({"state": np.zeros(2, np.float32)}, "numbers \\(3,\\)"),
        ({"state": np.array([0, np.nan, 0], np.float32)}, "number 1 of the state is nan"),
    ],
)
def test_an_observation_that_does_not_fit_is_refused(
    run: Path, change: dict[str, object], complaint: str
) -> None:
    agent = load(run)
    with pytest.raises(UserError, match=complaint):
        agent.act(None, {**observed(48), **change}, "push the block", explore=False)  # type: ignore[arg-type]


def test_tuning_takes_the_view_of_the_run(
    wide: EpisodeDataset, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = train(
        policy(steps=2), data=wide.location, start_from=run, output=tmp_path / "run", device="cpu"
    )
    assert "seen through the view that the run was trained with" in capsys.readouterr().err
    (embodiment,) = load_info(resolve(tuned)).embodiments
    assert [source.view.every for source in embodiment.sources] == [2]


def test_cameras_of_two_sizes_train_together(wide: EpisodeDataset, tmp_path: Path) -> None:
    spec = replace(make_spec(32), embodiment="other")
    other = write(tmp_path / "other", [make_episode(seed, 20, spec) for seed in range(12)], spec)
    run = train(
        policy(),
        data=[wide.location, other.location],
        view=[{"size": [16, 16]}, {"size": [16, 16]}],
        output=tmp_path / "run",
        device="cpu",
    )
    for name, size in (("toy", 48), ("other", 32)):
        agent = load(run, embodiment=name)
        assert agent.spec.cameras == {"front": (size, size)}
        action, _ = agent.act(None, observed(size), "push the block", explore=False)
        assert np.isfinite(action).all()


def test_one_robot_with_cameras_of_two_sizes_is_one(wide: EpisodeDataset, tmp_path: Path) -> None:
    other = write(
        tmp_path / "other", [make_episode(seed, 20, make_spec(32)) for seed in range(12)],
        make_spec(32),
    )  # fmt: skip
    run = train(
        policy(),
        data=[wide.location, other.location],
        view={"size": [16, 16]},
        output=tmp_path / "run",
        device="cpu",
    )
    agent = load(run)
    for size in (48, 32):
        action, carry = agent.act(None, observed(size), "push the block", explore=False)
        assert carry.source.spec.cameras == {"front": (size, size)}
        assert np.isfinite(action).all()


def test_a_view_that_touches_images_alone_is_streamed(wide: EpisodeDataset, tmp_path: Path) -> None:
    run = train(
        first(steps=4, buffer_frames=100),
        data=f"file://{wide.location}",
        view={"size": [16, 16]},
        output=tmp_path / "run",
        device="cpu",
    )
    assert load_info(resolve(run)).embodiments[0].spec.cameras == {"front": (16, 16)}
    with pytest.raises(UserError, match="read as a stream"):
        train(
            first(steps=4, buffer_frames=100),
            data=f"file://{wide.location}",
            view={"every": 2},
            output=tmp_path / "other",
            device="cpu",
        )


def test_as_many_views_as_datasets(wide: EpisodeDataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2 views for 1 datasets"):
        train(first(), data=wide.location, view=[VIEW, VIEW], output=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
