"""Evaluates an agent behind a socket as `evaluate` does one of a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyparts.agents.server import Remote, Server, server_at
from manyparts.core.arguments import path_of, whole
from manyparts.core.errors import UserError
from manyparts.core.printing import say
from manyparts.core.serialisation import from_jsonable
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig, Split
from manyparts.envs.gym.preflight import preflight
from manyparts.evaluation.conditions import conditions_of, origin_without_training
from manyparts.evaluation.episodes import EvaluationConfig
from manyparts.evaluation.prompt_kinds import checked_prompts
from manyparts.evaluation.results import Result
from manyparts.evaluation.results_folder import results_in
from manyparts.evaluation.running import checked, finished, in_workers, unique
from manyparts.evaluation.schedule import Work


def evaluate_remote(
    remote: Remote,
    tasks: str | Sequence[str] | None = None,
    *,
    output: str | Path,
    episodes: int = 20,
    seed: int = 0,
    workers: int | None = None,
    videos: int = 0,
    prompts: str = "instruction",
    environment: EnvConfig | Mapping[str, Any] | None = None,
    max_steps: int | None = None,
    until_success: bool = False,
    control_delay: int = 0,
    split: Split = "evaluation",
    overwrite: bool = False,
) -> Result:
    """Run a served agent on the episodes that `evaluate` meets.

    Args:
        remote: where it is served.
        tasks: names or splits; None: those that the server names.
        environment: settings of the environments; None: those that the server names, or the suites'
            usual ones.
        prompts: "instruction", "held_out", "none", a kind with a goal image, or an instruction.

    The other arguments are those of `evaluate`.

    Raises:
        UserError: nobody answers, or see `RemoteAgent` and `evaluate`.
    """
    seed, episodes = checked(seed, episodes, videos, max_steps, workers, split, None)
    instruction = checked_prompts(prompts)
    if any(part in instruction for part in ("demonstration", "watched")):
        raise UserError(f"prompts is {prompts!r}; demonstrations are not sent to a server")
    server = server_at(remote)
    chosen = unique(registry.expand(tasks or _own_tasks(server, remote)))
    preflight(chosen, max_steps)
    shown = settings = _environment(server, environment)
    if max_steps is not None:
        settings = replace(settings, max_steps=max_steps)
    config = EvaluationConfig(
        agent=remote,
        environments={registry.suite_of(task): settings for task in chosen},
        shown={registry.suite_of(task): shown for task in chosen},
        seed=seed,
        split=split,
        prompts=instruction,
        device="cpu",
        until_success=until_success,
        control_delay=whole("control_delay", control_delay, minimum=0),
    )
    agent = {"url": remote.url, "server": server.name, "weights": server.weights, **server.answers}
    agent |= {"mapping": remote.mapping} if remote.mapping else {}
    _warn_of_unknown_weights(server, remote, path_of(output, "output"))
    conditions = {"agent": agent} | conditions_of(config, chosen, None)
    provenance = conditions | origin_without_training()
    work = Work(chosen, episodes, videos, shows_attention=False)
    with results_in(path_of(output, "output"), conditions, overwrite=overwrite) as folder:
        return finished(folder, work, in_workers(config, workers), provenance)


def _warn_of_unknown_weights(server: Server, remote: Remote, output: Path) -> None:
    """Say that nobody knows whether results that are there are of what is served now."""
    if server.weights is None and output.exists():
        say(
            f"warning: {remote.url} does not say which weights it serves; episodes that are in "
            f"{output} count as theirs, and --overwrite runs all again",
            error=True,
        )


def _own_tasks(server: Server, remote: Remote) -> list[str]:
    names = [name for name in server.tasks if registry.is_known(registry.suite_of(name))]
    if not names:
        raise UserError(f"{remote.url} does not say what its agent can do; name --tasks")
    return list(dict.fromkeys(name.partition("#")[0] for name in names))


def _environment(server: Server, environment: EnvConfig | Mapping[str, Any] | None) -> EnvConfig:
    if environment is not None:
        return EnvConfig.of(environment)
    if not server.environment:
        return EnvConfig()
    return from_jsonable(EnvConfig, dict(server.environment))
