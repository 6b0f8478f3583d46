"""Suites of other projects' environments: each as declared, and through collection, training and
evaluation. They need the extras of the same names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from manyparts.core.extras import packages_of
from manyparts.data.dataset import EpisodeDataset
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig, Environment
from manyparts.envs.gym.preflight import findings
from manyparts.evaluation.protocol import evaluate
from manyparts.methods import preset
from manyparts.rollout.collect import collect
from manyparts.training.train import train

SUITES = {  # suite to the task that goes all the way, and who acts in it
    "pusht": ("push-t", "random"),
    "aloha": ("transfer-cube", "random"),
    "fetch": ("reach", "expert"),
    "minigrid": ("go-to-local", "expert"),
    "panda": ("reach", "expert"),
    "ogbench": ("cube-single", "random"),
}
STEPS = 20
# panda-gym says that velocities stay below 10, which falling cubes exceed.
KNOWN_LIES = {"panda/stack": {"spaces"}}
EXPERTS = [
    "fetch/reach",
    "panda/reach",
    "minigrid/go-to-red-ball",
    "minigrid/go-to-local",
    "minigrid/pick-up",
    "minigrid/put-next",
]


def require(suite: str) -> None:
    """Skip where the suite's packages are not installed."""
    for package in registry.suite_named(suite).packages:
        pytest.importorskip(package)


@pytest.mark.parametrize("suite", SUITES)
def test_suite_is_declared_without_its_packages(suite: str) -> None:
    declared = registry.suite_named(suite)
    assert packages_of(declared.extra), "an extra installs it"
    for task in declared.tasks:
        instructions = registry.instructions(f"{suite}/{task}")
        if task not in declared.own_instructions:
            assert len(instructions.paraphrases) >= 3 and len(instructions.held_out) >= 2
    assert SUITES[suite][0] in declared.tasks


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_suite_is_as_declared(suite: str) -> None:
    require(suite)
    for task in registry.suite_named(suite).tasks:
        name = f"{suite}/{task}"
        failed = {each.name: each.detail for each in findings(name) if not each.works}
        assert failed.keys() <= KNOWN_LIES.get(name, set()), (name, failed)


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_suite_goes_from_collection_to_evaluation(suite: str, tmp_path: Path) -> None:
    require(suite)
    task, policy = SUITES[suite]
    name = f"{suite}/{task}"
    config = EnvConfig(image_size=32, max_steps=None if policy == "expert" else STEPS)
    steps_after_success = 0 if policy == "expert" else None
    dataset = collect(
        name,
        episodes=4,
        output=tmp_path / "data",
        config=config,
        policy=policy,
        steps_after_success=steps_after_success,
        workers=1,
    )
    assert dataset.num_episodes == 4
    assert all(episode.success.any() for episode in dataset) or policy == "random"
    assert all(image.std() > 0 for image in dataset.episode(0).images.values())
    phases = [replace(preset(f"dualmind/phase{number}-debug"), steps=2) for number in (1, 2)]
    first = train(phases[0], data=dataset.path, output=tmp_path / "first")
    run = train(phases[1], data=dataset.path, output=tmp_path / "run", start_from=first)
    result = evaluate(run, episodes=2, max_steps=STEPS, workers=1)
    assert result.tasks == (name,) and len(result.episodes) == 2
    assert all(1 <= episode.length <= STEPS for episode in result.episodes)
    values = json.loads((run / "evaluation" / "results.json").read_text())
    assert values["per_task"][name]["success_any"] is not None
    packages = registry.suite_named(suite).packages
    assert values["provenance"]["simulators"][suite].keys() == set(packages)


@pytest.mark.slow
@pytest.mark.parametrize("task", EXPERTS)
def test_expert_of_a_suite_beats_chance(task: str) -> None:
    require(task.partition("/")[0])
    env = registry.make(task, EnvConfig(cameras=("none",)))
    chance = np.random.default_rng(0)
    contract = env.embodiment_spec.action

    def solved(act: Callable[[], np.ndarray]) -> int:
        count = 0
        for seed in range(10):
            env.begin(seed)
            done, success = False, False
            while not (done or success):
                _, terminated, truncated, info = env.advance(act())
                done, success = terminated or truncated, info["success"]
            count += success
        return count

    by_chance = solved(lambda: contract.denormalise(chance.uniform(-1, 1, contract.dimension)))
    assert solved(env.expert_action) >= 9 > by_chance
    env.close()


def fingerprint(env: Environment, seed: int, *, looks: bool = False) -> str:
    """A hash of an episode's states and rewards under actions that depend on the step only."""
    digest = hashlib.sha256()
    env.begin(seed)
    digest.update(env.observe()["state"].tobytes())
    contract = env.embodiment_spec.action
    for step in range(STEPS):
        wave = np.sin(np.arange(contract.dimension) + step)
        reward, terminated, _, info = env.advance(contract.denormalise(0.3 * wave))
        if looks:
            env.observe()
        digest.update(np.float64(reward).tobytes() + bytes([info["success"]]))
        if terminated:
            break
    digest.update(env.observe()["state"].tobytes())
    return digest.hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_seed_gives_episode_after_other_episodes(suite: str) -> None:
    require(suite)
    for task in registry.suite_named(suite).tasks:
        config = EnvConfig(image_size=16, state="full", cameras=("none",))
        env, other = (registry.make(f"{suite}/{task}", config) for _ in range(2))
        first = fingerprint(env, 7)
        assert fingerprint(env, 8) != first, task
        assert fingerprint(env, 7) == first, task
        fingerprint(other, 9)
        assert fingerprint(other, 7) == first, task
        env.close()
        other.close()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["fetch/push", "aloha/insertion", "ogbench/cube-single"])
def test_looking_changes_no_episode(task: str) -> None:
    """Who looks moves marks in the simulator, which must not move anything else."""
    require(task.partition("/")[0])
    env = registry.make(task, EnvConfig(image_size=16))
    assert fingerprint(env, 3, looks=True) == fingerprint(env, 3)
    env.close()


@pytest.mark.slow
def test_each_babyai_mission_is_a_task(tmp_path: Path) -> None:
    require("minigrid")
    dataset = collect(
        "minigrid/go-to-local",
        episodes=6,
        output=tmp_path / "data",
        config=EnvConfig(cameras=("none",)),
        workers=1,
    )
    assert len(dataset.tasks) > 1 and dataset.num_episodes == 6
    env = registry.make("minigrid/go-to-local", EnvConfig(cameras=("none",)))
    for episode in EpisodeDataset.open(tmp_path / "data"):
        assert episode.task == f"minigrid/go-to-local#{episode.instruction}"
        assert episode.instruction.startswith("go to ")
        env.begin(episode.seed)
        assert env.episode_instruction() == episode.instruction
