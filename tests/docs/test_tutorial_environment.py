"""The environment of the tutorial "From your environment to an agent": what the page says of it is
so, and an agent learns in it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from training.online.tiny import tiny

from manyparts import load
from manyparts.envs import registry
from manyparts.envs.gym import guess as guessing
from manyparts.envs.gym.guess import guess
from manyparts.envs.gym.preflight import findings
from manyparts.training.online.train import train_online

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "bring-your-own-environment.md"
TEXT = PAGE.read_text(encoding="utf-8")
WORLD, FAULT, DECLARATION = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
TASK = "gym:my_world:Ferry-v0"


@pytest.fixture
def my_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The reader's file, which is no longer known at the end."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path / "my_world.py"
    forget()


def forget() -> None:
    """Import the file again when it is named next."""
    sys.modules.pop("my_world", None)
    guessing._declared.pop("Ferry-v0", None)
    guess.cache_clear()


def said(text: str) -> str:
    """A text in one line."""
    return " ".join(text.split())


def printed(line: str) -> bool:
    """Whether the page has a line, wherever it is wrapped."""
    return said(line) in said(TEXT)


def test_page_says_what_is_guessed_and_what_is_checked(my_world: Path) -> None:
    my_world.write_text(WORLD)
    assert printed(str(guess(TASK)))
    checks = findings(TASK)
    assert all(check.works for check in checks)
    for check in checks:
        assert printed(f"ok {check.name} {check.detail}"), check


def test_page_shows_how_the_fault_is_found(my_world: Path) -> None:
    place = re.compile(r"self\.position = self\.np_random.*")
    assert len(place.findall(WORLD)) == 1
    my_world.write_text(place.sub(FAULT.strip(), WORLD))
    wrong = [check for check in findings(TASK) if not check.works]
    assert [check.name for check in wrong] == ["seeds"]
    assert printed(f"wrong {wrong[0].name} {wrong[0].detail}")


@pytest.mark.slow
def test_declared_ferry_docks_and_is_learned_in(my_world: Path, tmp_path: Path) -> None:
    my_world.write_text(f"{WORLD}\n{DECLARATION}")
    assert printed(str(guess(TASK))) and all(check.works for check in findings(TASK))
    run = train_online(tiny(action_repeat=1), environment=TASK, output=tmp_path / "run")
    agent, carry = load(run), None
    with closing(registry.make(TASK, agent.environment)) as env:
        observation, _ = env.reset(seed=0)
        action, carry = agent.act(carry, observation, None, explore=False)
        assert env.action_space.contains(action)
        docked = []
        for _ in range(env.max_steps):
            east, north, *_, jetty, _ = observation["state"]
            to_jetty = np.array([jetty - east, 0.8 - north], np.float32)
            observation, _, _, _, info = env.step(np.clip(4 * to_jetty, -1, 1))
            docked.append(info["success"])
        assert not docked[0] and docked[-1]
