"""Training by acting: schedule, replay, resuming to the bit, evaluation, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training.online.tiny import SEEN, rows, tiny

from manyparts.agents.latent import LatentAgent
from manyparts.agents.loading import load
from manyparts.cli import main
from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.replay import Replay
from manyparts.data.tools.export import export
from manyparts.envs.base import EnvConfig
from manyparts.envs.registry import make
from manyparts.evaluation.results import Result
from manyparts.methods import preset
from manyparts.models.run_files import resolve
from manyparts.rollout.collect import collect
from manyparts.training.online.train import train_online
from manyparts.training.train import train

TASK = "pointmass/reach"


def run_tiny(output: Path, task: str = TASK, **changes: Any) -> Path:
    config = changes.pop("config", None) or tiny()
    return train_online(
        config, environment=task, environment_config=SEEN, output=output, device="cpu", **changes
    )


def test_steps_and_ratio_are_exact(tmp_path: Path) -> None:
    run = run_tiny(tmp_path / "run")
    last = rows(run)[-1]
    # Three random episodes of 20 steps, then one optimiser step of 8 replayed steps per 4 steps.
    assert last["step"] == (130 - 45) * 2 // 8 == 21
    assert last["environment_steps"] == 45 + 21 * 8 / 2
    assert last["replay_ratio"] == 2.0
    validated = [row for row in rows(run) if "validation/return" in row]
    assert [row["step"] for row in validated] == [15, 21]
    assert [row["environment_steps"] for row in validated] == [45 + 15 * 4, 45 + 21 * 4]
    assert {"validation/expected_return", "validation/discounted_return"} <= validated[0].keys()
    assert last["gradient/world"] > 0 and last["gradient/actor_critic"] > 0


@pytest.mark.slow
def test_agent_is_evaluated_at_the_end(tmp_path: Path) -> None:
    run = run_tiny(tmp_path / "run", config=tiny(final_episodes=2))
    result = Result.load(run)
    assert len(result.episodes) == 2 and result.provenance["split"] == "evaluation"
    agent = load(run)
    assert isinstance(agent, LatentAgent)
    env = make(TASK, agent.environment, split="evaluation")
    action, carry = agent.act(None, env.reset(seed=0)[0], None, explore=False)
    assert action.shape == (2,) and np.isfinite(agent.value(carry))


CONFIG = {"environments": 2, "action_repeat": 2, "replay_frames": 30}


@pytest.mark.parametrize(
    "task", [TASK, pytest.param("pointmass/reach-ledge", marks=pytest.mark.slow)]
)
def test_a_killed_run_continues_to_the_bit(tmp_path: Path, task: str) -> None:
    whole = run_tiny(tmp_path / "whole", task, config=tiny(**CONFIG))
    program = (
        "import sys\n"
        "from training.online.test_train_online import CONFIG, run_tiny, tiny\n"
        "from pathlib import Path\n"
        f"run_tiny(Path(sys.argv[1]), {task!r}, config=tiny(**CONFIG))\n"
    )
    killed = tmp_path / "killed"
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), *sys.path]))
    with subprocess.Popen(
        [sys.executable, "-c", program, killed],
        env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 120
        while not (killed / "checkpoints" / "last").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    run_tiny(killed, task, config=tiny(**CONFIG), resume=True)
    assert rows(killed) == rows(whole)
    weights, same = (load_file(resolve(run) / "model.safetensors") for run in (whole, killed))
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    spec = make(task, {**SEEN, "cameras": ["none"]}).embodiment_spec
    one, other = (Replay(run / "replay", spec, max_frames=30) for run in (whole, killed))
    assert one.episodes == other.episodes and one.num_frames <= 30
    for (_, episode), (_, twin) in zip(one.read(), other.read(), strict=True):
        assert np.array_equal(episode.state, twin.state)
        assert np.array_equal(episode.action, twin.action)


@pytest.mark.slow
def test_a_run_may_go_on_beyond_its_end(tmp_path: Path) -> None:
    longer = run_tiny(tmp_path / "longer", config=tiny(environment_steps=160))
    short = run_tiny(tmp_path / "short")
    run_tiny(short, config=tiny(environment_steps=160), resume=True)
    assert rows(short)[-1] == rows(longer)[-1]


def test_episodes_that_end_for_good_are_learned(tmp_path: Path) -> None:
    run = run_tiny(tmp_path / "run", "pointmass/reach-ledge", config=tiny(prefill_steps=100))
    spec = make("pointmass/reach-ledge", {**SEEN, "cameras": ["none"]}).embodiment_spec
    replay = Replay(run / "replay", spec, max_frames=10_000)
    assert len(replay.episodes) > 4
    assert rows(run)[-1]["world/continuation"] > 0


@pytest.mark.parametrize("kind", ["dataset", pytest.param("run", marks=pytest.mark.slow)])
def test_a_replay_is_filled_before(tmp_path: Path, kind: str) -> None:
    if kind == "dataset":
        config = {**SEEN, "cameras": ["none"]}
        source = tmp_path / "data"
        collect(TASK, episodes=3, output=source, config=config)
    else:
        source = run_tiny(tmp_path / "first")
    run = run_tiny(tmp_path / "run", prefill=source)
    began = rows(run)[0]["environment_steps"]
    assert began == (8 if kind == "dataset" else 60)


@pytest.mark.slow
def test_a_run_starts_from_another_world(tmp_path: Path) -> None:
    first = run_tiny(tmp_path / "first")
    second = run_tiny(tmp_path / "second", start_from=first)
    scales = [json.loads((resolve(run) / "config.json").read_text()) for run in (first, second)]
    assert scales[0]["embodiments"][0]["statistics"] == scales[1]["embodiments"][0]["statistics"]
    assert rows(second)[0]["loss/world"] < rows(first)[0]["loss/world"]
    run_tiny(tmp_path / "second", start_from=first, resume=True)
    with pytest.raises(UserError, match="was begun from nothing, not from"):
        run_tiny(tmp_path / "first", start_from=second, resume=True)


def test_a_replay_becomes_a_dataset(tmp_path: Path) -> None:
    """A next world model learns from it."""
    run = run_tiny(tmp_path / "run", "pointmass/reach-ledge", config=tiny(**CONFIG))
    assert main(["data", "export", str(run / "replay"), str(tmp_path / "data")]) == 0
    dataset = EpisodeDataset.open(tmp_path / "data")
    assert dataset.fps == 10 and dataset.terminated is not None
    spec = make("pointmass/reach-ledge", {**SEEN, "cameras": ["none"]}).embodiment_spec
    replay = Replay(run / "replay", spec, max_frames=30)
    for episode, (entry, recorded) in zip(dataset, replay.read(), strict=True):
        assert np.array_equal(episode.action, recorded.action) and entry.length == len(episode)
        assert np.array_equal(episode.reward, recorded.reward)
        assert episode.terminated == entry.terminated
    world = preset("vid2act/world-debug")
    world = replace(world, steps=2, window=replace(world.window, steps=4), batch_size=2)
    assert train(world, data=tmp_path / "data", output=tmp_path / "world", device="cpu").exists()
    with pytest.raises(UserError, match="is no replay"):
        export(tmp_path / "data", tmp_path / "other")


def test_other_settings_are_not_resumed(tmp_path: Path) -> None:
    run = run_tiny(tmp_path / "run")
    with pytest.raises(UserError, match="not 'pointmass/reach-red'"):
        run_tiny(run, "pointmass/reach-red", resume=True)
    with pytest.raises(UserError, match=r"online.train_ratio was 2.0, is 4.0"):
        run_tiny(run, config=tiny(train_ratio=4.0), resume=True)
    wider = tiny()
    wider = replace(wider, model=replace(wider.model, width=16))
    with pytest.raises(UserError, match=r"model.width was 8, is 16"):
        run_tiny(run, config=wider, resume=True)
    with pytest.raises(UserError, match="a run that acts has one process"):
        run_tiny(tmp_path / "other", config=replace(tiny(), processes=2))


@pytest.mark.parametrize("seen", [EnvConfig(state="full"), {"action_repeat": 3}])
def test_one_action_repeat_is_chosen(tmp_path: Path, seen: EnvConfig | dict[str, int]) -> None:
    with pytest.raises(UserError, match=r"holds each action for \d steps?, and online.action_rep"):
        train_online(
            tiny(action_repeat=2),
            environment=TASK,
            environment_config=seen,
            output=tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()


def test_too_few_steps_are_refused(tmp_path: Path) -> None:
    config = tiny()
    with pytest.raises(UserError, match="give no optimiser step of 8 replayed steps"):
        run_tiny(
            tmp_path / "run",
            config=replace(
                config, online=replace(config.online, environment_steps=46, prefill_steps=45)
            ),
        )
    with pytest.raises(UserError, match="unknown task 'pointmass/reech'"):
        run_tiny(tmp_path / "run", "pointmass/reech")
    assert not (tmp_path / "run").exists()
