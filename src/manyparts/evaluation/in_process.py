"""Evaluation on environments that the caller made, in the caller's process."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from manyparts.agents.base import Agent
from manyparts.agents.exported import ExportedAgent
from manyparts.agents.for_environment import learned_embodiment, seeded
from manyparts.agents.loading import device_for, load, origin_of, require_fitting_planner
from manyparts.agents.policy import PolicyAgent
from manyparts.agents.viewed import seen_as, unviewed
from manyparts.core.errors import UserError
from manyparts.core.provenance import file_hash, package_versions
from manyparts.core.records import Precision, Prompt
from manyparts.core.serialisation import to_jsonable
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig, Environment, Instructions
from manyparts.evaluation.conditions import (
    delay,
    origin_of_agent,
    origin_without_training,
    planner_and_plugins,
    require_trained_on,
    shared_value,
)
from manyparts.evaluation.episode_prompts import episode_prompt
from manyparts.evaluation.episodes import (
    EvaluationJob,
    episode_seed,
    play,
)
from manyparts.evaluation.own_environments import environments_by_task
from manyparts.evaluation.prompt_kinds import OTHER_SCENES, is_instruction
from manyparts.evaluation.record import EpisodeRecord
from manyparts.evaluation.results import Result
from manyparts.evaluation.results_folder import results_in
from manyparts.evaluation.schedule import NextJob, Work, run_missing
from manyparts.models.checkpoint import CheckpointInfo, load_info
from manyparts.models.run_files import weights_of
from manyparts.planners import PlannerConfig


@dataclass(frozen=True)
class Settings:
    """What episodes on the caller's environments share; see `evaluate`."""

    episodes: int
    """Episodes per environment."""

    seed: int
    """Seed of the goals."""

    videos: int
    """Successes per environment that are filmed, and failures as many."""

    prompts: str
    """A kind of prompt, or the instruction itself."""

    max_steps: int | None
    """Steps per episode; None: the environment's own horizon."""

    until_success: bool
    """Whether an episode ends with its first solved step."""

    control_delay: int = 0
    """Steps from an observation to the first action that was decided from it."""


@dataclass(frozen=True)
class _Evaluated:
    """Who acts in each environment, and what is recorded of it.

    Attributes:
        agents: by the environment's task.
        info: the checkpoint's description; None for an agent that was loaded from no folder.
        provenance: where the agent comes from, as JSON values.
        device: where it runs.
        precision: number format in which it computes.
        planner: what a dynamics model acts with.
    """

    agents: Mapping[str, Agent]
    info: CheckpointInfo | None
    provenance: Mapping[str, Any]
    device: str = "cpu"
    precision: Precision = "fp32"
    planner: PlannerConfig | None = None


def evaluate_in_process(
    run: Any,
    env: Environment | Sequence[Environment],
    settings: Settings,
    *,
    output: Path | None,
    overwrite: bool,
    device: str | None,
    precision: Precision | None,
    planner: PlannerConfig | None,
) -> Result:
    """What `evaluate` does for `env`. Results are saved only where `output` says so.

    Args:
        run: a run's folder, or an agent.
        env: an environment, or several of different tasks.
        settings: what all episodes share.
        output: folder for results and videos; None: nothing is written.
        overwrite: whether earlier results in `output` may be replaced.
        device: see `evaluate`; None for an agent, as are the next two.
        precision: see `evaluate`.
        planner: see `evaluate`.

    Raises:
        UserError: see `evaluate`; also for objects that are no environments of this library.
    """
    environments = environments_by_task(env)
    for task, each in environments.items():
        if settings.max_steps is not None and settings.max_steps > each.horizon:
            raise UserError(
                f"max_steps is {settings.max_steps}, and episodes of {task} end after "
                f"{each.horizon} steps; make it with more"
            )
    if settings.videos and output is None:
        raise UserError(f"videos is {settings.videos}, and there is no output folder to keep them")
    if isinstance(run, str | Path):
        evaluated = _loaded(Path(run), environments, device, precision, planner)
    else:
        evaluated = _of_agent(run, environments, (device, precision, planner))
    wording = _wording(environments, evaluated, settings.prompts)
    conditions = _conditions(environments, evaluated, settings)
    shows_attention = any(
        isinstance(unviewed(each), PolicyAgent) for each in evaluated.agents.values()
    )
    work = Work(tuple(environments), settings.episodes, settings.videos, shows_attention)

    def run_jobs(next_job: NextJob) -> Generator[tuple[EvaluationJob, EpisodeRecord], None, None]:
        while (job := next_job(0)) is not None:
            environment, agent = environments[job.task], evaluated.agents[job.task]
            yield job, _run_episode(job, environment, agent, wording.get(job.task), settings)

    with _folder(output, conditions, overwrite=overwrite) as folder:
        records = run_missing(folder, work, run_jobs)
        asked_for = {"tasks": list(environments), "episodes": settings.episodes}
        result = Result(tuple(records), {**conditions, **evaluated.provenance, **asked_for})
        if output is not None:
            result.save(folder)
    return result


