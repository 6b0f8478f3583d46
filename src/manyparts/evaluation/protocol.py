"""Evaluates an agent on goals it never saw, with several processes; resumable, the same result
however it is run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyparts.agents.base import Agent
from manyparts.agents.exported_files import is_exported
from manyparts.agents.loading import LearnedAgent, device_for, origin_of, require_fitting_planner
from manyparts.core.arguments import explained, names_of, path_of, whole
from manyparts.core.errors import UserError
from manyparts.core.executors.executor import LOCAL, is_local
from manyparts.core.provenance import file_hash
from manyparts.core.records import Precision, Prompt
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig, Environment, Split
from manyparts.envs.gym.preflight import preflight
from manyparts.evaluation.conditions import (
    conditions_of,
    environments_of,
    origin_of_agent,
    origin_without_training,
    require_suites,
    require_trained_on,
    shows_attention,
    trained_tasks,
)
from manyparts.evaluation.episodes import REFERENCES, EvaluationConfig, Reference
from manyparts.evaluation.in_process import Settings, evaluate_in_process
from manyparts.evaluation.prompt_kinds import checked_prompts
from manyparts.evaluation.results import EVALUATION, Result
from manyparts.evaluation.results_folder import linked_agent, results_in
from manyparts.evaluation.running import checked, finished, in_workers, unique
from manyparts.evaluation.schedule import Work
from manyparts.models.checkpoint import CheckpointInfo, load_info
from manyparts.models.run_files import results_folder, weights_of
from manyparts.planners import PlannerConfig

_OTHER_ENVIRONMENT = (
    "an agent is evaluated in the environment that it was trained in; for another one pass "
    "env=make(task, EnvConfig(...), split='evaluation')"
)
_FIELDS_OF_ENVIRONMENTS = [field.name for field in dataclasses.fields(EnvConfig)]


@explained(**dict.fromkeys(_FIELDS_OF_ENVIRONMENTS, _OTHER_ENVIRONMENT))
def evaluate(
    run: str | Path | LearnedAgent | Agent,
    *,
    tasks: str | Sequence[str] | None = None,
    env: Environment | Sequence[Environment] | None = None,
    episodes: int = 20,
    seed: int = 0,
    workers: int | None = None,
    videos: int = 0,
    prompts: str | Prompt = "instruction",
    prompt_task: str | None = None,
    max_steps: int | None = None,
    until_success: bool = False,
    control_delay: int = 0,
    split: Split = "evaluation",
    output: str | Path | None = None,
    overwrite: bool = False,
    device: str | None = None,
    precision: Precision | None = None,
    planner: PlannerConfig | None = None,
    executor: str = LOCAL,
) -> Result:
    """Run an agent for `episodes` episodes of each task, and return and save its success.

    Episode i's environment is a pure function of (seed, task, i). Two agents that are evaluated
    with one seed meet the same goals, and results depend neither on `workers` nor on kills: a
    second call does only what is missing in `output`.

    Args:
        run: a run or checkpoint folder, or an agent of `load`, which evaluates what it was loaded
            from. An agent for several embodiments acts for that of the task.
        tasks: names or splits; None: the tasks the agent was trained on, of an agent that was
            loaded for one embodiment those of that embodiment.
        env: instead of tasks, an environment such as `make` returns, of your own class or the
            library's, or a list of them. It is evaluated in this process, on goals of its own
            split; any agent with the methods of `manyparts.agents.base.Agent` will do, and results
            are saved only where `output` says so.
        episodes: episodes per task.
        seed: seed of the goals.
        workers: simulator processes; None: one per core.
        videos: number of successes, and as many failures, that are filmed per task. The maps of the
            agent's visual tokens are kept with them (`attention`).
        prompts: a kind of prompt (`prompt_kinds`), or an instruction that replaces every task's
            own.
        prompt_task: the task that the agent's prompts are of; None: the environment's own.
        max_steps: steps per episode; None: the suite's horizon. Episodes run to it, so that success
            at the last step means something.
        until_success: end each episode with its first solved step, which saves most of the time of
            a good agent.
        control_delay: steps that pass from an observation to the first action that was decided from
            it, as on a robot that does not wait: what was decided before goes on meanwhile.
        split: the split that goals are drawn from.
        output: folder for episodes.jsonl, results.json and videos/. None: RUN/evaluation, of one
            checkpoint of a run RUN/evaluation-STEP.
        overwrite: if the folder holds results of other settings, or of the run before it was
            trained on, replace them once the new ones are whole.
        device: where the agent runs; None: "cpu", or where the agent is.
        precision: "fp32" or "bf16"; None: "fp32", or that of the agent.
        planner: what a dynamics model acts with; None: that of the agent.
        executor: where episodes run: "local", "ray://HOST:PORT" or "slurm:PARTITION", a cluster
            of which all machines see the results' folder and the agent under the same paths.

    Raises:
        UserError: unknown tasks or bad values, an embodiment that the agent did not learn, or a
            folder of another evaluation without `overwrite`.
    """
    _require_a_run(run)
    seed, episodes = checked(seed, episodes, videos, max_steps, workers, split, precision)
    instruction = checked_prompts(prompts)
    if env is not None:
        _require_for_environments(tasks, workers, prompt_task, executor)
        delay = whole("control_delay", control_delay, minimum=0)
        settings = Settings(episodes, seed, videos, instruction, max_steps, until_success, delay)
        folder = None if output is None else path_of(output, "output")
        return evaluate_in_process(
            run,
            env,
            settings,
            output=folder,
            overwrite=overwrite,
            device=device,
            precision=precision,
            planner=planner,
        )
    origin = origin_of(run, device, precision, planner)  # type: ignore[arg-type]
    info = load_info(origin.checkpoint)
    require_fitting_planner(origin.run, info, origin.planner)
    suites = map(registry.suite_of, names_of(tasks or (), "tasks"))
    require_suites(info, origin.run, [each for each in suites if not registry.is_known(each)])
    chosen = unique(registry.expand(tasks or trained_tasks(info, origin.run, origin.embodiment)))
    require_trained_on(instruction, origin.run, info, prompt_task)
    preflight(chosen, max_steps)
    if prompt_task is not None:
        (prompt_task,) = registry.expand([prompt_task])
    shown = environments_of(info, chosen if prompt_task is None else (*chosen, prompt_task))
    config = EvaluationConfig(
        agent=origin.checkpoint,
        environments=_with_max_steps(environments_of(info, chosen), max_steps),
        shown=shown,
        seed=seed,
        split=split,
        prompts=instruction,
        device=device_for(origin.checkpoint, origin.device),
        precision=origin.precision,
        prompt_task=prompt_task,
        until_success=until_success,
        control_delay=whole("control_delay", control_delay, minimum=0),
        planner=origin.planner,
    )
    folder = results_folder(origin.run, EVALUATION) if output is None else path_of(output, "output")
    has_maps = shows_attention(info) and not is_exported(origin.checkpoint)
    work = Work(chosen, episodes, videos, shows_attention=has_maps)
    return _evaluate_checkpoint(
        origin.checkpoint,
        info,
        config,
        work,
        folder,
        workers=workers,
        overwrite=overwrite,
        executor=executor,
    )


@explained(environment=EnvConfig)
def evaluate_reference(
    agent: Reference,
    tasks: str | Sequence[str],
    *,
    output: str | Path,
    episodes: int = 20,
    seed: int = 0,
    workers: int | None = None,
    videos: int = 0,
    environment: EnvConfig | Mapping[str, Any] | None = None,
    max_steps: int | None = None,
    until_success: bool = False,
    control_delay: int = 0,
    split: Split = "evaluation",
    overwrite: bool = False,
    executor: str = LOCAL,
) -> Result:
    """Run an agent that learned nothing on the episodes that `evaluate` meets: a ceiling or a
    floor.

    Args:
        agent: "expert", which reads the simulator's true state, or "random" actions.
        tasks: names or splits.
        environment: settings of the environments; None: the suites' usual ones.

    The other arguments are those of `evaluate`.
    """
    seed, episodes = checked(seed, episodes, videos, max_steps, workers, split, None)
    if agent not in REFERENCES:
        raise UserError(f"agent is {agent!r}; choices: {', '.join(REFERENCES)}")
    chosen = unique(registry.expand(tasks))
    if agent == "expert":
        registry.require_expert(chosen)
    preflight(chosen, max_steps)
    settings = EnvConfig.of(environment or EnvConfig())
    if max_steps is not None:
        settings = replace(settings, max_steps=max_steps)
    config = EvaluationConfig(
        agent=agent,
        environments={registry.suite_of(task): settings for task in chosen},
        seed=seed,
        split=split,
        prompts="instruction",
        device="cpu",
        until_success=until_success,
        control_delay=whole("control_delay", control_delay, minimum=0),
    )
    conditions = {"agent": agent} | conditions_of(config, chosen, None)
    provenance = conditions | origin_without_training()
    work = Work(chosen, episodes, videos, shows_attention=False)
    with results_in(path_of(output, "output"), conditions, overwrite=overwrite) as folder:
        runner = in_workers(config, workers, executor, folder)
        return finished(folder, work, runner, provenance)


def _evaluate_checkpoint(
    checkpoint: Path,
    info: CheckpointInfo,
    config: EvaluationConfig,
    work: Work,
    folder: Path,
    *,
    workers: int | None,
    overwrite: bool,
    executor: str,
) -> Result:
    """Run what is missing in the folder, under the conditions that the config sets."""
    weights = {"weights": file_hash(weights_of(checkpoint))}
    conditions = weights | conditions_of(config, work.tasks, info.provenance.get("seed"))
    provenance = conditions | origin_of_agent(checkpoint, info)
    with (
        results_in(folder, conditions, overwrite=overwrite) as current,
        linked_agent(config, current) as linked,
    ):
        runner = in_workers(linked, workers, executor, current)
        return finished(current, work, runner, provenance)


def _with_max_steps(
    environments: Mapping[str, EnvConfig], max_steps: int | None
) -> dict[str, EnvConfig]:
    """The environments with another horizon; None: their own."""
    if max_steps is None:
        return dict(environments)
    return {
        suite: replace(environment, max_steps=max_steps)
        for suite, environment in environments.items()
    }


def _require_a_run(run: object) -> None:
    """Raises UserError for the name of a reference, which has a function of its own."""
    if isinstance(run, str) and run in REFERENCES and not Path(run).exists():
        raise UserError(
            f"{run} is no run: evaluate_reference({run!r}, tasks, output=...) evaluates it"
        )


def _require_for_environments(
    tasks: object, workers: int | None, prompt_task: str | None, executor: str
) -> None:
    """Raises UserError for arguments that are not for environments of the caller's."""
    if tasks is not None:
        raise UserError("tasks and env both say what is evaluated; pass one of them")
    if workers not in (None, 1):
        raise UserError(
            f"workers is {workers}, and env is evaluated in this process; leave workers out, or "
            "name tasks, which worker processes make themselves"
        )
    if not is_local(executor):
        raise UserError(
            f"executor is {executor!r}, and env is evaluated in this process; name tasks, which "
            "worker processes make themselves"
        )
    if prompt_task is not None:
        raise UserError(
            f"prompt_task {prompt_task!r} is for tasks by name; with env pass the instruction "
            "itself as prompts"
        )
