"""Where a planner thinks that its plans lead."""

from __future__ import annotations

from typing import Any

import numpy as np

from manyparts.agents.base import Agent
from manyparts.agents.planning import Carry, MpcAgent
from manyparts.agents.viewed import Carry as ViewedCarry
from manyparts.agents.viewed import ViewedAgent, unviewed
from manyparts.envs.base import Environment
from manyparts.envs.offers import Locating

_TRIED = 24  # plans that are shown besides the chosen one


def plans(agent: Agent | None) -> bool:
    """Return whether an agent plans in a model that has states to show."""
    return isinstance(agent, MpcAgent | ViewedAgent) and isinstance(unviewed(agent), MpcAgent)


def imagined_paths(
    env: Environment, agent: Agent, before: Any, carry: Any
) -> dict[str, Any] | None:
    """Return the paths of a plan and of plans that were tried, as JSON values.

    Args:
        env: Where the agent acts.
        agent: Who acts.
        before: Its memory before the last decision.
        carry: Its memory after it.

    Returns:
        `names` of two numbers of the state, where they are now (`here`), under the plan (`plan`)
        and under others (`tried`). `located` has the same within the picture, from 0 to 1, if the
        environment knows where states are. None if the agent has no plan.
    """
    seen_through_view = isinstance(agent, ViewedAgent)
    inside = unviewed(agent) if isinstance(agent, MpcAgent | ViewedAgent) else None
    before, carry = _inner(before), _inner(carry)
    if not isinstance(inside, MpcAgent) or not isinstance(carry, Carry):
        return None
    imagined = inside.imagined(before, carry, _TRIED)
    names = inside.spec.state_names
    axes = [0, 1] if len(names) > 1 else [0, 0]
    paths: dict[str, Any] = {
        "names": [names[axis] for axis in axes],
        "plan": _rounded(imagined.plan[:, axes]),
        "tried": [_rounded(path[:, axes]) for path in imagined.tried],
    }
    if not seen_through_view:
        state = env.observe()["state"]
        paths["here"] = _rounded(state[axes])
        if isinstance(env, Locating):
            paths["located"] = {
                "plan": _rounded(env.locate(np.vstack([state, imagined.plan]))),
                "tried": [
                    _rounded(env.locate(np.vstack([state, path]))) for path in imagined.tried
                ],
            }
    else:
        paths["here"] = paths["plan"][0]
    return paths


def _inner(carry: Any) -> Any:
    return carry.inner if isinstance(carry, ViewedCarry) else carry


def _rounded(values: np.ndarray) -> list[Any]:
    return np.round(values.astype(np.float64), 4).tolist()
