"""The rivals of Vid2Act that are options of its presets, each from end to end."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training.online.tiny import record, rows, small, tiny

from manyparts.agents.loading import load, load_system
from manyparts.cli.parsing import flags
from manyparts.cli.train_online import options_with
from manyparts.core.errors import UserError
from manyparts.data.sampling.replay import open_replay
from manyparts.envs.registry import make
from manyparts.methods import preset
from manyparts.planners import RandomShootingConfig
from manyparts.training.config import TrainConfig
from manyparts.training.online.train import train_online
from manyparts.training.train import train

pytestmark = pytest.mark.slow

SEEN = {"cameras": ["none"], "max_steps": 20, "state": "full"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two datasets in folders of one name, as two replays are."""
    folder = tmp_path_factory.mktemp("sources")
    tasks = ("reach-left", "reach-right")
    for task in tasks:
        (folder / task).mkdir()
    return [record(f"pointmass/{task}", folder / task / "data", **SEEN) for task in tasks]


@pytest.fixture(scope="module")
def teachers(sources: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A teacher of each source."""
    folder = tmp_path_factory.mktemp("teachers")
    config = small("vid2act/teachers-debug")
    return [
        train(config, data=source, output=folder / str(number), device="cpu")
        for number, source in enumerate(sources)
    ]


def learn(output: Path, config: TrainConfig, task: str = "pointmass/reach", **changes: Any) -> Path:
    return train_online(config, environment=task, output=output, device="cpu", **changes)


def changed(config: TrainConfig, objective: str = "", **changes: Any) -> TrainConfig:
    """A config with another model, or another objective."""
    if not objective:
        return replace(config, model=replace(config.model, **changes))
    objectives = {
        **config.objectives,
        objective: replace(config.objectives[objective], **changes),
    }
    return replace(config, objectives=objectives)


@pytest.mark.slow
def test_one_teacher_is_chosen_by_name(tmp_path: Path, teachers: list[Path]) -> None:
    config = changed(tiny("vid2act/distilled-debug"), relevance="fixed:data-2")
    last = rows(learn(tmp_path / "run", config, teachers=teachers))[-1]
    assert last["distillation/weight/data"] == 0 and last["distillation/weight/data-2"] == 1
    config = changed(config, relevance="fixed:door")
    with pytest.raises(UserError, match="'fixed:door', but the teachers are data, data-2"):
        learn(tmp_path / "other", config, teachers=teachers)
    with pytest.raises(UserError, match=r"choices: learned, distance, .*fixed:NAME"):
        changed(config, relevance="data")


@pytest.mark.slow
def test_random_teachers_have_learned_nothing(tmp_path: Path, teachers: list[Path]) -> None:
    config = changed(tiny("vid2act/distilled-debug"), random_teachers=True)
    run = learn(tmp_path / "run", config, teachers=teachers)
    own = load_system(run)[0].model.teachers.filters[0].state_dict()
    taught = load_system(teachers[0])[0].model.state_dict()
    weights = [name for name in own if own[name].ndim > 1]
    assert weights and not any(torch.equal(own[name], taught[name]) for name in weights)
    again = learn(tmp_path / "again", config, teachers=teachers)
    same = load_system(again)[0].model.teachers.filters[0].state_dict()
    assert all(torch.equal(own[name], same[name]) for name in own)


@pytest.mark.slow
def test_worlds_without_actions_teach_and_begin(tmp_path: Path, sources: list[Path]) -> None:
    """As in APV: what follows is predicted from what was seen alone."""
    config = changed(small("vid2act/world-debug"), actions="none")
    world = train(config, data=sources, output=tmp_path / "world", device="cpu")
    with pytest.raises(UserError, match="a world model without actions, with which nobody"):
        load(world, planner=RandomShootingConfig(candidates=2, horizon=2))
    free = load_system(world)[0].model
    longer = train(replace(config, steps=8), data=sources, output=tmp_path / "l", device="cpu")
    # Nothing reaches the columns that would read actions, which a finetuned agent then learns.
    columns = free.enter.weight[:, -free.action_dimension :]
    trained = load_system(longer)[0].model.enter.weight
    assert torch.equal(trained[:, -free.action_dimension :], columns)
    assert not torch.equal(trained, free.enter.weight)
    run = learn(tmp_path / "finetuned", tiny(), start_from=world)
    learned = load_system(run)[0].model
    assert learned.config.actions == "own"
    assert not torch.equal(learned.enter.weight[:, -free.action_dimension :], columns)
    student = learn(tmp_path / "student", tiny("vid2act/distilled-debug"), teachers=[world])
    assert np.isfinite(rows(student)[-1]["loss/distillation"])
    with pytest.raises(UserError, match="no policy is learned without actions"):
        learn(tmp_path / "none", changed(tiny(), actions="none"))


def test_rivals_of_the_page_can_be_run() -> None:
    """Every preset of its table is there, and has the flags that stand beside it."""
    page = (Path(__file__).parents[3] / "docs/how-to/learn-by-acting.md").read_text()
    table = [line.split("|") for line in page.splitlines() if line.startswith("| ")]
    found = 0
    for cells in table:
        if len(cells) != 6 or "`" not in cells[3]:
            continue
        known = flags(options_with(preset(cells[3].strip(" `"))))
        for word in cells[4].strip(" `").split():
            assert not word.startswith("--") or word in known, cells
        found += 1
    assert found == 18


@pytest.mark.parametrize("gradient", ["dynamics", "reinforce"])
def test_both_gradients_move_a_point_mass(tmp_path: Path, gradient: str) -> None:
    config = changed(tiny(), "actor_critic", gradient=gradient)
    run = learn(tmp_path / "run", config, environment_config=SEEN)
    last = rows(run)[-1]
    assert last["gradient/actor_critic"] > 0 and np.isfinite(last["loss/actor_critic"])


@pytest.mark.slow
@pytest.mark.skipif(find_spec("miniworld") is None, reason="miniworld is not installed")
@pytest.mark.parametrize("gradient", ["dynamics", "reinforce"])
def test_both_gradients_choose_a_way(tmp_path: Path, gradient: str) -> None:
    """Navigation by choices, from states, without a camera."""
    config = changed(tiny(), "actor_critic", gradient=gradient)
    seen = {"max_steps": 20, "state": "full"}
    run = learn(tmp_path / "run", config, "navigation/hallway", environment_config=seen)
    assert rows(run)[-1]["gradient/actor_critic"] > 0
    replay, _ = open_replay(run / "replay")
    taken = {float(each) for _, episode in replay.read() for each in episode.action.ravel()}
    assert taken == {0.0, 1.0, 2.0, 3.0}
    agent = load(run)
    env = make("navigation/hallway", agent.environment)
    assert not env.embodiment_spec.cameras
    action, _ = agent.act(None, env.reset(seed=0)[0], None, explore=False)
    assert float(action[0]) in (0.0, 1.0, 2.0, 3.0)
    with pytest.raises(UserError, match="acts by choices, and planners try actions of real"):
        load(run, planner=RandomShootingConfig(candidates=2, horizon=2))
