"""Answers to one client: whole chunks, what was carried out, and what a late one leaves alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation.evaluating import make_run
from serving.served import CAMERA, INSTRUCTION, SIZE, STATES

from manyparts.agents.loading import load
from manyparts.agents.policy import PolicyAgent
from manyparts.core.errors import UserError
from manyparts.core.records import Prompt
from manyparts.serving.safety import Guard
from manyparts.serving.session import Answer, Conversation, Memory, Request


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> PolicyAgent:
    loaded = load(make_run(tmp_path_factory.mktemp("run")))
    assert isinstance(loaded, PolicyAgent)
    return loaded


@pytest.fixture
def conversation(agent: PolicyAgent) -> Conversation:
    return Conversation(agent, Guard(agent.spec))


def request(number: int, **more: object) -> Request:
    generator = np.random.default_rng(number)
    image = generator.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    state = generator.uniform(-0.5, 0.5, STATES)
    return replace(Request({CAMERA: image}, state, Prompt(INSTRUCTION)), **more)


def answer(conversation: Conversation, asked: Request, memory: Memory) -> Answer:
    (result,) = conversation.answers([(asked, memory)])
    assert isinstance(result, Answer), result
    return result


def test_an_answer_is_what_the_agent_does(agent: PolicyAgent, conversation: Conversation) -> None:
    carry, actions, memory = None, [], Memory()
    for number in range(3):
        asked = request(number)
        for _ in range(agent.window.chunk):
            observation = asked.observation
            action, carry = agent.act(carry, observation, asked.prompt, explore=False)
            actions.append(action)
        memory = answer(conversation, asked, memory).memory
        assert np.array_equal(memory.sent, actions[-agent.window.chunk :])


def test_single_actions_are_the_same_ones(agent: PolicyAgent, conversation: Conversation) -> None:
    single = Conversation(agent, Guard(agent.spec), actions=1)
    whole = answer(conversation, request(0), Memory())
    first = answer(single, request(0), Memory())
    # Within a chunk the agent does not look.
    second = answer(single, request(9), first.memory)
    assert np.array_equal(np.concatenate([first.actions, second.actions]), whole.actions)


def test_another_episode_begins_anew(conversation: Conversation) -> None:
    first = answer(conversation, request(0, episode="a"), Memory())
    later = answer(conversation, request(1, episode="a"), first.memory)
    again = answer(conversation, request(0, episode="b"), later.memory)
    assert np.array_equal(again.actions, first.actions)
    assert again.memory.episode == "b"


def test_nothing_carried_out_is_as_if_never_asked(conversation: Conversation) -> None:
    first = answer(conversation, request(0), Memory())
    wanted = answer(conversation, request(2), first.memory)
    wasted = answer(conversation, request(1), first.memory)
    again = answer(conversation, request(2, executed=0), wasted.memory)
    assert np.array_equal(again.actions, wanted.actions)


def test_a_part_that_was_carried_out_makes_the_agent_look(conversation: Conversation) -> None:
    first = answer(conversation, request(0), Memory())
    part = answer(conversation, request(1, executed=1), first.memory)
    whole = answer(conversation, request(1, executed=2), first.memory)
    assert part.actions.shape == whole.actions.shape
    assert not np.array_equal(part.actions, whole.actions)


def test_no_negative_number_of_actions_was_carried_out(conversation: Conversation) -> None:
    for memory in (Memory(), answer(conversation, request(0), Memory()).memory):
        (refused,) = conversation.answers([(request(1, executed=-1), memory)])
        assert isinstance(refused, UserError) and "executed is -1" in str(refused)


def test_more_than_was_sent_cannot_be_carried_out(conversation: Conversation) -> None:
    first = answer(conversation, request(0), Memory())
    (refused,) = conversation.answers([(request(1, executed=3), first.memory)])
    assert isinstance(refused, UserError) and "the last answer had 2 actions" in str(refused)


def test_several_are_answered_as_one_by_one(conversation: Conversation) -> None:
    later = answer(conversation, request(5), Memory()).memory
    asked = [
        (request(0), Memory()),
        (request(1, prompt=Prompt("push")), Memory()),
        (request(2), later),
    ]
    together = conversation.answers(asked)
    for (one, memory), result in zip(asked, together, strict=True):
        alone = answer(conversation, one, memory)
        assert isinstance(result, Answer)
        np.testing.assert_allclose(result.actions, alone.actions, atol=1e-5)
        following = answer(conversation, request(7), result.memory).actions
        wanted = answer(conversation, request(7), alone.memory).actions
        np.testing.assert_allclose(following, wanted, atol=1e-5)


def test_one_that_does_not_fit_costs_no_other_its_answer(conversation: Conversation) -> None:
    broken = replace(request(1), images={CAMERA: np.zeros((4, 4, 3), np.uint8)})
    asked = [(request(0), Memory()), (broken, Memory()), (request(2), Memory())]
    first, refused, last = conversation.answers(asked)
    assert isinstance(refused, UserError) and "(4, 4, 3)" in str(refused)
    for number, result in ((0, first), (2, last)):
        assert isinstance(result, Answer)
        assert np.array_equal(
            result.actions, answer(conversation, request(number), Memory()).actions
        )


def test_a_held_robot_drops_what_was_planned(agent: PolicyAgent) -> None:
    single = Conversation(agent, Guard(agent.spec), actions=1)
    first = answer(single, request(0), Memory())
    held = single.hold(request(1), first.memory, "late")
    assert held is not None and held.actions.tolist() == [[0.0, 0.0]]
    after = answer(single, request(2), held.memory)
    planned = answer(single, request(2), first.memory)
    assert not np.array_equal(after.actions, planned.actions)


def test_the_limit_is_from_the_last_action_that_was_carried_out(agent: PolicyAgent) -> None:
    contract, limit = agent.spec.action, 0.05
    limited = Conversation(agent, Guard(agent.spec, limit), actions=1)
    step = limit * (np.array(contract.high) - np.array(contract.low))
    far = np.array([contract.high], np.float32)  # as far as possible from what the agent does
    memory = Memory(carries=(None, None), sent=-far, before=far[0])
    for number in range(3):  # what is sent is never carried out
        result = answer(limited, request(number, executed=0), memory)
        memory = result.memory
        assert (np.abs(result.actions[0] - far[0]) <= step + 1e-6).all()


def test_an_episode_begins_near_standing_still(agent: PolicyAgent) -> None:
    contract, limit = agent.spec.action, 1e-4
    limited = Conversation(agent, Guard(agent.spec, limit), actions=1)
    step = limit * (np.array(contract.high) - np.array(contract.low))
    free = answer(Conversation(agent, Guard(agent.spec), actions=1), request(0), Memory())
    assert (np.abs(free.actions[0]) > step).any()
    for episode in (None, "one", "another"):
        first = answer(limited, request(0, episode=episode), Memory(episode="before"))
        assert (np.abs(first.actions[0]) <= step + 1e-6).all()


def test_a_hold_has_as_many_actions_as_clients_count_on(agent: PolicyAgent) -> None:
    chunks = Conversation(agent, Guard(agent.spec), held=3)
    held = chunks.hold(request(0), Memory(), "late")
    assert held is not None and held.actions.tolist() == [[0.0, 0.0]] * 3
    for executed in (0, 2, 3, None):
        after = answer(chunks, request(1, executed=executed), held.memory)
        assert after.actions.tolist() == answer(chunks, request(1), Memory()).actions.tolist()


def test_a_target_that_was_not_carried_out_is_no_hold(agent: PolicyAgent) -> None:
    contract = replace(agent.spec.action, representation="joint_position", names=("a", "b"))
    arm = Conversation(agent, Guard(replace(agent.spec, action=contract)))
    sent = np.array([[0.1, 0.1], [0.2, 0.2]], np.float32)
    memory = Memory(carries=(None, None, None), sent=sent, episode="one")
    held = arm.hold(request(0, executed=1, episode="one"), memory, "late")
    assert held is not None and held.actions.tolist() == [sent[0].tolist()]
    assert arm.hold(request(0, executed=0, episode="one"), memory, "late") is None
    assert arm.hold(request(0, episode="another"), memory, "late") is None


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        (None, "no state"),
        (np.zeros(3), "a state of"),
        (np.array([0.0, np.inf]), "expected finite numbers"),
        (np.array([3e38, 0.0]), "in other units"),
        (np.array(["a", "b"]), "trained on numbers"),
        ([[1], [1, 2]], "numpy cannot read"),
    ],
)
def test_states_that_are_none_are_refused(
    conversation: Conversation, state: object, complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        asked = request(0, state=state).checked(conversation.agent.spec)
        (refused,) = conversation.answers([(asked, Memory())])
        assert isinstance(refused, UserError)
        raise refused
