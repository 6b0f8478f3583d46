"""A trained trunk under another robot: fresh cameras, state, actions and heads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data.synthetic import make_episode, make_spec, write
from training.runs import first, rows, second, weights

from manyparts.agents.loading import load, load_system
from manyparts.core.errors import UserError
from manyparts.core.spec import ActionContract
from manyparts.data.dataset import EpisodeDataset
from manyparts.training.train import train

CHANGES = {"new_embodiment": True, "cache_features": False}


@pytest.fixture(scope="module")
def other_robot(tmp_path_factory: pytest.TempPathFactory) -> EpisodeDataset:
    """Another camera, another state and three actions."""
    base = make_spec(24, ("wrist",))
    contract = ActionContract("velocity", "base", ("a", "b", "c"), (-1.0,) * 3, (1.0,) * 3, 20.0)
    spec = replace(base, embodiment="arm", state_names=("q0", "q1"), action=contract)
    episodes = []
    for seed in range(12):
        episode = make_episode(seed, 20, spec)
        episodes.append(replace(episode, state=episode.state[:, :2]))
    return write(tmp_path_factory.mktemp("robot") / "data", episodes, spec)


@pytest.fixture(scope="module")
def run(
    first_run: Path, other_robot: EpisodeDataset, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return train(
        first(**CHANGES, steps=4),
        data=other_robot.location,
        start_from=first_run,
        output=tmp_path_factory.mktemp("robot") / "run",
        device="cpu",
    )


def test_the_trunk_is_loaded_and_the_rest_is_fresh(
    first_run: Path, other_robot: EpisodeDataset, tmp_path: Path
) -> None:
    config = first(**CHANGES, steps=1)
    still = replace(config, optimizer=replace(config.optimizer, learning_rate=1e-12))
    output = train(
        still,
        data=other_robot.location,
        start_from=first_run,
        output=tmp_path / "run",
        device="cpu",
    )
    before, _ = load_system(first_run)
    after, info = load_system(output)
    assert [embodiment.spec.embodiment for embodiment in info.embodiments] == ["arm"]
    old, new = before.state_dict(), after.state_dict()
    for name in new:
        if name.startswith(tuple(f"model.{part}" for part in after.model.trunk)):
            assert torch.allclose(old[name], new[name], atol=1e-6), name
    fresh = [name for name in new if name.startswith("model.embedding.encoders")]
    assert fresh and not set(fresh) & old.keys()


def test_a_policy_of_the_new_robot_acts(
    run: Path, other_robot: EpisodeDataset, tmp_path: Path
) -> None:
    tuned = train(
        second(steps=3, train_only=(), cache_features=False),
        data=other_robot.location,
        start_from=run,
        output=tmp_path / "policy",
        device="cpu",
    )
    agent = load(tuned)
    image = np.zeros((24, 24, 3), np.uint8)
    observation = {"images": {"wrist": image}, "state": np.zeros(2, np.float32)}
    action, _ = agent.act(None, observation, "push the block", explore=False)  # type: ignore[arg-type]
    assert action.shape == (3,) and np.isfinite(action).all()


def test_what_is_fresh_is_trained_whatever_is_frozen(
    first_run: Path, other_robot: EpisodeDataset, tmp_path: Path
) -> None:
    config = first(**CHANGES, steps=2, train_only=("model.norm.*",))
    output = train(
        config,
        data=other_robot.location,
        start_from=first_run,
        output=tmp_path / "run",
        device="cpu",
    )
    before, after = (load_system(path)[0].state_dict() for path in (first_run, output))
    blocks = [name for name in after if name.startswith("model.blocks")]
    assert blocks and all(torch.equal(before[name], after[name]) for name in blocks)
    before_steps = weights(output)
    assert (
        train(config, data=other_robot.location, output=output, resume=True, device="cpu") == output
    )
    assert weights(output) == before_steps and len(rows(output)) == 2


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"start_from": None}, "needs a run to take the trunk of"),
        ({"cache_features": True}, "False with new_embodiment"),
    ],
)
def test_bad_settings_are_one_clear_line(
    changes: dict[str, object],
    complaint: str,
    first_run: Path,
    other_robot: EpisodeDataset,
    tmp_path: Path,
) -> None:
    start_from = changes.pop("start_from", first_run)
    with pytest.raises(UserError, match=complaint):
        train(
            first(**{**CHANGES, **changes}),
            data=other_robot.location,
            start_from=start_from,  # type: ignore[arg-type]
            output=tmp_path / "run",
            device="cpu",
        )
    assert not (tmp_path / "run").exists()


def test_another_robot_without_the_flag_is_refused(
    first_run: Path, other_robot: EpisodeDataset, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"another embodiment than .*--new-embodiment"):
        train(
            first(),
            data=other_robot.location,
            start_from=first_run,
            output=tmp_path / "run",
            device="cpu",
        )
