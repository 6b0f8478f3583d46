"""Record a dataset of experts' demonstrations, or of another policy, with several processes.

The dataset's bytes do not depend on the number of processes, nor on kills.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from manyparts.agents.expert import Noise
from manyparts.core.arguments import explained, path_of, whole
from manyparts.core.errors import UserError
from manyparts.core.executors.executor import LOCAL, is_local
from manyparts.core.host.cores import cores
from manyparts.core.printing import counted, first_of
from manyparts.core.progress import progress_bar
from manyparts.core.provenance import file_hash
from manyparts.core.records import Episode
from manyparts.core.serialisation import to_jsonable
from manyparts.core.spec import SHOWN_DIFFERENCES, Spec
from manyparts.core.storage.atomic import remove_temporary_files, write_atomically
from manyparts.core.storage.locked_folder import holds, locked_folder
from manyparts.data.dataset import DatasetWriter, EpisodeDataset, TaskEntry
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig
from manyparts.envs.gym.preflight import preflight
from manyparts.models.run_files import weights_of
from manyparts.rollout.mailbox import stream_on
from manyparts.rollout.policy import checkpoint_of, environment_of
from manyparts.rollout.recorded_tries import (
    EXPERT,
    RANDOM,
    CollectConfig,
    RecordedTry,
    portable_tries,
    record_try,
)
from manyparts.rollout.shards import (
    finished_tries,
    read_instruction,
    read_shard,
    says_terminated,
)
from manyparts.rollout.workers import Affinity, stream

# Collection gives up on an expert that failed this often, if less than one try in five succeeded.
MAX_FAILURES = 20


@explained(config=EnvConfig, noise=Noise)
def collect(
    tasks: str | Sequence[str],
    *,
    episodes: int,
    output: str | Path,
    config: EnvConfig | Mapping[str, Any] | None = None,
    noise: Noise | None = None,
    seed: int = 0,
    workers: int | None = None,
    images: Literal["png", "video"] = "png",
    keep_failures: bool = False,
    steps_after_success: int | None = None,
    policy: str | Path = EXPERT,
    resume: bool = True,
    executor: str = LOCAL,
) -> EpisodeDataset:
    """Record the first `episodes` successes of each task's expert, or tries of another policy.

    Tries at a task are numbered, and try n is a pure function of (seed, task, n). So the dataset
    depends neither on `workers` nor on kills: finished tries lie in `<output>.partial`, from which
    the same call continues. Failed tries are counted in `meta/collection.json`.

    Args:
        tasks: Names of tasks, or a pattern such as "metaworld/*".
        episodes: Successes per task; of another policy, or where nobody knows success, tries.
        output: The dataset's folder, which must not exist.
        config: How the tasks are simulated and rendered, or a dict of its fields. Fields that are
            left out are as the policy saw them, and else the usual ones; an agent of states alone
            acts as well where cameras record it.
        noise: The noise that is added to experts' actions; None for the default. Other policies act
            without it.
        seed: The seed that all others are derived from.
        workers: Processes; None for one per core.
        images: How images are stored: "png" is lossless, "video" is smaller.
        keep_failures: Keep failed tries as episodes, too.
        steps_after_success: Cut each episode so many steps after its first solved one; None for
            the suite's default. Without such steps an agent learns neither to reach the goal
            closely nor to stay there. With many it may learn to stand still.
        policy: Who acts: "expert"; "random"; or a run's folder, which acts at its best, and of
            which the first tries are kept, whether they succeed or not.
        resume: Continue from `<output>.partial`; False to start again.
        executor: Where tries are made: "local", "ray://HOST:PORT" or "slurm:PARTITION", a cluster
            of which all machines see `output` under the same path. `workers` counts those of all.

    Raises:
        UserError: A task is unknown or has no expert, a value is not allowed, `output` exists,
            `<output>.partial` has other settings, an expert keeps failing, or the cluster does not
            fit this machine.
    """
    is_local(executor)
    names = tuple(registry.expand(tasks))
    if not names:
        raise UserError("no tasks to collect; name at least one")
    checkpoint = checkpoint_of(policy, names, noise)
    given = config if isinstance(config, EnvConfig) else EnvConfig.of(config or {})
    preflight(names, given.max_steps)
    if steps_after_success is None:
        steps_after_success = registry.steps_after_success(names)
    chosen = CollectConfig(
        tasks=names,
        episodes=whole("episodes", episodes),
        seed=whole("seed", seed),
        environment=environment_of(config, checkpoint, names),
        noise=noise or (Noise() if policy == EXPERT else Noise(fraction=0.0)),
        images=images,
        keep_failures=keep_failures,
        steps_after_success=steps_after_success,
        policy=str(checkpoint or policy),
    )
    _check(chosen)
    workers = None if workers is None else whole("workers", workers, minimum=1)
    output = path_of(output, "output")
    shards = partial_folder(output)
    manifest = _manifest(chosen)
    if not resume:
        shutil.rmtree(shards, ignore_errors=True)
    # Both exist if a kill came after the dataset got its name, and before its shards were removed.
    if output.exists() and not holds(shards, manifest):
        raise UserError(f"{output} exists; choose another output")
    if not output.exists():
        _require_one_embodiment_of_all(chosen)
    with locked_folder(shards, manifest):
        remove_temporary_files(shards)
        if not output.exists():
            ledgers = {
                task: Ledger(finished_tries(shards, task), chosen.counts_failures)
                for task in chosen.tasks
            }
            _record_tries(chosen, shards, ledgers, workers, executor)
            _assemble(chosen, shards, ledgers).rename(output)
    shutil.rmtree(shards, ignore_errors=True)
    return EpisodeDataset.open(output)


def partial_folder(output: Path) -> Path:
    """Return the folder of the shards of a dataset that is not finished."""
    return output.with_name(f"{output.name}.partial")


@dataclass
class Ledger:
    """The tries at one task."""

    finished: dict[int, bool | None]
    """Number of each finished try to whether it succeeded; None where nobody knows."""
    counts_failures: bool = False
    """Whether failed tries count, too."""
    running: set[int] = field(default_factory=set)
    """Numbers of the tries that are running."""

    @property
    def counted(self) -> int:
        """Tries that count: all but failures, which count only if `counts_failures`."""
        return len(self.finished) - (0 if self.counts_failures else self.failures)

    @property
    def failures(self) -> int:
        return sum(success is False for success in self.finished.values())

    def missing(self, episodes: int) -> int:
        """Return how many more tries are needed if all that are running count.

        Tries start in order and only while this is positive, so that none is made in vain.
        """
        return max(episodes - self.counted - len(self.running), 0)

    def start_next(self) -> int:
        """Return the lowest number that is neither finished nor running, which now runs."""
        number = 0
        while number in self.finished or number in self.running:
            number += 1
        self.running.add(number)
        return number

    def finish(self, number: int, success: bool | None) -> None:
        """Move a try from the running to the finished ones.

        Args:
            number: The try's number among those of its task.
            success: Whether the task was solved; None where nobody knows.
        """
        self.running.discard(number)
        self.finished[number] = success


def _check(config: CollectConfig) -> None:
    if config.episodes < 1:
        raise UserError(f"episodes is {config.episodes}; expected at least 1 per task")
    whole("steps_after_success", config.steps_after_success, minimum=0)
    if config.images not in ("png", "video"):
        raise UserError(f"images is {config.images!r}; choose png or video")
    noise = config.noise
    if not 0 <= noise.fraction <= 1:
        raise UserError(f"noise fraction is {noise.fraction}; expected 0 to 1")
    if not 0 <= noise.correlation < 1:
        raise UserError(
            f"noise correlation is {noise.correlation}; expected at least 0 and less than 1"
        )
    if noise.std < 0:
        raise UserError(f"noise std is {noise.std}; expected at least 0")


def _require_one_embodiment_of_all(config: CollectConfig) -> None:
    """Do as `_require_one_embodiment`, before anything is recorded."""
    tasks = registry.one_task_per_embodiment(config.tasks)
    if len(tasks) == 1:
        return
    first = None
    for task in tasks:
        with closing(registry.make(task, config.environment)) as env:
            first = first or env.embodiment_spec
            _require_one_embodiment(first, env.embodiment_spec, task)


def _manifest(config: CollectConfig) -> dict[str, Any]:
    suites = dict.fromkeys(registry.suite_of(task) for task in config.tasks)
    versions = {suite: registry.versions(suite) for suite in suites}
    values = to_jsonable(config) | {"versions": versions}
    if config.policy == EXPERT:  # what there was before there was a choice
        del values["policy"]
    elif config.policy != RANDOM:
        weights = file_hash(weights_of(Path(config.policy)))
        values["policy"] = {"checkpoint": config.policy, "weights": weights}
    return values


def _record_tries(
    config: CollectConfig,
    shards: Path,
    ledgers: dict[str, Ledger],
    workers: int | None,
    executor: str,
) -> None:
    """Make tries until every task has its successes."""
    affinity = Affinity()

    def next_try(worker: int) -> RecordedTry | None:
        remaining = {name: ledger.missing(config.episodes) for name, ledger in ledgers.items()}
        task = affinity.choose(worker, remaining)
        if task is None:
            return None
        return RecordedTry(task, ledgers[task].start_next(), config, shards)

    if is_local(executor):
        tries = stream(record_try, next_try, workers=workers or cores())
    else:
        jobs, inputs = portable_tries(config, shards), config.files
        tries = stream_on(executor, jobs, next_try, folder=shards, workers=workers, inputs=inputs)
    start, frames, spec = time.monotonic(), 0, None
    what = "demonstrations" if config.policy == EXPERT else "episodes"
    with (
        progress_bar(f"recording {what}", config.episodes * len(config.tasks)) as bar,
        closing(tries) as outcomes,
    ):
        for job, outcome in outcomes:
            ledger = ledgers[job.task]
            ledger.finish(job.number, outcome.success)
            spec = spec or outcome.spec
            _require_one_embodiment(spec, outcome.spec, job.task)
            _require_progress(job.task, ledger)
            frames += outcome.frames
            seconds = time.monotonic() - start
            failures = sum(ledger.failures for ledger in ledgers.values())
            made = sum(len(ledger.finished) for ledger in ledgers.values())
            note = f"{frames / seconds:.0f} frames/s{_failed(failures, made, config)}"
            bar.show(sum(ledger.counted for ledger in ledgers.values()), note)
            bar.summary = f"recorded {counted(frames, 'frame')} in {seconds:.0f} s: {note}"


def _failed(failures: int, tries: int, config: CollectConfig) -> str:
    """How many tries failed and what becomes of them, as the end of a line; empty if none did."""
    if not failures:
        return ""
    fate = "left out, and others made instead"
    if config.keeps(False):
        fate = "kept as episodes, too"
    return f"; {failures} of {counted(tries, 'try', 'tries')} failed: {fate}"


def _require_one_embodiment(first: Spec, other: Spec, task: str) -> None:
    if different := first.differences(other):
        if first.embodiment != other.embodiment:
            different = [f"{first.embodiment}, {other.embodiment}"]
        raise UserError(
            f"{task} has another embodiment than the tasks before it "
            f"({first_of(different, SHOWN_DIFFERENCES, separator='; ')}); "
            "choices: a dataset for each, which training can mix, or for walkers of one kind "
            "--state shared"
        )


def _require_progress(task: str, ledger: Ledger) -> None:
    if not ledger.counts_failures and ledger.failures >= MAX_FAILURES + 4 * ledger.counted:
        raise UserError(
            f"the expert of {task} failed {ledger.failures} of {len(ledger.finished)} tries; "
            "gave up: leave the task out, or give it more time with --max-steps"
        )


def _assemble(config: CollectConfig, shards: Path, ledgers: dict[str, Ledger]) -> Path:
    """Write the dataset of all shards to be kept: tasks in the order of the config, then tries in
    theirs."""
    path = shards / "dataset"
    shutil.rmtree(path, ignore_errors=True)
    kept: list[tuple[str, int]] = []
    for task in config.tasks:
        tries = sorted(ledgers[task].finished.items())
        kept += [(task, number) for number, success in tries if config.keeps(success)]
    entries: dict[str, TaskEntry] = {}

    def read(task: str, number: int) -> tuple[Episode, Spec]:
        return read_shard(shards, task, number, success=ledgers[task].finished[number])

    for task, number in kept:
        said = None
        if registry.has_own_instructions(task):
            success = ledgers[task].finished[number]
            said = read_instruction(shards, task, number, success=success)
        entry = _entry(task, said)
        entries.setdefault(entry.name, entry)
    _, spec = read(*kept[0])
    first_of_each_task = dict(reversed(kept))
    terminates = any(
        says_terminated(shards, task, number, success=ledgers[task].finished[number])
        for task, number in first_of_each_task.items()
    )
    with (
        progress_bar("writing the dataset", len(kept)) as bar,
        DatasetWriter(
            path,
            spec,
            fps=spec.action.control_rate_hz,
            tasks=tuple(entries.values()),
            environment=to_jsonable(config.environment),
            images=config.images,
            terminates=terminates,
            knows_success=_knows_success(ledgers),
        ) as writer,
    ):
        for count, (task, number) in enumerate(kept, start=1):
            episode, episode_spec = read(task, number)
            _require_one_embodiment(spec, episode_spec, task)
            if registry.has_own_instructions(task):
                episode = replace(episode, task=_entry(task, episode.instruction).name)
            writer.add(episode)
            bar.show(count, "")
    counts = {
        task: {"tries": len(ledger.finished), "failures": ledger.failures}
        for task, ledger in ledgers.items()
    }
    description = _manifest(config) | {"tries": counts}
    write_atomically(path / "meta" / "collection.json", json.dumps(description, indent=1).encode())
    return path


def _knows_success(ledgers: Mapping[str, Ledger]) -> bool:
    """Whether the tries say if their tasks were solved.

    Raises:
        UserError: Some do, and others do not.
    """
    known = {
        task: None not in ledger.finished.values()
        for task, ledger in ledgers.items()
        if ledger.finished
    }
    if len(set(known.values())) > 1:
        unknown = next(task for task, knows in known.items() if not knows)
        raise UserError(
            f"success of {unknown} is unknown, and that of other tasks is known, which is no one "
            "dataset; choices: a dataset for each"
        )
    return all(known.values())


def _entry(task: str, said: str | None = None) -> TaskEntry:
    """A task of the dataset; where each episode brings its instruction, one of its instructions."""
    instructions = registry.instructions(task)
    if said is not None:
        return TaskEntry(f"{task}#{said}", said)
    return TaskEntry(task, instructions.instruction, instructions.paraphrases)
