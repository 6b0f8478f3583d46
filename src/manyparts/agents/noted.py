"""What teachers make of steps that another agent takes, so that a replay can hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manyparts.agents.base import Agent, Described
from manyparts.agents.checks import image_of, state_of
from manyparts.core.records import Episode, Observation, Prompt
from manyparts.embodiment.codec import Codec, padded
from manyparts.models.dynamics.latent_world import LatentWorld
from manyparts.models.dynamics.taught_world import TaughtWorld
from manyparts.models.dynamics.teachers import SURPRISE, TAUGHT, Taught

_MAX_SURPRISE = 60_000.0  # nats


class Reader:
    """Observations as a latent world reads them.

    Args:
        model: The world.
        codec: Of the embodiment.
        device: The model's.
    """

    def __init__(self, model: LatentWorld, codec: Codec, device: torch.device) -> None:
        self.model, self.codec, self.device = model, codec, device
        self._slots = [
            (name, slot)
            for name, slot in model.embodiments.slot_of(codec.spec).items()
            if slot in model.cameras
        ]

    def images(self, observation: Observation | None) -> dict[str, Tensor]:
        """Slot to its image, uint8 (1, c, h, w)."""
        cameras = self.codec.spec.cameras
        return {
            slot: self.tensor(image_of(observation, name, cameras[name])).permute(2, 0, 1)[None]
            for name, slot in self._slots
        }

    def state(self, observation: Observation | None) -> Tensor:
        """The normalised state (1, s); (1, 0) for a world of images."""
        if not self.model.state_dimension:
            return torch.zeros(1, 0, device=self.device)
        return self.tensor(state_of(observation, self.codec))[None]

    def action(self, action: np.ndarray) -> Tensor:
        """An action of the contract's units as (1, a), padded to the model's dimension."""
        own = self.tensor(self.codec.encode_action(np.asarray(action, np.float32)))[None]
        return padded(own, self.model.action_dimension)

    def tensor(self, array: np.ndarray) -> Tensor:
        """An array on the model's device; torch reads no negative strides."""
        if not (array.flags.c_contiguous and array.flags.writeable):
            array = np.require(array, requirements=["C", "W"])
        return torch.from_numpy(array).to(self.device)


@dataclass(frozen=True)
class NotedCarry:
    """The memory of a `NotedAgent`."""

    inner: Any
    """That of the agent who acts."""

    taught: Taught
    """What the teachers made of the last observation."""

    action: np.ndarray
    """The last action."""


class NotedAgent(Described):
    """Another agent, with teachers who watch.

    Args:
        agent: Acts.
        model: Has the teachers.
        reader: Of observations.
    """

    def __init__(self, agent: Agent, model: TaughtWorld, reader: Reader) -> None:
        self.agent, self.model, self.reader, self.spec = agent, model, reader, agent.spec
        self.prompted = agent.prompted

    def needs_observation(self, carry: NotedCarry | None) -> bool:
        """Return True: teachers see every step."""
        return True

    def act(
        self,
        carry: NotedCarry | None,
        observation: Observation | None,
        prompt: Prompt | None,
        *,
        explore: bool,
    ) -> tuple[np.ndarray, NotedCarry]:
        """See `agents.base.Agent`."""
        inner = None if carry is None else carry.inner
        action, inner = self.agent.act(inner, observation, prompt, explore=explore)
        taught = self.model.teachers.observe(
            None if carry is None else carry.taught,
            None if carry is None else self.reader.action(carry.action),
            self.reader.images(observation),
            self.reader.state(observation),
        )
        return action, NotedCarry(inner, taught, action)

    def notes(self, carry: NotedCarry) -> dict[str, np.ndarray]:
        """See `LatentAgent.notes`."""
        return notes_of(carry.taught)


def notes_of(taught: Taught) -> dict[str, np.ndarray]:
    """What a replay holds of a step: the teachers' features (k, f), and their surprise (k,)."""
    return {
        TAUGHT: taught.features[0].cpu().numpy(),
        # In half precision, where a step that nobody could foresee would be infinite.
        SURPRISE: taught.surprise[0].clamp(max=_MAX_SURPRISE).cpu().numpy(),
    }


def shapes_of(model: TaughtWorld) -> dict[str, tuple[int, ...]]:
    """The shapes of `notes_of`, by name."""
    count = len(model.teachers)
    return {TAUGHT: (count, model.teachers.features), SURPRISE: (count,)}


def noted(episode: Episode, model: TaughtWorld, reader: Reader) -> Mapping[str, np.ndarray]:
    """What teachers make of a recorded episode.

    Args:
        episode: Of T steps.
        model: Has the teachers.
        reader: Of observations.

    Returns:
        The notes of all steps, (T, ...) by name.
    """
    taught, notes = None, []
    for step in range(len(episode)):
        observation: Observation = {
            "images": {name: frames[step] for name, frames in episode.images.items()},
            "state": episode.state[step],
        }
        before = None if taught is None else reader.action(episode.action[step - 1])
        taught = model.teachers.observe(
            taught, before, reader.images(observation), reader.state(observation)
        )
        notes.append(notes_of(taught))
    return {name: np.stack([each[name] for each in notes]) for name in notes[0]}
