"""Acting in a latent world: memory, exploration, choices and planning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from factories import (
    ACTION,
    STATE,
    STEPS,
    make_discrete_spec,
    make_observations,
    make_spec,
)
from objectives.test_actor_critic import make_dreamer
from objectives.test_world import WORLDS, make_world

from manyparts.agents.base import Agent
from manyparts.agents.latent import LatentAgent
from manyparts.core.errors import UserError
from manyparts.core.records import Prompt
from manyparts.core.spec import Spec
from manyparts.data.sampling.config import WindowConfig
from manyparts.embodiment.codec import Codec
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.models.dynamics.latent_context import LatentContext
from manyparts.models.dynamics.state_space import WorldState
from manyparts.objectives.configs import WorldConfig
from manyparts.objectives.system import System
from manyparts.planners import RandomShootingConfig

OBSERVATIONS = list(make_observations(STEPS))


def codec_of(spec: Spec | None = None) -> Codec:
    return Codec(spec or make_spec(), StateNormaliser((0.5,) * STATE, (2.0,) * STATE))


def make_agent(**changes: Any) -> LatentAgent:
    return LatentAgent(make_dreamer(), codec_of(), **changes)


def actions(agent: LatentAgent, *, explore: bool) -> np.ndarray:
    carry, taken = None, []
    for observation in OBSERVATIONS:
        action, carry = agent.act(carry, observation, None, explore=explore)
        taken.append(action)
    return np.stack(taken)


def test_best_actions_draw_nothing() -> None:
    agent = make_agent()
    assert isinstance(agent, Agent)
    assert np.array_equal(actions(agent, explore=False), actions(agent, explore=False))
    other = LatentAgent(agent.system, codec_of(), seed=1)
    assert np.array_equal(actions(agent, explore=False), actions(other, explore=False))


def test_exploration_is_a_function_of_seed_and_step() -> None:
    agent = make_agent()
    explored = actions(agent, explore=True)
    assert np.array_equal(explored, actions(agent, explore=True))
    other = LatentAgent(agent.system, codec_of(), seed=1)
    assert not np.array_equal(explored, actions(other, explore=True))
    low, high = np.asarray(agent.spec.action.low), np.asarray(agent.spec.action.high)
    assert (
        explored.shape == (STEPS, ACTION) and (low <= explored).all() and (explored <= high).all()
    )


def test_old_carries_can_be_acted_from_again() -> None:
    agent = make_agent()
    _, first = agent.act(None, OBSERVATIONS[0], None, explore=False)
    once, _ = agent.act(first, OBSERVATIONS[1], None, explore=False)
    agent.act(first, OBSERVATIONS[2], None, explore=False)
    again, _ = agent.act(first, OBSERVATIONS[1], None, explore=False)
    assert np.array_equal(once, again)


def test_acting_filters_as_training_does() -> None:
    agent = make_agent()
    carry, states, taken = None, [], []
    for observation in OBSERVATIONS:
        _, carry = agent.act(carry, observation, None, explore=False)
        states.append(carry.state.features)
        taken.append(carry.action)
    seen = np.stack([observation["state"] for observation in OBSERVATIONS])
    embedding = torch.from_numpy(codec_of().encode_state(seen))[None]
    filtered = agent.model.filter(embedding, torch.stack(taken, dim=1))
    torch.testing.assert_close(filtered.features[0], torch.cat(states))


def test_choices_are_whole_numbers() -> None:
    spec = make_discrete_spec()
    agent = LatentAgent(make_dreamer(spec), codec_of(spec))
    taken = actions(agent, explore=True)
    assert taken.shape == (STEPS, 1) and set(taken.ravel().tolist()) <= {0.0, 1.0, 2.0}


@pytest.mark.parametrize("sees", ["state", "images"])
def test_planner_acts_without_a_policy(sees: str) -> None:
    torch.manual_seed(0)
    window = WindowConfig(steps=STEPS, chunk=1)
    system = System.build(
        WORLDS[sees], {"world": WorldConfig()}, EmbodimentSet((make_spec(),)), window
    )
    planner = RandomShootingConfig(candidates=16, horizon=4)
    agent = LatentAgent(system, codec_of(), planner=planner)
    assert np.array_equal(actions(agent, explore=False), actions(agent, explore=False))
    with pytest.raises(UserError, match="learned no policy; choose a planner"):
        LatentAgent(system, codec_of())


def test_contexts_extend_as_windows_are_filtered() -> None:
    model = make_world().model
    torch.manual_seed(1)
    states, taken = torch.randn(4, STATE), torch.rand(3, ACTION)
    whole = model.filter(model.embed({}, states)[None], taken[None])
    first = WorldState(whole.recurrent[:, 0], whole.drawn[:, 0])
    context = LatentContext(model, first)
    for step in range(3):
        context = context.extended(taken[step], torch.zeros(()), states[step + 1])
    torch.testing.assert_close(context.state.features, whole.features[:, -1])


def test_the_reward_of_an_end_counts_and_none_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in imagined returns of an actor: what follows an end is worth nothing."""
    model = make_world().model
    state = model.initial(torch.zeros(1, 1))
    rewards, goes_on = iter(torch.tensor([1.0, 100, 5, 7])), iter(torch.tensor([1, 0.25, 0.5, 1]))
    monkeypatch.setattr(model, "reward", lambda features: next(rewards).expand(len(features)))
    monkeypatch.setattr(model, "continuation", lambda features: next(goes_on).expand(len(features)))
    imagination = LatentContext(model, WorldState(state.recurrent[:1], state.drawn[:1])).imagine(2)
    got = [imagination.step(torch.zeros(2, ACTION)).reward[0].item() for _ in range(4)]
    assert got == pytest.approx([1, 100, 5 * 0.25, 7 * 0.125])


def test_prompts_and_odd_observations_are_refused() -> None:
    agent = make_agent()
    with pytest.raises(UserError, match="given to an unprompted agent"):
        agent.act(None, OBSERVATIONS[0], Prompt("open it"), explore=False)
    with pytest.raises(UserError, match="act needs an observation"):
        agent.act(None, None, None, explore=False)
