"""Who acts in a collection, and what it records of the environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyparts.agents.expert import Noise
from manyparts.core.arguments import path_of
from manyparts.core.errors import UserError
from manyparts.core.serialisation import to_jsonable
from manyparts.envs import registry
from manyparts.envs.base import NO_CAMERA, EnvConfig
from manyparts.models.run_files import resolve
from manyparts.rollout.recorded_tries import EXPERT, RANDOM


def checkpoint_of(policy: str | Path, tasks: Sequence[str], noise: Noise | None) -> Path | None:
    """Return the checkpoint that acts; None for experts and random actions.

    Args:
        policy: "expert", "random" or a run's folder.
        tasks: Names of the tasks.
        noise: What the caller adds to actions; None: nothing was said.

    Raises:
        UserError: There is no such policy, a task has no expert, or noise is not for the policy.
    """
    if policy == EXPERT:
        registry.require_expert(tasks)
        return None
    if noise is not None:
        raise UserError(f"noise is added to experts' actions; policy {str(policy)!r} acts without")
    if policy == RANDOM:
        return None
    try:
        return resolve(path_of(policy, "policy")).absolute()
    except UserError as error:
        raise UserError(f"policy: {error}; choices: expert, random, or a run's folder") from None


def environment_of(
    config: EnvConfig | Mapping[str, Any] | None, checkpoint: Path | None, tasks: Sequence[str]
) -> EnvConfig:
    """Return how tasks are recorded: as the caller says, and else as the policy saw them.

    Cameras are recorded where the policy had none.

    Args:
        config: What the caller says.
        checkpoint: The policy's; None: it learned nothing.
        tasks: Names of the tasks.
    """
    if checkpoint is None or isinstance(config, EnvConfig):
        return EnvConfig.of(config or EnvConfig())
    # It loads torch, which experts do without.
    from manyparts.models.checkpoint import load_info

    chosen = to_jsonable(dict(config or {}))
    trained = load_info(checkpoint).trained
    # Its own task, or else one of its suite.
    wanted = [set(tasks), {registry.suite_of(task) for task in tasks}]
    seen = next(
        (
            each
            for names in wanted
            for each in trained
            for task in each.tasks
            if {task.environment, registry.suite_of(task.environment)} & names
        ),
        trained[0],
    )
    usual = EnvConfig.of(seen.environment)
    if usual.cameras == (NO_CAMERA,):
        usual = replace(usual, cameras=())
    return EnvConfig.of(to_jsonable(usual) | chosen)
