"""Requests that nobody waits for any longer, and those that come after them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation.evaluating import make_run
from serving.served import CAMERA, INSTRUCTION, SIZE

from manyparts.agents.loading import load
from manyparts.agents.viewed import ViewedAgent
from manyparts.core.errors import UserError
from manyparts.core.records import Prompt
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.statistics import Statistics
from manyparts.embodiment.views.source import Source
from manyparts.embodiment.views.view import View
from manyparts.serving.description import Description
from manyparts.serving.safety import Guard
from manyparts.serving.service import Service
from manyparts.serving.session import Answer, Conversation, Memory, Request


class Stuck(Conversation):
    """Answers once it may, and counts what it was asked."""

    asked, may = 0, threading.Event()

    def answers(self, asked: Sequence[tuple[Request, Memory]]) -> list[Answer | UserError]:
        self.asked += len(asked)
        self.may.wait(timeout=30)
        return super().answers(asked)


def test_who_stopped_waiting_costs_no_decision(tmp_path: Path) -> None:
    agent = load(make_run(tmp_path / "run"))
    conversation = Stuck(agent, Guard(agent.spec))
    service = Service(conversation, Description.of(agent, None), deadline_ms=50)
    image = np.zeros((*SIZE, 3), np.uint8)
    request = Request({CAMERA: image}, np.zeros(2, np.float32), Prompt(INSTRUCTION))

    async def served() -> Answer:
        late = await asyncio.gather(*(service.answer(request, Memory()) for _ in range(20)))
        assert all(answer.held.startswith("late") for answer in late)
        conversation.may.set()
        for _ in range(100):  # the machine may be slow
            answer = await service.answer(request, Memory())
            if not answer.held:
                return answer
        pytest.fail("it never recovered")

    answer = asyncio.run(served())
    service.close()
    assert answer.actions.shape == (2, 2)
    # The first one was under way. Of the others, nobody waited for any when its turn came.
    assert conversation.asked < 20


@pytest.mark.parametrize("every", [1, 2])
def test_answers_are_as_long_as_described(tmp_path: Path, every: int) -> None:
    """Actions that start from the robot's state wait for it, whatever the agent plans at once."""
    inside = load(make_run(tmp_path / "run"))
    contract = replace(inside.spec.action, representation="position")
    view = View(action="absolute_to_delta", every=every)
    source = Source(replace(inside.spec, action=contract), view)
    embodiment = Embodiment(inside.spec, {}, Statistics({}), (), (source,))
    agent = ViewedAgent(inside, embodiment)
    description = Description.of(agent, None)
    conversation = Conversation(agent, Guard(agent.spec))
    request = Request({CAMERA: np.zeros((*SIZE, 3), np.uint8)}, np.zeros(2, np.float32))
    (answer,) = conversation.answers([(replace(request, prompt=Prompt(INSTRUCTION)), Memory())])
    assert isinstance(answer, Answer) and len(answer.actions) == description.actions == every
