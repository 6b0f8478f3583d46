"""A dynamics model that plans is evaluated like any agent: however it is run, its planner among the
conditions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation.evaluating import make_run

from manyparts import cli
from manyparts.agents.loading import load
from manyparts.agents.planning import MpcAgent
from manyparts.core.errors import UserError
from manyparts.envs.base import EnvConfig
from manyparts.envs.registry import make
from manyparts.evaluation.episodes import EvaluationConfig, _agent_for
from manyparts.evaluation.results import Result, compare
from manyparts.models.checkpoint import resolve
from manyparts.planners import CemConfig, FollowConfig, MppiConfig, RandomShootingConfig
from manyparts.rollout.collect import collect

SMALL = ["--planner.candidates", "8", "--planner.horizon", "3"]
ASKED = ["--episodes", "2", "--max-steps", "4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planning")
    config = EnvConfig(image_size=16, state="full")
    data = collect(
        ["pointmass/reach"], episodes=2, output=folder / "data", config=config, workers=1
    )
    words = ["--data", str(data.path), "--output", str(folder / "run"), "--steps", "2"]
    assert cli.main(["train", "dynamics/parallel-debug", *words]) == 0
    return folder / "run"


def evaluate(run: Path, output: Path, *flags: str) -> Result:
    assert cli.main(["evaluate", str(run), *ASKED, *SMALL, "--output", str(output), *flags]) == 0
    return Result.load(output)


@pytest.mark.slow
def test_planned_results_ignore_worker_count(run: Path, tmp_path: Path, capsys: Any) -> None:
    alone = evaluate(
        run, tmp_path / "one", "--planner", "cem", "--planner.elites", "4", "--workers", "1"
    )
    together = evaluate(
        run, tmp_path / "two", "--planner", "cem", "--planner.elites=4", "--workers", "2"
    )
    assert alone.episodes == together.episodes and [
        episode.length for episode in alone.episodes
    ] == [4, 4]
    planner = alone.provenance["planner"]
    assert (planner["type"], planner["candidates"], planner["horizon"], planner["elites"]) == (
        "CemConfig",
        8,
        3,
        4,
    )
    assert "return" in capsys.readouterr().out
    other = ["--planner", "cem", "--planner.elites", "3", "--output", str(tmp_path / "one")]
    assert cli.main(["evaluate", str(run), *ASKED, *SMALL, *other]) == 2
    assert "begun with other settings" in capsys.readouterr().err


def test_every_episode_draws_its_own_plans(run: Path) -> None:
    config = EnvConfig(image_size=16, state="full")
    planner = RandomShootingConfig(candidates=8, horizon=3)
    evaluation = EvaluationConfig(
        resolve(run), {}, 0, "evaluation", "instruction", "cpu", planner=planner
    )
    env = make("pointmass/reach", config)
    env.begin(0)
    drawn = []
    for seed in (1, 2, 1):
        agent = _agent_for(evaluation, env, seed)
        drawn.append(agent.act(None, env.observe(), None, explore=False)[0].tolist())
    assert drawn[0] == drawn[2] != drawn[1]


@pytest.mark.slow
def test_results_of_planners_are_comparable(run: Path, tmp_path: Path) -> None:
    one, other = (
        evaluate(run, tmp_path / name, "--planner", name, "--workers", "1")
        for name in ("mppi", "random-shooting")
    )
    assert compare(one, other).mismatches == ()


def test_evaluated_episodes_are_not_repeated(run: Path, tmp_path: Path) -> None:
    evaluate(run, tmp_path / "results", "--planner", "mppi", "--workers", "1")
    before = (tmp_path / "results" / "episodes.jsonl").read_text()
    changed = [json.loads(line) | {"return": 123.0} for line in before.splitlines()]
    (tmp_path / "results" / "episodes.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in changed)
    )
    again = evaluate(run, tmp_path / "results", "--planner", "mppi", "--workers", "1")
    assert [episode.return_ for episode in again.episodes] == [123.0, 123.0]


def test_run_is_loaded_with_planner(run: Path) -> None:
    agent = load(
        run, planner=MppiConfig(candidates=4), objective=lambda observation, action, reward: reward
    )
    assert isinstance(agent, MpcAgent) and agent.planner == MppiConfig(candidates=4)
    with pytest.raises(UserError, match="planning is in 'fp32' alone"):
        load(run, planner=MppiConfig(), precision="bf16")


def test_planning_without_rewards_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for episode in range(2):
        drawn = np.random.default_rng(episode).uniform(-1, 1, (2, 20, 2)).astype(np.float32)
        np.savez(tmp_path / "data" / f"{episode}.npz", state=drawn[0], action=drawn[1])
    run = tmp_path / "run"
    words = [
        "--data",
        str(tmp_path / "data"),
        "--output",
        str(run),
        "--steps",
        "2",
        "--model.policy",
    ]
    assert cli.main(["train", "dynamics/generalist-debug", *words]) == 0
    with pytest.raises(
        UserError, match="learned from data without rewards, so there is none to plan for"
    ):
        load(run, planner=CemConfig())
    load(run, planner=CemConfig(), objective=lambda observation, action, reward: observation[:, 0])
    load(run, planner=FollowConfig())


def test_planner_needs_a_dynamics_model(run: Path, tmp_path: Path, capsys: Any) -> None:
    policy = make_run(tmp_path / "policy")
    with pytest.raises(UserError, match="takes neither a planner nor an objective"):
        load(policy, planner=CemConfig())
    assert cli.main(["evaluate", str(run), *ASKED, *SMALL]) == 2
    assert "settings of a planner need --planner" in capsys.readouterr().err
    assert cli.main(["evaluate", str(run), "--planner", "cem", "--planner.iterations", "0"]) == 2
    assert "planner.iterations is 0" in capsys.readouterr().err
