"""Goals of training, validation and evaluation never meet."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from manyparts.core.errors import UserError
from manyparts.envs import registry
from manyparts.envs.base import SPLITS_OF_GOALS
from manyparts.envs.goals import CELL_METRES, episode_generator, split_of
from manyparts.envs.suites.metaworld import goal_axes

SIMULATED = [
    *registry.expand(["pointmass/all"]),
    *(
        f"metaworld/{name}"
        for name in ("reach", "drawer-open", "stick-push", "disassemble", "sweep-into", "push")
    ),
]


def cell(goal: np.ndarray) -> tuple[int, ...]:
    return tuple(np.floor(goal / CELL_METRES).astype(int).tolist())


def test_suites_declare_steps_after_success() -> None:
    steps = {
        name: registry.steps_after_success(registry.expand([f"{name}/all"]))
        for name in ("navigation", "pointmass")
    }
    assert steps == {"navigation": 0, "pointmass": 20}
    assert registry.steps_after_success(["metaworld/reach", "pointmass/reach"]) == 20
    with pytest.raises(UserError, match=r"differ by suite .*'navigation': 0.*give one number"):
        registry.steps_after_success(["metaworld/reach", "navigation/hallway"])


@pytest.mark.parametrize("task", SIMULATED)
def test_splits_have_no_common_cell(task: str) -> None:
    cells = {}
    for split in SPLITS_OF_GOALS:
        env = registry.make(task, split=split)
        cells[split] = set()
        for seed in range(12):
            env.begin(seed)
            assert split_of(task, env.goal) == split
            cells[split].add(cell(env.goal))
        env.close()
        assert cells[split]
    for one, other in combinations(SPLITS_OF_GOALS, 2):
        assert not cells[one] & cells[other]


@pytest.mark.slow
def test_every_metaworld_split_has_goals() -> None:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    for task in registry.expand(["metaworld/mt50"]):
        name = task.split("/")[1]
        space = ALL_V3_ENVIRONMENTS[f"{name}-v3"]()._random_reset_space
        axes = goal_axes(name, space.low, space.high)
        drawn = np.random.default_rng(0).uniform(
            space.low[axes], space.high[axes], (2000, len(axes))
        )
        cells = {
            split: {cell(goal) for goal in drawn if split_of(task, goal) == split}
            for split in SPLITS_OF_GOALS
        }
        assert len(cells["train"]) >= 7, task
        assert len(cells["evaluation"]) >= 2, task
        assert len(cells["validation"]) >= 1, task


def test_ten_cells_split_seven_one_two() -> None:
    for row in range(20):
        owners = Counter(
            split_of("a/b", [0.3, (10 * row + column + 0.5) * CELL_METRES]) for column in range(10)
        )
        assert owners == {"train": 7, "validation": 1, "evaluation": 2}
    orders = {
        tuple(split_of(task, [(column + 0.5) * CELL_METRES]) for column in range(10))
        for task in map(str, range(9))
    }
    assert len(orders) > 5


def test_goal_position_decides_the_split() -> None:
    env = registry.make("metaworld/push", split="evaluation")
    env.begin(0)
    assert np.allclose(env.goal, env._simulator._target_pos[:2])
    env.close()


def test_generator_depends_on_task_split_seed() -> None:
    def draw(*arguments) -> float:
        return episode_generator(*arguments).random()

    assert draw("a/b", "train", 1) == draw("a/b", "train", 1)
    assert (
        len(
            {
                draw("a/b", "train", 1),
                draw("a/c", "train", 1),
                draw("a/b", "train", 2),
                draw("a/b", "evaluation", 1),
            }
        )
        == 4
    )
