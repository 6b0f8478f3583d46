"""A policy of LeRobot is a folder with the agent, and LeRobot's own evaluation runs it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from evaluation.evaluating import CONFIG, TASKS, evaluate_small, make_run
from plugins.installing import pip_install

from manyparts.agents.loading import load
from manyparts.cli import main
from manyparts.core.errors import UserError
from manyparts.envs.registry import instructions, make
from manyparts.exporting.lerobot import export_to_lerobot
from manyparts.rollout.loop import rollout

ROOT = Path(__file__).parents[2]
PEERS, SCRIPTS, PLUGIN = ROOT / ".peers", ROOT / "scripts" / "peers", ROOT / "plugins" / "lerobot"
SEED, EPISODES = 1000, 4  # LeRobot's own first seed


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def policy(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "policy"
    assert main(["export", str(run), "--format", "lerobot", "--output", str(folder)]) == 0
    return folder


def test_policy_names_what_it_takes(policy: Path) -> None:
    config = json.loads((policy / "config.json").read_text())
    spec = make(TASKS[0], CONFIG).embodiment_spec
    (camera,) = spec.cameras
    assert config["type"] == "manyparts"
    assert config["input_features"] == {
        f"observation.images.{camera}": {"type": "VISUAL", "shape": [3, *spec.cameras[camera]]},
        "observation.state": {"type": "STATE", "shape": [spec.state_dimension]},
    }
    assert config["output_features"] == {"action": {"type": "ACTION", "shape": [2]}}
    before = json.loads((policy / "policy_preprocessor.json").read_text())["steps"]
    names = {step["registry_name"] for step in before}
    assert {"device_processor", "rename_observations_processor"} <= names  # lerobot-eval asks both


@pytest.mark.slow
def test_policy_is_evaluated_as_its_run(run: Path, policy: Path, tmp_path: Path) -> None:
    one, other = (evaluate_small(each, tmp_path / each.name) for each in (run, policy))
    assert [each.return_ for each in one.episodes] == [each.return_ for each in other.episodes]


def test_used_folders_and_wrong_agents_are_refused(run: Path, policy: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists; choose another output folder"):
        export_to_lerobot(run, policy)
    with pytest.raises(UserError, match="no run or checkpoint"):
        export_to_lerobot(tmp_path / "none", tmp_path / "policy")
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "policy.pt2").write_bytes(b"")
    with pytest.raises(UserError, match=r"torch reads by pickle: torch\.export\.load"):
        load(tmp_path / "programs")
    assert not (tmp_path / "policy").exists()


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not PEERS.exists():
        pytest.skip("LeRobot is not there; scripts/peers/install.sh installs it")
    return pip_install(PLUGIN, tmp_path_factory.mktemp("plugin"))


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 3])
def test_lerobots_evaluation_has_equal_returns(
    run: Path, policy: Path, plugin: Path, rows: int, tmp_path: Path
) -> None:
    program = "import operators; from lerobot.scripts.lerobot_eval import main; main()"
    flags = {
        "policy.path": policy,
        "env.type": "manyparts",
        "env.run": policy,
        "env.task": TASKS[0],
        "eval.n_episodes": EPISODES,
        "eval.batch_size": rows,
        "seed": SEED,
        "output_dir": tmp_path,
    }
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (plugin, ROOT / "src", SCRIPTS))),
        "HF_HUB_OFFLINE": "1",
    }
    words = [f"--{name}={value}" for name, value in flags.items()]
    done = subprocess.run(
        [str(PEERS / "bin" / "python"), "-c", program, *words],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert not done.returncode, done.stderr[-4000:]
    measured = json.loads((tmp_path / "eval_info.json").read_text())["per_task"][0]["metrics"]
    assert len(measured["sum_rewards"]) == EPISODES
    agent, env = load(run), make(TASKS[0], CONFIG, split="evaluation")
    said = instructions(TASKS[0]).instruction
    own = [
        rollout(env, agent, seed=SEED + number, prompt=said, explore=False)
        for number in range(EPISODES)
    ]
    returns = [each.return_ for each in own]
    np.testing.assert_allclose(measured["sum_rewards"], returns, rtol=1e-5)
    assert len(set(np.round(returns, 4))) == EPISODES
    assert measured["successes"] == [each.success_any for each in own]
