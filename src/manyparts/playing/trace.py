"""What happened in an episode, step by step, and how it becomes an episode of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.records import Episode, Observation
from manyparts.core.spec import TaskEntry
from manyparts.envs.base import Environment
from manyparts.envs.registry import has_own_instructions, instructions

Actor = Literal["agent", "hand"]
MAX_BYTES = 512 * 2**20  # of the images of an episode that is kept


@dataclass(frozen=True)
class Moment:
    """One step."""

    observation: Observation
    """Before the action."""
    action: np.ndarray
    """float32 (a,), as executed."""
    actor: Actor
    """Who chose the action."""
    reward: float
    """The reward of the environment's own task."""
    success: bool | None
    """Whether the environment's own task is solved after the action; None where nobody knows."""


@dataclass
class Trace:
    """The steps of an episode that can be saved."""

    moments: list[Moment] = field(default_factory=list)
    """All steps since the episode, or its instruction, began."""
    pushes: list[int] = field(default_factory=list)
    """Steps before which the scene was pushed."""
    cut: int = 0
    """Steps before the instruction changed in mid-episode, which are left out."""
    bytes: int = 0
    """Of all images."""

    def add(self, moment: Moment) -> None:
        """Keep a step."""
        self.moments.append(moment)
        self.bytes += sum(image.nbytes for image in moment.observation["images"].values())

    @property
    def is_full(self) -> bool:
        """Whether no more steps should be kept in memory."""
        return self.bytes > MAX_BYTES

    def ask_anew(self) -> None:
        """Leave out what was done under another instruction."""
        self.cut += len(self.moments)
        self.moments, self.pushes, self.bytes = [], [], 0

    def acted(self) -> list[tuple[Actor, int]]:
        """Return who acted, and for how many steps, one after the other."""
        actors: list[Actor] = [moment.actor for moment in self.moments]
        return [(actor, len(list(group))) for actor, group in groupby(actors)]

    def parts_by_hand(self) -> list[Trace]:
        """Return the stretches in which a person acted, each as a trace of its own."""
        parts, start = [], 0
        for actor, count in self.acted():
            end = start + count
            if actor == "hand":
                pushes = [push - start for push in self.pushes if start <= push < end]
                parts.append(Trace(self.moments[start:end], pushes, self.cut + start))
            start = end
        return parts

    def by_hand(self) -> bool:
        """Whether a person chose any action."""
        return any(moment.actor == "hand" for moment in self.moments)


@dataclass(frozen=True)
class Played:
    """An episode to be saved."""

    episode: Episode
    """Its steps."""
    entry: TaskEntry
    """The task of the dataset that it is of."""
    knows_success: bool
    """Whether somebody knows if it succeeded."""
    said_by: Literal["environment", "person"] | None
    """Who knows it."""
    acted: Sequence[tuple[Actor, int]]
    """Who acted, and for how many steps."""
    pushes: Sequence[int]
    """Steps before which the scene was pushed."""
    said: str
    """The instruction as it was given."""
    cut: int
    """Steps of the environment's episode before it, which are left out."""


def task_entry(env: Environment, said: str) -> TaskEntry:
    """Return the task of a dataset that an instruction asks for in an environment.

    It is the environment's own for each wording that its suite has; any other instruction is a task
    of its own, "suite/task#INSTRUCTION".

    Args:
        env: The environment.
        said: The instruction.
    """
    own = instructions(env.task)
    if not has_own_instructions(env.task) and is_own(env, said):
        return TaskEntry(env.task, own.instruction, own.paraphrases)
    return TaskEntry(f"{env.task}#{said}", said)


def is_own(env: Environment, said: str) -> bool:
    """Return whether an instruction asks for what the environment itself rewards.

    Args:
        env: The environment, in its episode.
        said: The instruction.
    """
    if has_own_instructions(env.task):
        return said == env.episode_instruction()
    own = instructions(env.task)
    return said in (own.instruction, *own.paraphrases, *own.held_out)


def parts_to_save(
    env: Environment,
    trace: Trace,
    *,
    seed: int,
    said: str,
    terminated: bool,
    success: bool | None,
    only_hand: bool,
) -> list[Played]:
    """Return what is saved of an episode: the whole, or what a person did in it.

    Args:
        env: See `played`.
        trace: See there.
        seed: See there.
        said: See there.
        terminated: See there.
        success: See there; of several parts only the last one did what was asked.
        only_hand: Whether each stretch in which a person acted becomes an episode of its own.

    Raises:
        UserError: See `played`; or a person did nothing.
    """
    parts = trace.parts_by_hand() if only_hand else [trace]
    if not parts:
        raise UserError("nothing to save: no step by hand since the episode began")
    saved = []
    for part in parts:
        is_last = part is parts[-1]
        ends_it = part.cut + len(part.moments) == trace.cut + len(trace.moments)
        verdict = success if is_last or success is None else False
        ended = terminated and ends_it
        saved.append(played(env, part, seed=seed, said=said, terminated=ended, success=verdict))
    return saved


def played(
    env: Environment,
    trace: Trace,
    *,
    seed: int,
    said: str,
    terminated: bool,
    success: bool | None,
) -> Played:
    """Return what is saved of an episode.

    Args:
        env: The environment, still in the episode.
        trace: The steps.
        seed: The environment's.
        said: The instruction that it was asked with last.
        terminated: Whether it ended for good.
        success: What a person says of it; None: nothing.

    Raises:
        UserError: There are no steps, or a person judges what the environment itself knows.
    """
    moments = trace.moments
    if not moments:
        raise UserError("nothing to save: no step since the episode or its instruction began")
    knows = env.knows_success and is_own(env, said)
    if knows and success is not None:
        raise UserError(f"{env.task} says itself whether it is solved; leave the verdict out")
    solved = np.array([bool(moment.success) for moment in moments])
    if not knows:
        solved[:] = False
        solved[-1] = bool(success)
    entry = task_entry(env, said)
    action = np.stack([moment.action for moment in moments]).astype(np.float32)
    cameras = env.embodiment_spec.cameras
    episode = Episode(
        task=entry.name,
        instruction=entry.instruction,
        seed=seed,
        images={
            name: np.stack([moment.observation["images"][name] for moment in moments])
            for name in cameras
        },
        state=np.stack([moment.observation["state"] for moment in moments]).astype(np.float32),
        action=action,
        expert_action=action,
        reward=np.array([moment.reward for moment in moments], np.float32),
        success=solved,
        terminated=terminated,
    )
    return Played(
        episode=episode,
        entry=entry,
        knows_success=knows or success is not None,
        said_by="environment" if knows else None if success is None else "person",
        acted=trace.acted(),
        pushes=tuple(trace.pushes),
        said=said,
        cut=trace.cut,
    )
