"""A context has one goal, which training without a context never had; where an episode begins
varies."""

from __future__ import annotations

import numpy as np
import pytest

from manyparts.core.errors import UserError
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig
from manyparts.envs.goals import split_of

TASKS = ("pointmass/reach", "metaworld/pick-place", "metaworld/reach")
HIDDEN = EnvConfig(image_size=16, goal="hidden", state="full", context=3)


@pytest.mark.parametrize("task", TASKS)
def test_context_has_one_unseen_goal(task: str) -> None:
    goals, starts = [], []
    for split in ("train", "evaluation"):
        env = registry.make(task, HIDDEN, split=split)
        for seed in range(3):
            env.begin(seed)
            goals.append(env.goal.copy())
            starts.append(env.observe()["state"])
        env.close()
    assert all(np.array_equal(goal, goals[0]) for goal in goals)
    assert split_of(task, goals[0]) == "evaluation"
    if task != "metaworld/reach":  # where the hand always begins in one pose
        assert len({start.tobytes() for start in starts}) == len(starts)
    other = registry.make(task, EnvConfig(image_size=16, context=4))
    other.begin(0)
    assert not np.allclose(other.goal, goals[0])
    other.close()


def test_hidden_goal_stays_out_of_observations() -> None:
    seen = []
    for context in (0, 1):
        env = registry.make(
            "pointmass/reach",
            EnvConfig(image_size=32, goal="hidden", state="full", context=context),
        )
        env.begin(0)
        env._position = np.zeros(2)
        seen.append(env.observe())
    assert np.array_equal(seen[0]["images"]["top"], seen[1]["images"]["top"])
    assert np.array_equal(seen[0]["state"], seen[1]["state"])


def test_what_is_no_context_is_refused() -> None:
    with pytest.raises(UserError, match="context is -1; expected a seed"):
        EnvConfig(context=-1)
    with pytest.raises(UserError, match="navigation has no contexts"):
        registry.make("navigation/one-room", EnvConfig(context=1))
