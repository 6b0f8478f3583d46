"""The environments of a caller, by their tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium

from manyparts.core.errors import UserError
from manyparts.envs.base import Environment


def environments_by_task(env: Any) -> dict[str, Environment]:
    """The environments by their tasks, of one or of several.

    Raises:
        UserError: something else, none at all, or two of the same task.
    """
    environments: list[Any] = [env]
    if isinstance(env, Iterable) and not isinstance(env, gymnasium.Env | str):
        environments = list(env)
    by_task: dict[str, Environment] = {}
    for each in environments:
        _require_environment(each)
        if each.task in by_task:
            raise UserError(f"env holds two environments of {each.task}; pass one for each task")
        by_task[each.task] = each
    if not by_task:
        raise UserError("env is empty; pass an environment, or tasks by name")
    return by_task


def _require_environment(env: Any) -> None:
    """Raises UserError for anything but an environment of this library, and says what to do."""
    if isinstance(env, Environment):
        return
    if isinstance(env, str):
        raise UserError(f"env is {env!r}; name tasks with tasks={env!r}, or pass make({env!r})")
    if isinstance(env, gymnasium.Wrapper) and isinstance(env.unwrapped, Environment):
        raise UserError(
            f"env is wrapped in {type(env).__name__}, which hides what evaluation needs; pass "
            "env.unwrapped"
        )
    advice = (
        "expected a manyparts.Environment, as make() returns or a subclass of yours is. A "
        "Gymnasium environment is evaluated by its id, tasks='gym:MODULE:ID', any other by a loop "
        "of your own: agent.act(carry, observation, prompt, explore=False), then env.step(action)"
    )
    if isinstance(env, gymnasium.Env):
        raise UserError(
            f"env is a {type(env).__name__} with observations {env.observation_space}; {advice}"
        )
    raise UserError(f"env is of type {type(env).__name__}; {advice}")