def _loaded(
    path: Path,
    environments: Mapping[str, Environment],
    device: str | None,
    precision: Precision | None,
    planner: PlannerConfig | None,
) -> _Evaluated:
    """The agent of a folder, loaded once for each embodiment of the environments."""
    origin = origin_of(path, device, precision, planner)
    info = load_info(origin.checkpoint)
    require_fitting_planner(origin.run, info, planner)
    chosen = device_for(origin.checkpoint, origin.device)
    embodiments = {task: learned_embodiment(info, env) for task, env in environments.items()}
    by_embodiment = {
        name: load(
            origin.checkpoint,
            chosen,
            embodiment=name,
            precision=origin.precision,
            planner=planner,
        )
        for name in set(embodiments.values())
    }
    agents = {task: by_embodiment[name] for task, name in embodiments.items()}
    provenance = _weights(origin.checkpoint) | origin_of_agent(origin.checkpoint, info)
    return _Evaluated(agents, info, provenance, chosen, origin.precision, planner)


def _of_agent(
    agent: Any, environments: Mapping[str, Environment], settings: tuple[Any, ...]
) -> _Evaluated:
    """An agent that is there already.

    Args:
        agent: the agent.
        environments: by task.
        settings: device, precision and planner, which must be None.
    """
    if not isinstance(agent, Agent):
        raise UserError(
            f"run is of type {type(agent).__name__}; expected a run's folder, an agent of load(), "
            "or one of your own with spec, prompted, needs_observation() and act()"
        )
    if any(setting is not None for setting in settings):
        raise UserError(
            "device, precision and planner are settings of load(); pass them there, or pass the "
            "run's folder instead of its agent"
        )
    inside = EmbodimentSet((unviewed(agent).spec,))
    learned = EmbodimentSet((agent.spec,))
    for task, env in environments.items():
        if not env.embodiment_spec.differences(inside.specs[0]):
            continue
        learned.index(env.embodiment_spec, f"{task} has another embodiment than the agent")
    agents = dict.fromkeys(environments, agent)
    origin = getattr(agent, "origin", None)
    if origin is None:
        name = f"{type(agent).__module__}.{type(agent).__qualname__}"
        return _Evaluated(agents, None, {"agent_class": name} | origin_without_training())
    info = load_info(origin.checkpoint)
    provenance = _weights(origin.checkpoint) | origin_of_agent(origin.checkpoint, info)
    return _Evaluated(agents, info, provenance, origin.device, origin.precision, origin.planner)


def _weights(checkpoint: Path) -> dict[str, str]:
    return {"weights": file_hash(weights_of(checkpoint))}


def _wording(
    environments: Mapping[str, Environment], evaluated: _Evaluated, prompts: str
) -> dict[str, Instructions]:
    """How each task is put into words, where prompts need it.

    Raises:
        UserError: nothing says how, or the prompts do not fit the agent or the environments.
    """
    if not any(agent.prompted for agent in evaluated.agents.values()):
        return {}
    if evaluated.info is not None:
        checkpoint = evaluated.provenance["checkpoint"]
        require_trained_on(prompts, checkpoint, evaluated.info, None)
    if is_instruction(prompts):
        return {}
    wordings = {task: _instructions(task, evaluated.info) for task in environments}
    for task, wording in wordings.items():
        if wording is None and any(part in prompts for part in ("instruction", "held_out")):
            raise UserError(
                f"nothing says how {task} is put into words; pass the instruction as prompts, such "
                "as prompts='push the puck to the pad'"
            )
        if wording is not None and "held_out" in prompts and not wording.held_out:
            raise UserError(f"{task} has no held-out instructions; choose other prompts")
        if _is_own(task) and any(part in prompts for part in OTHER_SCENES):
            raise UserError(
                f"prompts {prompts!r} show another scene of {task}, which is no task of this "
                "library; choose instruction, goal_image, none or an instruction of your own"
            )
    return {task: wording for task, wording in wordings.items() if wording is not None}


