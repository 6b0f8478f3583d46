"""What an agent can be evaluated under, what decides the outcome, and the agent's origin."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from manyparts.agents.for_environment import learned_embodiment
from manyparts.core.errors import UserError, closest
from manyparts.core.plugins import require as require_plugins
from manyparts.core.plugins import used as plugins_used
from manyparts.core.printing import first_of
from manyparts.core.provenance import code_commit, package_versions
from manyparts.core.serialisation import from_jsonable, to_jsonable
from manyparts.data.sampling.config import WindowConfig
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig
from manyparts.evaluation.episodes import EvaluationConfig
from manyparts.evaluation.prompt_kinds import is_instruction, kinds_for
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.models.configs import ControlTransformerConfig, ModelConfig
from manyparts.planners import PlannerConfig, name_of

_SHOWN_SUITES = 3  # in an error


def trained_tasks(info: CheckpointInfo, run: object, embodiment: str | None = None) -> list[str]:
    """Names of the tasks that an agent was trained on, which have environments.

    Args:
        info: the agent's checkpoint.
        run: the agent's folder, for the message.
        embodiment: only the tasks of this one; None: of all.

    Raises:
        UserError: there is no task, or no environment for one.
    """
    names = []
    for each in info.embodiments:
        if embodiment in (None, each.spec.embodiment):
            names += [task.environment for task in each.tasks]
    advice = "evaluate it in yours: evaluate(run, env=YOUR_ENVIRONMENT) in Python"
    if not names:
        raise UserError(
            f"{run} does not say which tasks it was trained on; name tasks, or {advice}"
        )
    suites = dict.fromkeys(registry.suite_of(name) for name in names)
    if unknown := [suite for suite in suites if not registry.is_known(suite)]:
        require_suites(info, run, unknown)
        raise UserError(
            f"{run} was trained on data of your own: no suite here is called "
            f"{first_of(unknown, _SHOWN_SUITES)}, so there is no environment to evaluate in; "
            f"{advice}, or install the suite's plug-in (docs/how-to/write-a-plugin.md)"
        )
    return list(dict.fromkeys(names))


def require_suites(info: CheckpointInfo, run: object, suites: Iterable[str]) -> None:
    """Raise UserError if an agent was trained in a suite of a plug-in that is not installed.

    Args:
        info: the agent's checkpoint.
        run: the agent's folder, for the message.
        suites: the names of suites that are unknown here.
    """
    require_plugins(info.provenance.get("plugins"), run, "suites", set(suites))


def environments_of(info: CheckpointInfo, tasks: Sequence[str]) -> dict[str, EnvConfig]:
    """The environment of each task, as it was in training.

    A suite that no embodiment was trained in gets the settings of the first embodiment, which must
    fit it.

    Args:
        info: the agent's checkpoint.
        tasks: names of the evaluated tasks, "suite/task".

    Returns:
        Suite to its environment's settings, for the suites of `tasks`; and the names of tasks to
        theirs, where embodiments of one suite were trained in environments that differ. See
        `rollout.environments.settings_of`.

    Raises:
        UserError: the embodiment of a suite is none that the agent learned.
    """
    configs = [from_jsonable(EnvConfig, dict(each.environment)) for each in info.embodiments]
    trained: dict[str, EnvConfig] = {}
    for embodiment, config in zip(info.embodiments, configs, strict=True):
        for task in embodiment.tasks:
            trained.setdefault(task.environment, config)
            trained.setdefault(registry.suite_of(task.environment), config)
    chosen: dict[str, EnvConfig] = {}
    for task in tasks:
        suite = registry.suite_of(task)
        if suite not in chosen and suite not in trained:
            with contextlib.closing(registry.make(task, configs[0])) as env:
                learned_embodiment(info, env)
        own = trained.get(task) or trained.get(suite) or configs[0]
        if chosen.setdefault(suite, own) != own:
            chosen[task] = own
    return chosen


def conditions_of(
    config: EvaluationConfig, tasks: Sequence[str], training_seed: int | None
) -> dict[str, Any]:
    """What decides an episode's outcome besides its task and index, as JSON values.

    Args:
        config: the evaluation.
        tasks: names of the evaluated tasks, "suite/task".
        training_seed: the seed that the agent was trained with; None if it has none.
    """
    suites = dict.fromkeys(registry.suite_of(task) for task in tasks)
    simulators = {suite: registry.versions(suite) for suite in suites}
    renderers = {versions.pop("renderer", "none") for versions in simulators.values()}
    return {
        "environment": shared_value(config.environments, to_jsonable),
        "seeds": {"evaluation": config.seed, "training": training_seed},
        "split": config.split,
        "prompts": config.prompts,
        "prompt_task": config.prompt_task,
        "max_steps": shared_value(config.environments, lambda environment: environment.max_steps),
        "until_success": config.until_success,
        "device": config.device,
        "precision": config.precision,
        "versions": package_versions(),
        "simulators": simulators,
        "renderer": ", ".join(sorted(renderers)),
        **delay(config.control_delay),
        **planner_and_plugins(config.planner, suites),
    }


def delay(steps: int) -> dict[str, int]:
    """The condition "control_delay", without one if actions are carried out at once.

    Args:
        steps: from an observation to the first action that was decided from it.
    """
    return {"control_delay": steps} if steps else {}


def planner_and_plugins(planner: PlannerConfig | None, suites: Iterable[str]) -> dict[str, Any]:
    """The conditions "planner" and "plugins"; without those that there are not.

    Args:
        planner: what a dynamics model acts with.
        suites: the names of the suites of all tasks.
    """
    named: dict[str, Iterable[str]] = {"suites": suites}
    conditions: dict[str, Any] = {}
    if planner is not None:
        conditions["planner"] = to_jsonable(planner)
        named["planners"] = filter(None, [name_of(type(planner).__name__)])
    if plugins := plugins_used(named):
        conditions["plugins"] = plugins
    return conditions


def shared_value(items: Mapping[str, Any], value_of: Callable[[Any], Any]) -> Any:
    """The value that all items have in common, or each one's by its name where they differ.

    Args:
        items: name to item, at least one.
        value_of: returns the value of an item.

    Returns:
        One value, or a dict from name to value.
    """
    values = {name: value_of(item) for name, item in items.items()}
    first = next(iter(values.values()))
    return first if all(value == first for value in values.values()) else values


def origin_of_agent(checkpoint: object, info: CheckpointInfo) -> dict[str, Any]:
    """Which code, run and data a learned agent comes from, as JSON values.

    Args:
        checkpoint: the checkpoint's folder; its text is recorded.
        info: the checkpoint's description.
    """
    trained = dict(info.provenance)
    return {
        "commit": code_commit(),
        "checkpoint": str(checkpoint),
        "config_hash": trained.get("config_hash"),
        "dataset_fingerprint": trained.get("dataset_fingerprint"),
        "training": trained,
        "python": platform.python_version(),
    }


def origin_without_training() -> dict[str, Any]:
    """The same of an agent that learned nothing, or that was loaded from no folder."""
    return {"commit": code_commit(), "training": {}, "python": platform.python_version()}


def shows_attention(info: CheckpointInfo) -> bool:
    """Whether an agent of this checkpoint has visual tokens, of which an evaluation keeps maps."""
    return isinstance(from_jsonable(ModelConfig, dict(info.model)), ControlTransformerConfig)


def require_trained_on(
    prompts: str, run: str | Path, info: CheckpointInfo, prompt_task: str | None
) -> None:
    """Raise a UserError for prompts that the agent was not trained on, or would not read.

    Args:
        prompts: a kind of prompt, or the instruction itself.
        run: the agent's folder, for the message.
        info: the agent's checkpoint.
        prompt_task: the task that chooses the instruction; None: the environment's own.
    """
    kinds = kinds_for(from_jsonable(WindowConfig, dict(info.window)))
    if not is_instruction(prompts):
        if prompts not in kinds:
            raise UserError(
                f"{run} was not trained on prompts of {prompts!r}; {closest(prompts, kinds)}"
            )
    elif info.model.get("prompt") is None:
        raise UserError(
            f"{run} takes no prompts, so nothing would read {prompts!r}; leave prompts out"
        )
    elif prompt_task is not None:
        raise UserError(
            f"prompts {prompts!r} and prompt_task {prompt_task!r} both choose the instruction; "
            "pass one of them"
        )
