"""The files that CONTRIBUTING.md shows, an objective and a suite, work without another edit."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from manyparts import cli
from manyparts.agents.expert import Noise
from manyparts.core.serialisation import from_jsonable, to_jsonable
from manyparts.core.spec import TaskEntry
from manyparts.data.dataset import DatasetWriter, EpisodeDataset
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig
from manyparts.methods import preset
from manyparts.models.checkpoint import load_info, resolve
from manyparts.objectives import base
from manyparts.rollout.recorded_tries import CollectConfig, RecordedTry, record_episode
from manyparts.training.train import train

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
OBJECTIVE, SUITE = "manyparts.objectives.reward_prediction", "manyparts.envs.suites.cart"


def code_below(heading: str) -> str:
    """The one Python example of a section."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return code


@pytest.fixture
def add_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str], None]]:
    """Adds a module's source as if it stood in its package, for one test."""
    declared = dict(base.every_objective())  # a module declares itself once, when imported

    def add(module: str, source: str) -> None:
        package_name, _, name = module.rpartition(".")
        package = importlib.import_module(package_name)
        folder = tmp_path / package_name
        folder.mkdir()
        (folder / f"{name}.py").write_text(source)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        # Import would set both for good; monkeypatch removes what it set itself.
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
        monkeypatch.setattr(package, name, None, raising=False)
        del sys.modules[module]
        importlib.invalidate_caches()
        registry.suite_names.cache_clear()

    yield add
    registry.suite_names.cache_clear()
    base._DECLARED.clear()
    base._DECLARED.update(declared)


def record_expert(path: Path, episodes: int) -> EpisodeDataset:
    """A dataset of the cart, recorded in this process, which alone knows the suite."""
    task, environment = "cart/park", EnvConfig(image_size=32)
    env = registry.make(task, environment)
    config = CollectConfig(
        tasks=(task,),
        episodes=episodes,
        seed=0,
        environment=environment,
        noise=Noise(fraction=0.0),
        images="png",
        keep_failures=False,
        steps_after_success=5,
    )
    tasks = (TaskEntry(task, registry.instructions(task).instruction),)
    rate = env.embodiment_spec.action.control_rate_hz
    with DatasetWriter(
        path, env.embodiment_spec, fps=rate, tasks=tasks, environment=to_jsonable(environment)
    ) as writer:
        for number in range(episodes):
            episode, result = record_episode(env, RecordedTry(task, number, config, path))
            assert episode is not None and result.success_any
            writer.add(episode)
    return EpisodeDataset.open(path)


def episode_bytes(env: Any, seed: int) -> bytes:
    """Everything that ten steps of an episode show."""
    observation, _ = env.reset(seed=seed)
    shown = b""
    for step in range(10):
        assert env.observation_space.contains(observation)
        shown += observation["state"].tobytes() + observation["images"]["front"].tobytes()
        observation, reward, *_ = env.step(np.array([np.sin(step)]))
        shown += np.float64(reward).tobytes()
    return shown


def test_suite_example_is_listed(
    add_file: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    add_file(SUITE, code_below("An environment"))
    assert "cart" in registry.suite_names()
    assert registry.expand("cart/park") == ["cart/park"]
    assert cli.main(["list", "tasks", "cart"]) == 0
    assert "move the cart to the red mark" in capsys.readouterr().out
    assert registry.versions("cart")["renderer"] == "numpy"


def test_the_suite_example_keeps_the_contract(add_file: Callable[[str, str], None]) -> None:
    add_file(SUITE, code_below("An environment"))
    env, again = registry.make("cart/park"), registry.make("cart/park")
    first = episode_bytes(env, 7)
    assert episode_bytes(env, 8) != first
    assert episode_bytes(again, 7) == episode_bytes(env, 7) == first
    goals = set()
    for split in ("train", "validation", "evaluation"):
        of_split = registry.make("cart/park", split=split)
        for seed in range(4):
            of_split.begin(seed)
            goals.add(float(vars(of_split)["goal"][0]))
    assert len(goals) == 12
    assert env.render().shape == (256, 256, 3)
    assert env.action_space.contains(env.expert_action())


def test_the_examples_collect_and_train_together(
    add_file: Callable[[str, str], None], tmp_path: Path
) -> None:
    add_file(SUITE, code_below("An environment"))
    add_file(OBJECTIVE, code_below("An objective"))
    settings = importlib.import_module(OBJECTIVE).RewardPredictionConfig(weight=0.5, hidden=16)
    objectives = {"reward_prediction": settings}
    kind = dict[str, base.ObjectiveConfig]
    assert from_jsonable(kind, json.loads(json.dumps(to_jsonable(objectives)))) == objectives

    dataset = record_expert(tmp_path / "data", episodes=2)
    assert dataset.num_episodes == 2
    config = replace(
        preset("dualmind/phase1-debug"), objectives=objectives, steps=2, validation_fraction=0.5
    )
    run = train(config, data=dataset, output=tmp_path / "run", device="cpu")
    assert from_jsonable(kind, load_info(resolve(run)).objectives) == objectives


def test_the_examples_leave_nothing_behind() -> None:
    assert "cart" not in registry.suite_names()
    assert not {OBJECTIVE, SUITE} & sys.modules.keys()
    assert not [each for each in base.every_objective() if each.__module__ == OBJECTIVE]
