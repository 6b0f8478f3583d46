"""What a server says of its agent to clients that ask."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manyparts.agents.base import Windowed
from manyparts.agents.loading import LearnedAgent
from manyparts.agents.viewed import ViewedAgent, unviewed
from manyparts.core.naming import NAME, VERSION
from manyparts.core.provenance import file_hash
from manyparts.core.spec import Spec, TaskEntry
from manyparts.models.checkpoint import load_info
from manyparts.models.run_files import weights_of

GOAL_IMAGE, DEMONSTRATION = "goal_image", "demonstration"


@dataclass(frozen=True)
class Description:
    """An agent as its clients have to know it."""

    spec: Spec
    """The robot's cameras, state and actions."""

    actions: int
    """Actions of an answer at most."""

    prompts: tuple[str, ...]
    """What it can be asked with; empty for an agent that takes no prompts."""

    tasks: tuple[TaskEntry, ...]
    """What it was trained on."""

    environment: Mapping[str, Any]
    """The settings of the environment that it was trained in, as JSON values."""

    weights: str | None
    """A hash of its weights."""

    max_change: float | None = None
    """How far a number of an action may move; see `safety.Guard`."""

    @classmethod
    def of(
        cls, agent: LearnedAgent, actions: int | None, max_change: float | None = None
    ) -> Description:
        """Describe an agent.

        Args:
            agent: A loaded one.
            actions: Actions of an answer at most; None: as many as it plans at once.
            max_change: How far a number of an action may move; None: as far as it likes.
        """
        learned = unviewed(agent)
        window = learned.window if isinstance(learned, Windowed) else None
        planned = 1 if window is None else window.chunk
        if isinstance(agent, ViewedAgent):
            source = agent.seen_as.source
            # Where each action starts from the robot's state, it waits for the next observation.
            planned = (1 if source.needs_state else planned) * source.view.every
        prompts: list[str] = []
        if agent.prompted and window is not None:
            shown = {GOAL_IMAGE: window.goal_image, DEMONSTRATION: window.demonstration_frames}
            prompts = ["instruction", *(name for name, taken in shown.items() if taken)]
        tasks: Sequence[TaskEntry] = ()
        weights = None
        if agent.origin is not None:
            weights = file_hash(weights_of(agent.origin.checkpoint))
            info = load_info(agent.origin.checkpoint)
            name = unviewed(agent).spec.embodiment
            tasks = [
                task
                for embodiment in info.trained
                if embodiment.spec.embodiment == name
                for task in embodiment.tasks
            ]
        count = planned if actions is None else min(actions, planned)
        environment = json.loads(json.dumps(dict(agent.environment)))
        return cls(
            agent.spec, count, tuple(prompts), tuple(tasks), environment, weights, max_change
        )

    def for_openpi(self) -> dict[str, Any]:
        """The first message of openpi's protocol: plain values, and texts as keys."""
        return {
            "protocol": "openpi",
            "server": f"{NAME} {VERSION}",
            "embodiment": self.spec.embodiment,
            "cameras": {name: list(size) for name, size in self.spec.cameras.items()},
            "state": list(self.spec.state_names),
            "action": self.spec.action.to_dict(),
            "chunk": self.actions,
            "max_change": self.max_change,
            "prompts": list(self.prompts),
            "environment": dict(self.environment),
            "weights": self.weights,
            "tasks": [{"name": task.name, "instruction": task.instruction} for task in self.tasks],
        }

    def for_vla_eval(self) -> dict[str, Any]:
        """The payload of vla-eval's hello."""
        contract = self.spec.action
        action = _dimensions("action", contract.dimension, contract.representation)
        action["range"] = [min(contract.low), max(contract.high)]
        observed: dict[str, Mapping[str, Any]] = {
            name: _dimensions(name, 0, "rgb_hwc_uint8") for name in self.spec.cameras
        }
        if self.spec.state_names:
            observed["state"] = _dimensions("state", self.spec.state_dimension, "raw")
        if self.prompts:
            observed["language"] = _dimensions("language", 0, "language")
        return {
            "harness_version": VERSION,
            "protocol_version": 1,
            "model_server": NAME,
            "capabilities": {},
            "action_spec": {"action": action},
            "observation_spec": observed,
        }


def _dimensions(name: str, count: int, format: str) -> dict[str, Any]:
    """A specification in the form of vla-eval's `DimSpec.to_dict`."""
    return {"name": name, "dims": count, "format": format}
