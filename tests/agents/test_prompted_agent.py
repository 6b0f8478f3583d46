"""Prompts by instruction, goal image and demonstration reach the model as in training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from factories import ANY_PROMPT, CHUNK, SIZE, generator, make_agent, make_batch, make_observations

from manyparts.core.errors import UserError
from manyparts.core.records import Demonstration, Prompt, PromptImages
from manyparts.objectives.base import Passes

FRAMES = ANY_PROMPT.demonstration_frames
DRAW = np.random.default_rng(0)
GOAL = {"front": DRAW.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)}
SHOWN = {"front": DRAW.integers(0, 256, (FRAMES, SIZE, SIZE, 3), dtype=np.uint8)}
DONE = DRAW.uniform(-2, 2, (FRAMES, CHUNK, 2)).astype(np.float32)
PROMPTS = {
    "instruction": Prompt("open it"),
    "goal": Prompt(goal=GOAL),
    "demonstration": Prompt(demonstration=Demonstration(SHOWN, DONE)),
    "watched": Prompt(demonstration=Demonstration(SHOWN)),
    "instruction and goal": Prompt("open it", GOAL),
    "goal and demonstration": Prompt(None, GOAL, Demonstration(SHOWN, DONE)),
    "nothing": Prompt(),
}


def first_action(prompt: Prompt) -> np.ndarray:
    agent = make_agent(window=ANY_PROMPT)
    action, _ = agent.act(None, next(make_observations(1)), prompt, explore=False)
    return action


def test_each_prompt_kind_changes_action():
    actions = [first_action(prompt).tobytes() for prompt in PROMPTS.values()]
    assert len(set(actions)) == len(PROMPTS)


def test_each_prompt_kind_acts_finitely():
    assert all(np.isfinite(first_action(prompt)).all() for prompt in PROMPTS.values())


def test_plain_instruction_is_a_prompt():
    agent, observations = make_agent(), list(make_observations(CHUNK + 1))
    actions, carries = {}, {"open it": None, Prompt("open it"): None}
    for observation in observations:
        for prompt, carry in carries.items():
            action, carries[prompt] = agent.act(carry, observation, prompt, explore=False)
            actions.setdefault(str(prompt), []).append(action)
    plain, whole = actions.values()
    np.testing.assert_array_equal(plain, whole)
    assert carries["open it"].prompt == Prompt("open it")


@pytest.mark.parametrize("name", ["goal", "demonstration", "watched", "goal and demonstration"])
def test_prompt_images_match_training_layout(name: str):
    prompt, agent, observation = (
        PROMPTS[name],
        make_agent(window=ANY_PROMPT),
        next(make_observations(1)),
    )
    actions, carry = [], None
    for _ in range(CHUNK):
        action, carry = agent.act(carry, observation, prompt, explore=False)
        actions.append(action)
    frames = np.zeros((1 + FRAMES, SIZE, SIZE, 3), np.uint8)
    demonstrated = np.zeros((1 + FRAMES, CHUNK, 2), np.float32)
    mask, action_mask = np.zeros(1 + FRAMES, bool), np.zeros(1 + FRAMES, bool)
    if prompt.goal is not None:
        frames[0], mask[0] = GOAL["front"], True
    if prompt.demonstration is not None:
        frames[1:], mask[1:] = SHOWN["front"], True
        if prompt.demonstration.action is not None:
            demonstrated[1:], action_mask[1:] = DONE / 2, True
    images = PromptImages(
        images={"front": torch.from_numpy(frames).permute(0, 3, 1, 2)[None]},
        features={},
        action=torch.from_numpy(demonstrated)[None],
        mask=torch.from_numpy(mask)[None],
        action_mask=torch.from_numpy(action_mask)[None],
    )
    state = torch.from_numpy((observation["state"] - 0.5) / 2).view(1, 1, -1)
    image = torch.from_numpy(observation["images"]["front"]).permute(2, 0, 1)[None, None]
    whole = make_batch(1)
    first = {
        key: getattr(whole, key)[:, :1]
        for key in ("action", "expert_action", "reward", "timestep", "mask")
    }
    batch = replace(
        whole,
        **first,
        chunk_mask=whole.chunk_mask[:, :1],
        images={"front": image},
        state=state,
        prompt=(prompt,),
        prompt_images=images,
    )
    with torch.no_grad():
        expected = agent.policy.head.decode(
            agent.policy.predict(Passes(agent.model, batch, generator()))
        )[0, 0]
    np.testing.assert_allclose(agent.spec.action.normalise(np.stack(actions)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"), [("goal", "has a goal image"), ("watched", "has a demonstration")]
)
def test_unlearned_prompt_kind_is_refused(name: str, message: str):
    with pytest.raises(UserError, match=message):
        make_agent().act(None, next(make_observations(1)), PROMPTS[name], explore=False)


def test_misshaped_prompt_images_are_refused():
    wrong = Prompt(goal={"front": np.zeros((8, 8, 3), np.uint8)})
    with pytest.raises(UserError, match=r"expects \'front\' of shape \(16, 16, 3\)"):
        first_action(wrong)


def test_prompts_with_same_arrays_are_equal():
    assert Prompt("a", GOAL) == Prompt("a", GOAL) and hash(Prompt("a", GOAL)) == hash(
        Prompt("a", GOAL)
    )
    assert (
        Prompt("a", GOAL) != Prompt("a", dict(GOAL))
        and Prompt("a") != Prompt("b")
        and Prompt("a") != "a"
    )
