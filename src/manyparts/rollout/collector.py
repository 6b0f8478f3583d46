"""An agent that acts, decision by decision, while it is trained: episodes for a replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from manyparts.agents.base import Agent
from manyparts.core.errors import UserError
from manyparts.core.randomness import derive_seed
from manyparts.core.records import Episode, Prompt
from manyparts.data.sampling.replay import Replay, require_finite
from manyparts.envs.base import Environment
from manyparts.envs.registry import said_in


@runtime_checkable
class Noting(Protocol):
    """An agent that says what a replay is to hold of a step besides what is always recorded."""

    def notes(self, carry: Any) -> Mapping[str, np.ndarray]:
        """Return arrays by name. carry: what `act` returned."""
        ...


@dataclass
class RunningEpisode:
    """An episode under way: what was seen and done so far."""

    number: int
    """Its number among all that began."""

    seed: int
    """The environment's reset seed."""

    agent: Agent | None = None
    """Who acts; None until the next decision, such as after a resume."""

    noting: Noting | None = None
    """The same agent, if it notes anything."""

    prompt: Prompt | None = None
    """The task's instruction, for an agent that reads prompts."""

    carry: Any = None
    """The agent's memory."""

    state: list[np.ndarray] = field(default_factory=list)
    """States (s,), one per decision."""

    images: list[Mapping[str, np.ndarray]] = field(default_factory=list)
    """Camera to image, one per decision."""

    action: list[np.ndarray] = field(default_factory=list)
    """Actions (a,), one per decision."""

    reward: list[float] = field(default_factory=list)
    """The sum of rewards of each decision."""

    success: list[bool] = field(default_factory=list)
    """Whether the task was solved after each decision."""

    notes: list[Mapping[str, np.ndarray]] = field(default_factory=list)
    """What the agent noted at each decision, by name."""

    def finished(self, task: str, instruction: str, *, terminated: bool) -> Episode:
        """The whole episode.

        Args:
            task: "suite/task".
            instruction: What was asked for.
            terminated: Whether it ended for good, and was not only cut off.
        """
        action = np.stack(self.action).astype(np.float32)
        return Episode(
            task=task,
            instruction=instruction,
            seed=self.seed,
            images={
                name: np.stack([images[name] for images in self.images]) for name in self.images[0]
            },
            state=np.stack(self.state).astype(np.float32),
            action=action,
            expert_action=action,
            reward=np.asarray(self.reward, np.float32),
            success=np.asarray(self.success, bool),
            terminated=terminated,
        )


