"""From what a command names to what there is to play with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from manyparts.agents.base import Agent, Windowed
from manyparts.agents.expert import ExpertAgent
from manyparts.agents.for_environment import agent_for
from manyparts.agents.random import RandomAgent
from manyparts.agents.viewed import unviewed
from manyparts.core.errors import UserError
from manyparts.core.naming import NAME, VERSION
from manyparts.core.provenance import code_commit
from manyparts.core.randomness import derive_seed
from manyparts.core.records import Precision
from manyparts.core.serialisation import to_jsonable
from manyparts.core.spec import Spec
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.config import WindowConfig
from manyparts.envs import registry
from manyparts.envs.base import NO_CAMERA, EnvConfig, Environment, Split
from manyparts.envs.gym.preflight import preflight
from manyparts.evaluation.conditions import environments_of, trained_tasks
from manyparts.models.checkpoint import load_info
from manyparts.models.run_files import resolve
from manyparts.planners import PlannerConfig
from manyparts.playing.cast import Cast
from manyparts.playing.recording import Recorder
from manyparts.rollout.environments import settings_of
from manyparts.serving.description import Description

HAND, EXPERT, RANDOM = "hand", "expert", "random"
LEARNED_NOTHING = (HAND, EXPERT, RANDOM)
_CHIPS = 60  # instructions that a page offers


@dataclass(frozen=True)
class Wanted:
    """What a command asks for."""

    name: str
    """A run's folder or name, or one of `LEARNED_NOTHING`."""

    tasks: Sequence[str] = ()
    """Tasks or splits; empty: those that the agent was trained on."""

    config: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the EnvConfig that were chosen."""

    split: Split | None = None
    """The split of goals; None: training if episodes are saved, else evaluation."""

    output: Path | None = None
    """Where episodes are saved."""

    data: Path | None = None
    """Episodes that can be shown to the agent."""

    device: str = "cpu"
    """Where the agent runs."""

    precision: Precision = "fp32"
    """Number format in which it computes."""

    planner: PlannerConfig | None = None
    """What a dynamics model acts with."""

    command: str = ""
    """What was typed."""


def cast_of(wanted: Wanted) -> tuple[Cast, list[Spec]]:
    """Return what there is to play with, and the robot of the first task of each kind.

    Raises:
        UserError: There is no such run, task or dataset, or they do not fit each other.
    """
    split: Split = wanted.split or ("evaluation" if wanted.output is None else "train")
    learned = wanted.name not in LEARNED_NOTHING or Path(wanted.name).exists()
    cast = _of_run(wanted, split) if learned else _of_word(wanted, split)
    preflight(cast.tasks)
    specs = _specs(cast)
    if wanted.data is not None:
        cast.demonstrations = _demonstrations(wanted.data, cast)
    if wanted.output is not None:
        facts = {"agent": wanted.name, "split": split, "command": wanted.command}
        facts |= {"recorded_with": f"{NAME} {VERSION}, commit {code_commit()}"}
        facts |= {"versions": _versions(cast.tasks)}
        cast.recorder = Recorder(wanted.output, facts, specs, cast.config_of(cast.tasks[0]))
    return cast, specs


def _of_word(wanted: Wanted, split: Split) -> Cast:
    """What there is to play with where nobody learned anything."""
    name = wanted.name
    if not wanted.tasks:
        raise UserError(
            f"{name} is no run, so it needs --tasks, such as pointmass/reach; `manyparts list "
            "tasks` shows all"
        )
    if wanted.planner is not None:
        raise UserError(f"{name} learned nothing, so --planner is not for it")
    if wanted.data is not None:
        raise UserError(f"--data is shown to an agent, and {name} takes no prompts")
    if (wanted.device, wanted.precision) != ("cpu", "fp32"):
        raise UserError(f"{name} computes nothing, so --device and --precision are not for it")
    tasks = registry.expand(wanted.tasks)
    if name == EXPERT:
        registry.require_expert(tasks)
    agents = {HAND: None, EXPERT: _expert, RANDOM: _random}
    config = EnvConfig.of(wanted.config)
    configs = {registry.suite_of(task): config for task in tasks}
    return Cast(name, tasks, configs, split, agents[name], command=wanted.command)


def _expert(env: Environment, seed: int) -> Agent:
    return ExpertAgent(env)


def _random(env: Environment, seed: int) -> Agent:
    return RandomAgent(env.embodiment_spec, seed=derive_seed("act", seed))


def _of_run(wanted: Wanted, split: Split) -> Cast:
    """What there is to play with an agent that learned."""
    checkpoint = resolve(wanted.name)
    info = load_info(checkpoint)
    tasks = registry.expand(wanted.tasks or trained_tasks(info, wanted.name))
    trained = environments_of(info, tasks)
    configs = {name: _chosen(config, wanted) for name, config in trained.items()}

    def agent_of(env: Environment, seed: int) -> Agent:
        return agent_for(
            checkpoint,
            env,
            seed,
            device=wanted.device,
            precision=wanted.precision,
            planner=wanted.planner,
        )

    with closing(registry.make(tasks[0], settings_of(configs, tasks[0]), split=split)) as env:
        agent = agent_for(
            checkpoint,
            env,
            0,
            device=wanted.device,
            precision=wanted.precision,
            planner=wanted.planner,
        )
    description = Description.of(agent, None)
    inside = unviewed(agent)
    window = inside.window if isinstance(inside, Windowed) else WindowConfig()
    said = dict.fromkeys(task.instruction for task in description.tasks)
    return Cast(
        name=wanted.name,
        tasks=tasks,
        configs=configs,
        whole=trained,
        split=split,
        agent_of=agent_of,
        prompts=description.prompts,
        instructions=list(said)[:_CHIPS],
        window=window,
        command=wanted.command,
    )


def _chosen(seen: EnvConfig, wanted: Wanted) -> EnvConfig:
    """How a suite is shown: as the agent saw it, unless flags say otherwise.

    Episodes that are saved have images, also those of an agent of states alone.
    """
    if wanted.output is not None and seen.cameras == (NO_CAMERA,):
        seen = replace(seen, cameras=())
    return EnvConfig.of(to_jsonable(seen) | dict(wanted.config))


def _specs(cast: Cast) -> list[Spec]:
    """The robots of the tasks; each is made once, so that what is wrong is said before a page."""
    specs = []
    for task in registry.one_task_per_embodiment(cast.tasks):
        with closing(cast.made(task)) as env:
            specs.append(env.embodiment_spec)
    return specs


def _demonstrations(path: Path, cast: Cast) -> EpisodeDataset:
    if "demonstration" not in cast.prompts:
        raise UserError(f"--data is for demonstrations, and {cast.name} was not trained with any")
    return EpisodeDataset.open(path)


def _versions(tasks: Sequence[str]) -> dict[str, Any]:
    suites = dict.fromkeys(registry.suite_of(task) for task in tasks)
    return {suite: registry.versions(suite) for suite in suites}
