"""The policy as an agent: its memory, its actions against the model's own pass, and refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from einops import rearrange
from factories import (
    CHUNK,
    SIZE,
    STEPS,
    generator,
    make_agent,
    make_batch,
    make_observations,
    make_prompt_config,
    make_spec,
    make_system,
)

from manyparts.agents.for_environment import seeded
from manyparts.agents.policy import PolicyAgent
from manyparts.core.errors import UserError
from manyparts.core.records import Prompt
from manyparts.models.configs import BinnedActionConfig, ConvEncoderConfig, ViTConfig
from manyparts.objectives.base import Passes
from manyparts.objectives.configs import BehaviourCloningConfig

OPEN, CLOSE = Prompt("open the drawer"), Prompt("close the drawer")


def act_along(
    agent: PolicyAgent, seed: int, prompt: Prompt, *, steps: int, explore: bool = False
) -> np.ndarray:
    carry, actions = None, []
    for observation in make_observations(steps, seed=seed):
        action, carry = agent.act(carry, observation, prompt, explore=explore)
        actions.append(action)
    return np.stack(actions)


def test_sixteen_slots_act_as_alone():
    agent, prompts = make_agent(), [OPEN, CLOSE] * 8
    alone = [act_along(agent, seed, prompt, steps=12) for seed, prompt in enumerate(prompts)]
    carries: list = [None] * 16
    together: list[list[np.ndarray]] = [[] for _ in range(16)]
    for observations in zip(*(make_observations(12, seed=seed) for seed in range(16)), strict=True):
        for slot, observation in enumerate(observations):
            action, carries[slot] = agent.act(
                carries[slot], observation, prompts[slot], explore=False
            )
            together[slot].append(action)
    assert all(
        np.array_equal(np.stack(actions), expected)
        for actions, expected in zip(together, alone, strict=True)
    )


@pytest.mark.parametrize("conditioning", ["cross_attention", "prefix"])
@pytest.mark.parametrize("attention", ["causal", "present"])
def test_acting_equals_models_window_pass(attention, conditioning):
    agent = make_agent(attention=attention, prompt=make_prompt_config(conditioning=conditioning))
    steps = STEPS * CHUNK
    observations = list(make_observations(steps))
    actions = act_along(agent, 0, OPEN, steps=steps)
    seen = observations[::CHUNK]
    images = rearrange(
        torch.from_numpy(np.stack([o["images"]["front"] for o in seen])), "t h w c -> 1 t c h w"
    )
    states = torch.from_numpy(np.stack([(o["state"] - 0.5) / 2 for o in seen]))[None]
    done = torch.from_numpy(agent.spec.action.normalise(actions)).view(1, STEPS, CHUNK, -1)
    batch = replace(
        make_batch(1), images={"front": images}, state=states, action=done, prompt=(OPEN,)
    )
    with torch.no_grad():
        expected = agent.policy.head.decode(
            agent.policy.predict(Passes(agent.model, batch, generator()))
        )
    np.testing.assert_allclose(done, expected, atol=1e-5)


def test_memory_reaches_back_one_window():
    agent, steps = make_agent(), (STEPS + 3) * CHUNK
    observations = list(make_observations(steps))

    def last_action(changed: int | None) -> np.ndarray:
        carry, action = None, np.zeros(0)
        for index, observation in enumerate(observations):
            if index == changed:
                observation = observation | {"state": observation["state"] + 1}
            action, carry = agent.act(carry, observation, OPEN, explore=False)
        return action

    plain = last_action(None)
    assert np.array_equal(last_action(1), plain)  # within a chunk, so it is not read
    assert not np.array_equal(last_action(steps - STEPS * CHUNK), plain)


def test_carry_is_never_mutated():
    agent = make_agent()
    first, *rest = make_observations(6)
    _, carry = agent.act(None, first, OPEN, explore=False)
    branches = []
    for _ in range(2):
        branch = carry
        for observation in rest:
            action, branch = agent.act(branch, observation, OPEN, explore=False)
        branches.append(action)
    assert np.array_equal(*branches)


def test_actions_have_contract_units_and_bounds():
    actions = act_along(make_agent(), 0, OPEN, steps=8)
    assert actions.dtype == np.float32 and np.abs(actions).max() <= 2.0


def test_exploring_samples_bins_by_seed():
    agent = make_agent(action=BinnedActionConfig(bins=16))
    greedy = act_along(agent, 0, OPEN, steps=8)
    explored = [act_along(agent, 0, OPEN, steps=8, explore=True) for _ in range(2)]
    assert np.array_equal(*explored) and not np.array_equal(explored[0], greedy)
    episodes = [
        act_along(seeded(agent, seed, explores=True), 0, OPEN, steps=8, explore=True)
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(*episodes[:2]) and not np.array_equal(*episodes[1:])
    assert seeded(agent, 1) is agent, "at its best it draws nothing"


@pytest.mark.parametrize(
    "encoder", [ConvEncoderConfig(width=8, layers=((8, 4, 4),)), ViTConfig(8, 4, 1, 2)]
)
def test_bf16_agent_acts_nearly_equally(encoder):
    rounded, reference = (make_agent(encoder=encoder) for _ in range(2))
    rounded = PolicyAgent(rounded.system, rounded.info, precision="bf16")
    block, prompt = rounded.model.blocks[0].attention.query.weight, rounded.model.prompt_encoder
    assert block.dtype == torch.bfloat16 and {each.dtype for each in prompt.parameters()} == {
        torch.float32
    }
    one, other = (act_along(agent, 0, OPEN, steps=8) for agent in (rounded, reference))
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(one, other, atol=0.05)
    frames = {"front": np.stack([each["images"]["front"] for each in make_observations(2)])}
    rounded_maps, reference_maps = (
        agent.attention(frames)["front"] for agent in (rounded, reference)
    )
    np.testing.assert_allclose(rounded_maps, reference_maps, atol=0.01)


def test_prompt_for_unprompted_agent_is_refused():
    with pytest.raises(UserError, match="prompt 'open the drawer' given to an unprompted agent"):
        make_agent(prompt=None).act(None, next(make_observations(1)), OPEN, explore=False)
    with pytest.raises(UserError, match="needs a prompt"):
        make_agent().act(None, next(make_observations(1)), None, explore=False)


def test_observation_of_other_camera_is_refused():
    observation = next(make_observations(1))
    observation["images"] = {"wrist": np.zeros((SIZE, SIZE, 3), np.uint8)}
    with pytest.raises(UserError, match="trained on"):
        make_agent().act(None, observation, OPEN, explore=False)


@pytest.mark.parametrize(
    ("encoder", "maps"),
    [
        (ConvEncoderConfig(width=8, layers=((8, 4, 4),)), 2),
        (ViTConfig(width=8, patch=4, layers=1, heads=2), 1),
    ],
)
def test_attention_covers_grid_of_each_camera(encoder, maps):
    agent = make_agent(encoder=encoder, token_maps=maps)
    spec, objectives = (
        make_spec(cameras=("front", "wrist")),
        {"behaviour_cloning": BehaviourCloningConfig(hidden=16)},
    )
    system = make_system(objectives=objectives, spec=spec, encoder=encoder, token_maps=maps)
    agent_of_two = PolicyAgent(
        system, replace(agent.info, embodiments=(replace(agent.info.embodiments[0], spec=spec),))
    )
    frames = np.stack([observation["images"]["front"] for observation in make_observations(5)])
    attention = agent_of_two.attention({"front": frames, "wrist": frames[::-1]})
    assert {name: maps.shape for name, maps in attention.items()} == dict.fromkeys(
        spec.cameras, (5, 2, maps, 4, 4)
    )
    for weights in attention.values():
        np.testing.assert_allclose(weights.sum(axis=(-2, -1)), 1, rtol=1e-5)
    assert agent_of_two.attention({"wrist": frames}).keys() == {"wrist"}
    for wrong in ({"front": frames[0]}, {"top": frames}, {"front": frames.astype(np.float32)}):
        with pytest.raises(UserError, match="choices: n of uint8"):
            agent_of_two.attention(wrong)


def test_attention_changes_where_image_changes():
    agent = make_agent()
    frame = next(make_observations(1))["images"]["front"]
    changed = frame.copy()
    row, column = 3, 1  # of 4 x 4 cells of 4 pixels, which this encoder sees one by one
    changed[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = (
        255 - changed[4 * row : 4 * row + 4, 4:8]
    )
    before, after = agent.attention({"front": np.stack([frame, changed])})["front"]
    odds = after / before
    elsewhere = np.ones((4, 4), bool)
    elsewhere[row, column] = False
    np.testing.assert_allclose(odds[..., elsewhere] / odds[..., :1, 0], 1, rtol=1e-3)
    assert (np.abs(odds[..., row, column] / odds[..., 0, 0] - 1) > 0.01).all()


def test_system_without_policy_is_refused():
    agent = make_agent()
    objectives = {
        name: system
        for name, system in make_system().objectives.items()
        if name != "behaviour_cloning"
    }
    agent.system.objectives = torch.nn.ModuleDict(objectives)
    with pytest.raises(UserError, match="learned no policy"):
        PolicyAgent(agent.system, agent.info)
