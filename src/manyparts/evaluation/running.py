"""What all evaluations by name share: worker processes, checked numbers, and saved results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

from manyparts.core.arguments import whole
from manyparts.core.errors import UserError, closest
from manyparts.core.executors.executor import LOCAL, is_local
from manyparts.core.host.cores import cores
from manyparts.core.records import Precision
from manyparts.envs.base import Split
from manyparts.evaluation.episodes import EvaluationConfig, portable_episodes, run_episode
from manyparts.evaluation.results import Result
from manyparts.evaluation.schedule import Runner, Work, run_missing
from manyparts.models.run_files import weights_of
from manyparts.rollout.mailbox import stream_on
from manyparts.rollout.workers import stream


def in_workers(
    config: EvaluationConfig, workers: int | None, executor: str = LOCAL, folder: Path = Path()
) -> Runner:
    """Return what runs episodes in worker processes.

    Args:
        config: the evaluation.
        workers: their number; None: one per core.
        executor: where they run.
        folder: of the results; machines of a cluster see it under this path.
    """
    if is_local(executor):
        count = cores() if workers is None else workers
        return partial(stream, partial(run_episode, config), workers=count)
    inputs = []
    if isinstance(config.agent, Path) and not config.agent.is_relative_to(folder):
        inputs = [weights_of(config.agent)]
    jobs = portable_episodes(config)
    return partial(stream_on, executor, jobs, folder=folder, workers=workers, inputs=inputs)


def finished(folder: Path, work: Work, runner: Runner, provenance: Mapping[str, Any]) -> Result:
    """Return the result, once what is missing in the folder was run; it is saved there.

    Args:
        folder: of the results.
        work: what is evaluated.
        runner: see `in_workers`.
        provenance: what the result records besides its episodes.
    """
    records = run_missing(folder, work, runner)
    asked_for = {"tasks": list(work.tasks), "episodes": work.episodes}
    result = Result(tuple(records), {**provenance, **asked_for})
    result.save(folder)
    return result


def unique(tasks: Sequence[str]) -> tuple[str, ...]:
    """Return tasks without repeats, in their order. tasks: names."""
    return tuple(dict.fromkeys(tasks))


def checked(
    seed: int,
    episodes: int,
    videos: int,
    max_steps: int | None,
    workers: int | None,
    split: str,
    precision: str | None,
) -> tuple[int, int]:
    """Return the seed and the number of episodes as ints.

    Args:
        seed: of the goals.
        episodes: per task.
        videos: per task.
        max_steps: of an episode; None for the suite's own.
        workers: processes; None for one per core.
        split: the split that goals are drawn from.
        precision: of the agent; None for its own.

    Raises:
        UserError: a value that is not allowed.
    """
    whole("videos", videos, minimum=0)
    for name, value in (("max_steps", max_steps), ("workers", workers)):
        if value is not None:
            whole(name, value, minimum=1)
    for name, value, choices in (
        ("split", split, get_args(Split)),
        ("precision", precision or "fp32", get_args(Precision)),
    ):
        if value not in choices:
            raise UserError(f"{name} is {value!r}; {closest(str(value), choices)}")
    return whole("seed", seed), whole("episodes", episodes, minimum=1)
