"""Suites of tasks that Gymnasium environments simulate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from manyparts.core.host.renderer import choose_backend
from manyparts.envs.base import EnvConfig, Instructions, Split, Suite
from manyparts.envs.gym.environment import GymEnvironment
from manyparts.envs.gym.guess import guess
from manyparts.envs.gym.task import GymTask


@dataclass(frozen=True)
class GymSuite(Suite):
    """A suite of declared tasks."""

    declared: Mapping[str, GymTask] = field(default_factory=dict)
    """Each task's name, without the suite's, to its declaration."""


def gym_suite(
    name: str,
    tasks: Mapping[str, GymTask],
    *,
    packages: tuple[str, ...] = (),
    extra: str = "",
    renderer: Callable[[], str] = choose_backend,
    many_embodiments: bool = False,
) -> GymSuite:
    """Return a suite of declared tasks, the `SUITE` of its file.

    Args:
        name: The suite's.
        tasks: Each task's name, without the suite's, to its declaration.
        packages: Packages that they need; their versions are recorded.
        extra: The extra of manyparts that installs them; "" if it is another distribution's task.
        renderer: Names what draws the images.
        many_embodiments: Whether tasks differ in their embodiment.
    """

    def make(task: str, config: EnvConfig, split: Split) -> GymEnvironment:
        return GymEnvironment(f"{name}/{task}", tasks[task], config, split)

    return GymSuite(
        make=make,
        instructions={task: _instructions(task, each) for task, each in tasks.items()},
        tasks=tuple(tasks),
        renderer=renderer,
        packages=packages,
        extra=extra,
        many_embodiments=many_embodiments,
        without_expert=tuple(task for task, each in tasks.items() if each.expert is None),
        own_instructions=tuple(task for task, each in tasks.items() if each.varies),
        declared=dict(tasks),
    )


def suite_by_id(name: str) -> GymSuite:
    """Return a suite of one task that is named by an environment's id.

    Args:
        name: The task's, "gym:[MODULE:]ID".

    Raises:
        UserError: See `guess`.
    """
    task = guess(name).task

    def make(_: str, config: EnvConfig, split: Split) -> GymEnvironment:
        return GymEnvironment(name, task, config, split)

    packages = (task.package.partition(".")[0],) if task.package else ()
    return GymSuite(
        make=make,
        instructions={name: _instructions(name, task)},
        tasks=(name,),
        renderer=lambda: "its own",
        packages=(*packages, "gymnasium"),
        without_expert=() if task.expert else (name,),
        own_instructions=(name,) if task.varies else (),
        declared={name: task},
    )


def _instructions(name: str, task: GymTask) -> Instructions:
    """A task's words; where each episode brings its own, words that stand for them in lists."""
    said = task.instruction
    text = said if isinstance(said, str) and not task.varies else f"{name}: as each episode says"
    return Instructions(text, task.paraphrases, task.held_out)
