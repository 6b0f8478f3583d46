"""Collection: the same bytes from any number of workers and after any kill; failures counted; noise
as promised."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rollout.collecting import TASKS, collect_small, digest

from manyparts import cli
from manyparts.agents.expert import Noise
from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.envs.base import EnvConfig
from manyparts.envs.registry import steps_after_success
from manyparts.envs.suites.pointmass import PointMass
from manyparts.rollout.collect import Ledger, collect
from manyparts.rollout.recorded_tries import (
    CollectConfig,
    RecordedTry,
    is_noisy,
    record_try,
)

EPISODES = 6


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one undisturbed worker collects."""
    folder = tmp_path_factory.mktemp("reference") / "data"
    collect_small(folder, workers=1, episodes=EPISODES)
    return folder


def test_dataset_holds_every_tasks_successes(reference: Path, tmp_path: Path) -> None:
    dataset = collect_small(tmp_path / "data", episodes=EPISODES)
    assert [entry.name for entry in dataset.tasks] == list(TASKS)
    assert dataset.num_episodes == EPISODES * len(TASKS)
    for index in range(dataset.num_episodes):
        episode = dataset.episode(index)
        assert episode.task == TASKS[index // EPISODES]
        assert episode.success.tolist().index(True) == len(episode) - 1 - steps_after_success(TASKS)
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]


def test_worker_count_changes_no_byte(reference: Path, tmp_path: Path) -> None:
    collect_small(tmp_path / "data", workers=3, episodes=EPISODES)
    assert digest(tmp_path / "data") == digest(reference)


def test_another_seed_gives_other_episodes(reference: Path, tmp_path: Path) -> None:
    dataset = collect_small(tmp_path / "data", episodes=EPISODES, seed=1)
    assert dataset.fingerprint != EpisodeDataset.open(reference).fingerprint


def test_kills_change_no_collected_byte(reference: Path, tmp_path: Path) -> None:
    kills = kill_until_done(tmp_path / "data", kills=2, seed=0)
    assert kills == 2
    assert digest(tmp_path / "data") == digest(reference)
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]


@pytest.mark.slow
def test_twenty_kills_change_no_byte(tmp_path: Path) -> None:
    collect_small(tmp_path / "whole", workers=2, episodes=200)
    kills = kill_until_done(tmp_path / "data", kills=20, seed=1, episodes=200)
    assert kills == 20
    assert digest(tmp_path / "data") == digest(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "whole"]


def test_kill_before_clean_up_is_repaired(reference: Path, tmp_path: Path) -> None:
    output, staging = tmp_path / "data", tmp_path / "data.partial"
    collect_small(output, episodes=EPISODES)
    manifest = json.loads((output / "meta" / "collection.json").read_text())
    del manifest["tries"]
    staging.mkdir()
    (staging / "manifest.json").write_text(json.dumps(manifest))
    assert collect_small(output, episodes=EPISODES).num_episodes == EPISODES * len(TASKS)
    assert digest(output) == digest(reference)
    assert not staging.exists()