def _instructions(task: str, info: CheckpointInfo | None) -> Instructions | None:
    """Those of the task's suite, or those that the agent was trained on."""
    if not _is_own(task):
        return registry.instructions(task)
    for entry in () if info is None else info.tasks:
        if entry.name == task:
            return Instructions(entry.instruction, entry.paraphrases, ())
    return None


def _is_own(task: str) -> bool:
    """Whether a task is the caller's own rather than one of the library's."""
    return not registry.is_known(registry.suite_of(task))


def _run_episode(
    job: EvaluationJob,
    env: Environment,
    agent: Agent,
    wording: Instructions | None,
    settings: Settings,
) -> EpisodeRecord:
    seed = episode_seed(settings.seed, job.task, job.index)
    return play(
        env,
        seeded(agent, seed),
        _prompt(job, env, agent, wording, settings.prompts, seed),
        index=job.index,
        seed=seed,
        until_success=settings.until_success,
        control_delay=settings.control_delay,
        max_steps=settings.max_steps,
        video=job.video,
    )


def _prompt(
    job: EvaluationJob,
    env: Environment,
    agent: Agent,
    wording: Instructions | None,
    prompts: str,
    seed: int,
) -> Prompt | None:
    if not agent.prompted:
        return None
    learned = unviewed(agent)
    if not isinstance(learned, PolicyAgent | ExportedAgent):
        # An agent of the caller's gets words alone.
        if is_instruction(prompts) or wording is None:
            return Prompt(prompts)
        return Prompt(wording.instruction)
    shown_as = EnvConfig.of(learned.environment)
    words = wording or Instructions("", (), ())
    return episode_prompt(
        prompts,
        job.task,
        job.index,
        seed,
        env,
        shown_as,
        learned.window,
        wording=words,
        seen_as=seen_as(agent),
    )


@contextlib.contextmanager
def _folder(
    output: Path | None, conditions: Mapping[str, Any], *, overwrite: bool
) -> Iterator[Path]:
    """Where the evaluation works: a temporary folder if nobody wants to keep the results."""
    if output is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    # Code of the caller's may change between two calls, so that none goes on where another stopped.
    started = {"started": datetime.now(UTC).isoformat()}
    with results_in(output, {**conditions, **started}, overwrite=overwrite) as folder:
        yield folder


def _conditions(
    environments: Mapping[str, Environment], evaluated: _Evaluated, settings: Settings
) -> dict[str, Any]:
    """What decides an episode's outcome; the same values as of an evaluation by name where the
    environments are the library's."""
    training = {} if evaluated.info is None else evaluated.info.provenance
    suites = {registry.suite_of(task) for task in environments if not _is_own(task)}
    simulators = {suite: registry.versions(suite) for suite in sorted(suites)}
    renderers = {versions.pop("renderer", "none") for versions in simulators.values()}
    return {
        "environment": shared_value(environments, lambda env: _shown(env, settings.max_steps)),
        "seeds": {"evaluation": settings.seed, "training": training.get("seed")},
        "split": shared_value(environments, lambda env: env.split),
        "prompts": settings.prompts,
        "prompt_task": None,
        "max_steps": shared_value(environments, lambda env: _horizon(env, settings.max_steps)),
        "until_success": settings.until_success,
        "device": evaluated.device,
        "precision": evaluated.precision,
        "versions": package_versions(),
        "simulators": simulators,
        "renderer": ", ".join(sorted(renderers)),
        **delay(settings.control_delay),
        **planner_and_plugins(evaluated.planner, sorted(suites)),
    }


def _shown(env: Environment, max_steps: int | None) -> Any:
    """The settings of an environment, or what it observes and does where it has none."""
    config = getattr(env, "config", None)
    if not isinstance(config, EnvConfig):
        return env.embodiment_spec.to_dict()
    config = replace(config, action_repeat=env.action_repeat)
    return to_jsonable(config if max_steps is None else replace(config, max_steps=max_steps))


def _horizon(env: Environment, max_steps: int | None) -> int | None:
    config = getattr(env, "config", None)
    own = config.max_steps if isinstance(config, EnvConfig) else env.horizon
    return own if max_steps is None else max_steps
