"""Actions that come late, as on a robot that does not wait for its agent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation.evaluating import CONFIG, TASKS, make_run

from manyparts.agents.delayed import DelayedAgent
from manyparts.agents.expert import ExpertAgent
from manyparts.agents.loading import load
from manyparts.agents.random import RandomAgent
from manyparts.core.errors import UserError
from manyparts.core.records import Prompt
from manyparts.envs.registry import make
from manyparts.evaluation.protocol import evaluate, evaluate_reference
from manyparts.evaluation.results import compare


def test_actions_are_those_of_some_steps_before() -> None:
    env = make(TASKS[0], CONFIG)
    env.begin(0)
    agent, carry, actions = DelayedAgent(RandomAgent(env.embodiment_spec, seed=3), 2), None, []
    alone, own, wanted = RandomAgent(env.embodiment_spec, seed=3), None, []
    for _ in range(6):
        action, carry = agent.act(carry, env.observe(), None, explore=False)
        actions.append(action)
        action, own = alone.act(own, env.observe(), None, explore=False)
        wanted.append(action)
    assert not np.any(actions[:2])
    assert np.array_equal(actions[2:], wanted[:4])


def test_an_agent_looks_only_where_it_would(tmp_path: Path) -> None:
    policy = load(make_run(tmp_path / "run"))
    env = make(TASKS[0], CONFIG)
    env.begin(0)
    delayed, carry, looks = DelayedAgent(policy, 3), None, []
    for _ in range(6):
        looks.append(delayed.needs_observation(carry))
        observation = env.observe() if looks[-1] else None
        _, carry = delayed.act(carry, observation, Prompt("go"), explore=False)
    assert looks == [True, False] * 3  # chunks of two actions


def test_targets_that_nobody_can_hold_are_refused() -> None:
    env = make(TASKS[0], CONFIG)
    env.begin(0)
    agent = DelayedAgent(ExpertAgent(env), 1)
    action = replace(env.embodiment_spec.action, representation="joint_position", names=("a", "b"))
    agent.spec = replace(env.embodiment_spec, action=action)
    with pytest.raises(UserError, match="nobody knows what holds it until the first delayed"):
        agent.act(None, env.observe(), None, explore=False)


def test_a_delay_is_a_condition_of_results(tmp_path: Path) -> None:
    def measured(name: str, delay: int) -> float:
        result = evaluate_reference(
            "expert",
            TASKS[0],
            output=tmp_path / name,
            episodes=3,
            workers=1,
            environment=CONFIG,
            control_delay=delay,
            until_success=True,
        )
        assert result.provenance.get("control_delay", 0) == delay
        return sum(episode.length for episode in result.episodes)

    assert measured("at once", 0) < measured("late", 3)
    with pytest.raises(UserError, match="control_delay was 3, is None"):
        measured("late", 0)
    with pytest.raises(UserError, match="control_delay: None, 3"):
        compare(tmp_path / "at once", tmp_path / "late")
    with pytest.raises(UserError, match="control_delay is -1; expected at least 0"):
        measured("never", -1)


def test_environments_of_the_caller_are_met_late_as_well(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    env = make(TASKS[0], CONFIG, split="evaluation")
    result = evaluate(run, env=env, episodes=1, control_delay=2)
    assert result.provenance["control_delay"] == 2