class Collector:
    """Lets an agent act in environments in turn, and adds whole episodes to a replay.

    Episode n is a pure function of (seed, n) and of the agents that acted, so that a run that was
    killed goes on to the bit.

    Args:
        environments: Of one task, each for itself.
        replay: Where finished episodes go.
        seed: The seed that those of episodes are derived from.

    Attributes:
        environment_steps: Steps of all environments so far.
        running: The episode of each environment.
        began: How many episodes have begun.
        turn: The number of the environment that acts next.
    """

    def __init__(self, environments: Sequence[Environment], replay: Replay, *, seed: int) -> None:
        self.environments, self.replay, self.seed = tuple(environments), replay, seed
        self.environment_steps = self.began = self.turn = 0
        self.running: list[RunningEpisode | None] = [None] * len(self.environments)

    def until(self, environment_steps: int, agent_of: Callable[[int], Agent]) -> None:
        """Act until so many steps were taken in all environments together.

        Args:
            environment_steps: Steps since the beginning.
            agent_of: From an episode's seed to the agent that acts in it.

        Raises:
            UserError: An environment fails; the message names the step. Finished episodes stay.
        """
        while self.environment_steps < environment_steps:
            self._decide(self.turn, agent_of)
            self.turn = (self.turn + 1) % len(self.environments)

    def whole_episodes(self, environment_steps: int, agent_of: Callable[[int], Agent]) -> None:
        """As `until`, and then let every episode end that has begun."""
        self.until(environment_steps, agent_of)
        for number in range(len(self.environments)):
            while self.running[number] is not None:
                self._decide(number, agent_of)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values that `restore` goes on from: counts, and episodes under way."""
        return {
            "environment_steps": self.environment_steps,
            "began": self.began,
            "turn": self.turn,
            "episodes": self.replay.num_added,
            "running": [running and _plain(running) for running in self.running],
        }

    def restore(
        self, state: Mapping[str, Any], carry_of: Callable[[Mapping[str, Any]], Any]
    ) -> None:
        """Go on from `state`.

        The replay is cut back to that moment, and each environment is brought to where its running
        episode is, by its recorded actions. An environment that does not reproduce begins another
        episode.

        Args:
            state: Of `state`.
            carry_of: From plain values to the memory of the agent that acts.
        """
        self.replay.truncate(state["episodes"])
        self.environment_steps, self.began = state["environment_steps"], state["began"]
        self.turn = state.get("turn", 0)  # earlier versions did not save it
        self.running = [values and _running(values, carry_of) for values in state["running"]]
        for number, env in enumerate(self.environments):
            if not env.reproduces:  # nothing leads back to where its episode was
                self.running[number] = None
            running = self.running[number]
            if running is None:
                continue
            env.begin(running.seed)
            ended = cut = False
            for action in running.action:
                _, ended, cut, _ = env.advance(action)
            if ended or cut:  # and could not be written, such as to a full disk
                self._finish(number, running, terminated=ended)

    def _decide(self, number: int, agent_of: Callable[[int], Agent]) -> None:
        """Take one decision in an environment."""
        env, running = self.environments[number], self.running[number]
        try:
            if running is None:
                seed = derive_seed("online", self.seed, self.began)
                running = self.running[number] = RunningEpisode(self.began, seed)
                self.began += 1
                env.begin(seed)
            if running.agent is None:
                running.agent = agent_of(running.seed)
                # Asked once per episode: to check a protocol takes as long as a small layer.
                keeps = bool(self.replay.recorded)
                running.noting = (
                    running.agent if keeps and isinstance(running.agent, Noting) else None
                )
                if running.agent.prompted:
                    running.prompt = Prompt(said_in(env))
            agent, noting = running.agent, running.noting
            observation = env.observe()
            _require_finite(env, running, "state", observation["state"])
            action, carry = agent.act(running.carry, observation, running.prompt, explore=True)
            before = env.elapsed
            reward, ended, cut, info = env.advance(action)
            _require_finite(env, running, "reward", np.float32(reward))
        except UserError:
            raise
        except Exception as error:  # whatever a simulator raises
            step = 0 if running is None else len(running.action)
            raise UserError(
                f"{env.task} failed at step {step} of an episode: {type(error).__name__}: {error}"
            ) from error
        running.carry = carry
        running.state.append(observation["state"])
        running.images.append(observation["images"])
        running.action.append(env.embodiment_spec.action.executed(np.asarray(action)))
        running.reward.append(float(reward))
        running.success.append(bool(info["success"]))  # False where nobody knows
        running.notes.append({} if noting is None else noting.notes(carry))
        self.environment_steps += env.elapsed - before
        if ended or cut:
            self._finish(number, running, terminated=ended)

    def _finish(self, number: int, running: RunningEpisode, *, terminated: bool) -> None:
        """Add the episode of an environment to the replay."""
        env = self.environments[number]
        episode = running.finished(env.task, said_in(env), terminated=terminated)
        self.replay.add(episode, recorded=_stacked(running.notes))
        self.running[number] = None


def _require_finite(env: Environment, running: RunningEpisode, kind: str, values: Any) -> None:
    """Raise UserError for a number of this step that is not finite. The episode is as it was before
    the step, from where a run can go on."""
    names = (kind,) if kind == "reward" else env.embodiment_spec.state_names
    step = len(running.action)
    require_finite(env.task, running.seed, kind, np.reshape(values, (1, -1)), names, first=step)


def _plain(running: RunningEpisode) -> dict[str, Any]:
    """An episode under way as tensors and plain values."""
    images = {
        name: torch.from_numpy(np.stack([images[name] for images in running.images]))
        for name in (running.images[0] if running.images else {})
    }
    return {
        "number": running.number,
        "seed": running.seed,
        "carry": running.carry and running.carry.to_plain(),
        "state": [torch.from_numpy(np.array(state)) for state in running.state],
        "images": images,
        "action": [torch.from_numpy(np.array(action)) for action in running.action],
        "reward": list(running.reward),
        "success": list(running.success),
        "notes": {name: torch.from_numpy(rows) for name, rows in _stacked(running.notes).items()},
    }


def _running(
    values: Mapping[str, Any], carry_of: Callable[[Mapping[str, Any]], Any]
) -> RunningEpisode:
    """The inverse of `_plain`."""
    count = len(values["action"])
    return RunningEpisode(
        number=values["number"],
        seed=values["seed"],
        carry=values["carry"] and carry_of(values["carry"]),
        state=[state.numpy() for state in values["state"]],
        images=[
            {name: frames[step].numpy() for name, frames in values["images"].items()}
            for step in range(count)
        ],
        action=[action.numpy() for action in values["action"]],
        reward=list(values["reward"]),
        success=list(values["success"]),
        notes=[
            {name: rows[step].numpy() for name, rows in values["notes"].items()}
            for step in range(count)
        ],
    )


def _stacked(notes: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What was noted at all steps, (T, ...) by name."""
    names = notes[0] if notes else ()
    return {name: np.stack([each[name] for each in notes]) for name in names}