def test_used_outputs_are_refused(tmp_path: Path) -> None:
    output = tmp_path / "data"
    output.mkdir()
    with pytest.raises(UserError, match="data exists; choose another output"):
        collect_small(output)
    assert list(tmp_path.iterdir()) == [output]
    output.rmdir()
    start = subprocess.Popen(command(output, 100), stderr=subprocess.DEVNULL, env=environment())
    wait_for_tries(output, 1, start)
    start.kill()
    start.wait()
    with pytest.raises(
        UserError, match=r"data\.partial was begun with other settings \(seed was 0, is 5\)"
    ):
        collect_small(output, episodes=100, seed=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ["pointmass/moon"]}, "pointmass/moon"),
        ({"tasks": []}, "no tasks"),
        ({"episodes": 0}, "episodes is 0; expected at least 1 per task"),
        ({"noise": Noise(fraction=1.5)}, "noise fraction is 1.5; expected 0 to 1"),
        ({"noise": Noise(correlation=1.0)}, "noise correlation is 1.0"),
        ({"noise": Noise(std=-1.0)}, "noise std is -1.0"),
        ({"workers": 0}, "workers is 0"),
        ({"steps_after_success": -1}, "steps_after_success is -1"),
        ({"tasks": [*TASKS, "navigation/hallway"]}, "steps after success differ by suite"),
    ],
)
def test_bad_input_leaves_nothing(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    arguments: dict[str, object] = {
        "tasks": TASKS,
        "episodes": 1,
        "output": tmp_path / "data",
    } | changes
    with pytest.raises(UserError) as refused:
        collect(**arguments)  # type: ignore[arg-type]
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_different_embodiments_are_refused_first(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"walkers/\S+0004 has another embodiment .*0001, \S+0004\); .*--state shared",
    ):
        collect(
            ["walkers/train-planar-0001", "walkers/train-planar-0004"],
            episodes=1,
            output=tmp_path / "data",
        )
    assert not list(tmp_path.iterdir())


def test_max_steps_bounds_recorded_episodes(tmp_path: Path) -> None:
    flags = [
        "--episodes",
        "1",
        "--max-steps",
        "7",
        "--keep-failures",
        "--noise-fraction",
        "0",
        "--image-size",
        "16",
    ]
    assert (
        cli.main(["collect", "dmc/cartpole-balance", *flags, "--output", str(tmp_path / "data")])
        == 0
    )
    dataset = EpisodeDataset.open(tmp_path / "data")
    assert [dataset.length(index) for index in range(dataset.num_episodes)] == [7]


def test_half_of_the_tries_are_noisy(reference: Path) -> None:
    dataset = EpisodeDataset.open(reference)
    noisy = []
    for index in range(dataset.num_episodes):
        episode = dataset.episode(index)
        assert np.abs(episode.action).max() <= 1
        assert np.abs(episode.expert_action).max() <= 1
        noisy.append(not np.array_equal(episode.action, episode.expert_action))
    assert 0 < sum(noisy) <= len(noisy) // 2


@pytest.mark.parametrize(("fraction", "count"), [(0.0, 0), (0.25, 10), (0.5, 20), (1.0, 40)])
def test_noisy_tries_are_spread_evenly(fraction: float, count: int) -> None:
    chosen = [is_noisy(number, fraction) for number in range(40)]
    assert sum(chosen) == count
    assert sum(chosen[:20]) == count // 2


def test_failures_are_counted_and_kept(tmp_path: Path) -> None:
    """Few steps make an expert fail at far goals."""
    config = EnvConfig(image_size=16, max_steps=20)
    only, every = (
        collect(
            TASKS[:1],
            episodes=4,
            output=tmp_path / str(keep),
            config=config,
            keep_failures=keep,
            workers=2,
        )
        for keep in (False, True)
    )
    counted = json.loads((only.path / "meta" / "collection.json").read_text())["tries"][TASKS[0]]
    assert counted["failures"] > 0
    assert counted["tries"] == counted["failures"] + 4
    assert only.num_episodes == 4
    assert every.num_episodes == counted["tries"]
    ends = [bool(every.episode(index).success[-1]) for index in range(every.num_episodes)]
    assert sum(ends) == 4
    assert ends[-1]


def test_held_actions_are_recorded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame is one action, and an episode that was wholly rendered is not made again."""
    begun, begin = [0], PointMass.begin

    def counted(env: PointMass, seed: int) -> None:
        begun[0] += 1
        begin(env, seed)

    monkeypatch.setattr(PointMass, "begin", counted)
    environment = EnvConfig(image_size=16, action_repeat=2)
    config = CollectConfig(
        TASKS[:1], 1, 0, environment, Noise(), "png", keep_failures=True, steps_after_success=50
    )
    outcome = record_try(RecordedTry(TASKS[0], 0, config, tmp_path))
    # 100 steps of the simulator are 50 frames.
    assert outcome.success and outcome.frames == 50 and begun == [1]


def test_falls_are_recorded_as_terminations(tmp_path: Path) -> None:
    """Much noise pushes the expert's disc off the table, sometimes after it was at the goal."""
    dataset = collect(
        ["pointmass/reach", "pointmass/reach-ledge"],
        episodes=4,
        output=tmp_path / "data",
        config=EnvConfig(image_size=16),
        noise=Noise(fraction=0.5, std=2.0, correlation=0.95),
        keep_failures=True,
        workers=2,
    )
    terminated = dataset.terminated
    assert terminated is not None
    on_ledge = dataset.episode_task == 1
    assert not terminated[~on_ledge].any() and 0 < terminated[on_ledge].mean() < 1
    for index, ended in enumerate(terminated):
        episode = dataset.episode(index)
        rows = dataset.columns(index)["next.terminated"]
        assert episode.terminated == ended and rows.tolist() == [False] * (len(rows) - 1) + [ended]
        assert (episode.reward[-1] == 0) == ended


def test_rim_tasks_have_no_column(reference: Path) -> None:
    dataset = EpisodeDataset.open(reference)
    assert dataset.terminated is None and "next.terminated" not in dataset.columns(0)
    assert "terminated" not in (reference / "meta" / "info.json").read_text()


def test_collection_gives_up_failing_experts(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"the expert of pointmass/\S+ failed 20 of 20 tries; gave up"
    ):
        collect(
            TASKS[:1],
            episodes=2,
            output=tmp_path / "data",
            config=EnvConfig(image_size=16, max_steps=1),
        )


def test_no_try_is_made_in_vain() -> None:
    """Two at a time, the second and fourth try fail, results come in the wrong order."""
    outcomes = [True, False, True, False, True, True, True]
    ledger, running, started = Ledger({}), [], 0
    while ledger.missing(3) or running:
        while len(running) < 2 and ledger.missing(3):
            running.append(ledger.start_next())
            started += 1
        number = running.pop()
        ledger.finish(number, outcomes[number])
    assert started == 5
    assert ledger.finished == dict(enumerate(outcomes[:5]))


def test_resumed_ledger_fills_holes_first() -> None:
    ledger = Ledger({0: True, 3: False})
    assert [ledger.start_next() for _ in range(3)] == [1, 2, 4]


def command(output: Path, episodes: int, workers: int = 2) -> list[str]:
    script = Path(__file__).with_name("collecting.py")
    return [sys.executable, str(script), str(output), str(workers), str(episodes)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def kill_until_done(output: Path, *, kills: int, seed: int, episodes: int = EPISODES) -> int:
    """Start collecting, kill it after some more tries, and so on, then let it finish. Returns
    the kills that hit."""
    generator = random.Random(seed)
    hit = 0
    for kill in range(kills):
        process = subprocess.Popen(
            command(output, episodes), stderr=subprocess.DEVNULL, env=environment()
        )
        fraction = 0.8 * (kill + generator.random()) / kills
        wait_for_tries(output, int(fraction * episodes * len(TASKS)), process)
        time.sleep(generator.random() * 0.01)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            hit += 1
        process.wait()
    subprocess.run(
        command(output, episodes), check=True, stderr=subprocess.DEVNULL, env=environment()
    )
    return hit


def wait_for_tries(
    output: Path, count: int, process: subprocess.Popen[bytes], timeout_seconds: float = 900
) -> None:
    staging = output.with_name(f"{output.name}.partial")
    deadline = time.monotonic() + timeout_seconds
    while len(list(staging.glob("*/*.npz"))) < max(count, 1) and process.poll() is None:
        assert time.monotonic() < deadline, f"{count} tries in {staging} never came"
        time.sleep(0.002)
