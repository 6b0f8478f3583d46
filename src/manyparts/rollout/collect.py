"""Collects a dataset of expert demonstrations with several processes; the same bytes whatever their
number."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from manyparts.agents.expert import Noise
from manyparts.core.arguments import explained, path_of, whole
from manyparts.core.errors import UserError
from manyparts.core.host.cores import cores
from manyparts.core.progress import progress_bar
from manyparts.core.serialisation import to_jsonable
from manyparts.core.spec import Spec
from manyparts.core.storage.atomic import write_atomically
from manyparts.core.storage.locked_folder import holds, locked_folder
from manyparts.data.dataset import DatasetWriter, EpisodeDataset, TaskEntry
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig
from manyparts.rollout.recorded_tries import CollectConfig, RecordedTry, record_try
from manyparts.rollout.shards import clear_torn, load, staged
from manyparts.rollout.workers import Affinity, stream

# An expert is given up when it failed this often, and less than one attempt in five succeeded.
PATIENT_FAILURES = 20


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
    resume: bool = True,
) -> EpisodeDataset:
    """Record the first `episodes` successes of each task's expert.

    Each is cut `steps_after_success` steps after its first solved one (None: what the suite has):
    an agent that saw none of these does not know how to come close, nor how to stay; one that saw
    many of standing still may do nothing else.

    Attempts at a task are numbered, and attempt n is a pure function of (seed, task, n), so the
    dataset depends neither on `workers` (None: one a core) nor on kills: finished attempts wait in
    `<output>.partial`, from which the same call continues (with `resume=False` it begins anew).
    Failed attempts are counted in `meta/collection.json`; `keep_failures` keeps those made on the
    way as episodes too. Raises UserError for unknown tasks or bad values, if `output` exists, if
    `<output>.partial` was begun with other settings, or if an expert keeps failing.
    """
    names = tuple(registry.expand(tasks))
    if not names:
        raise UserError("no tasks to collect; name at least one")
    chosen = CollectConfig(
        tasks=names,
        episodes=whole("episodes", episodes),
        seed=whole("seed", seed),
        environment=EnvConfig.of(config or EnvConfig()),
        noise=noise or Noise(),
        images=images,
        keep_failures=keep_failures,
        steps_after_success=registry.steps_after_success(names)
        if steps_after_success is None
        else steps_after_success,
    )
    _check(chosen)
    workers = cores() if workers is None else whole("workers", workers, minimum=1)
    output = path_of(output, "output")
    staging = output.with_name(f"{output.name}.partial")
    manifest = _manifest(chosen)
    if not resume:
        shutil.rmtree(staging, ignore_errors=True)
    # both exist where a kill came after the dataset was put in place and before its staging was
    # removed
    if output.exists() and not holds(staging, manifest):
        raise UserError(f"{output} exists; choose another output")
    if not output.exists():
        _require_one_embodiment_of_all(chosen)
    with locked_folder(staging, manifest):
        clear_torn(staging)
        if not output.exists():
            ledgers = {task: Ledger(staged(staging, task)) for task in chosen.tasks}
            _record_tries(chosen, staging, ledgers, workers)
            _assemble(chosen, staging, ledgers).rename(output)
    shutil.rmtree(staging, ignore_errors=True)
    return EpisodeDataset.open(output)


@dataclass
class Ledger:
    """The attempts at one task: finished ones with their success, and those that are running."""

    finished: dict[int, bool]
    running: set[int] = field(default_factory=set)

    @property
    def successes(self) -> int:
        return sum(self.finished.values())

    @property
    def failures(self) -> int:
        return len(self.finished) - self.successes

    def missing(self, episodes: int) -> int:
        """How many more attempts must be made for sure, if all that are running succeed.

        Attempts start in order and only while this is positive, so none is made that would not be
        needed.
        """
        return max(episodes - self.successes - len(self.running), 0)

    def start_next(self) -> int:
        """Take the lowest number that is neither finished nor running."""
        number = next(
            n for n in range(len(self.finished) + len(self.running) + 1) if not self._is_taken(n)
        )
        self.running.add(number)
        return number

    def finish(self, number: int, success: bool) -> None:
        self.running.discard(number)
        self.finished[number] = success

    def _is_taken(self, number: int) -> bool:
        return number in self.finished or number in self.running


def _check(config: CollectConfig) -> None:
    if config.episodes < 1:
        raise UserError(f"{config.episodes} episodes a task; at least 1 is needed")
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
    """See `_require_one_embodiment`; before anything is recorded."""
    first, tasks = None, registry.one_task_per_embodiment(config.tasks)
    for task in tasks if len(tasks) > 1 else ():
        with closing(registry.make(task, config.environment)) as env:
            first = first or env.embodiment_spec
            _require_one_embodiment(first, env.embodiment_spec, task)


def _manifest(config: CollectConfig) -> dict[str, Any]:
    suites = dict.fromkeys(task.partition("/")[0] for task in config.tasks)
    versions = {suite: registry.versions(suite) for suite in suites}
    return to_jsonable(config) | {"versions": versions}


def _record_tries(
    config: CollectConfig, staging: Path, ledgers: dict[str, Ledger], workers: int
) -> None:
    affinity = Affinity()

    def next_try(worker: int) -> RecordedTry | None:
        task = affinity.choose(
            worker, {name: ledger.missing(config.episodes) for name, ledger in ledgers.items()}
        )
        return (
            None if task is None else RecordedTry(task, ledgers[task].start_next(), config, staging)
        )

    seconds, frames, spec = time.monotonic(), 0, None
    with (
        progress_bar("collecting", config.episodes * len(config.tasks)) as bar,
        closing(stream(record_try, next_try, workers=workers)) as attempts,
    ):
        for attempt, outcome in attempts:
            ledger = ledgers[attempt.task]
            ledger.finish(attempt.number, outcome.success)
            spec = spec or outcome.spec
            _require_one_embodiment(spec, outcome.spec, attempt.task)
            _require_progress(attempt.task, ledger)
            frames += outcome.frames if outcome.success or config.keep_failures else 0
            rate = frames / (time.monotonic() - seconds)
            failures = sum(ledger.failures for ledger in ledgers.values())
            note = f"{rate:.0f} frames/s, {failures} attempts failed"
            bar.show(sum(ledger.successes for ledger in ledgers.values()), note)
            bar.summary = f"recorded {frames} frames in {time.monotonic() - seconds:.0f} s: {note}"


def _require_one_embodiment(first: Spec, other: Spec, task: str) -> None:
    if different := first.differences(other):
        if first.embodiment != other.embodiment:
            different = [f"{first.embodiment}, {other.embodiment}"]
        raise UserError(
            f"{task} has another embodiment than the tasks before it ({'; '.join(different)}); choices: a dataset for "
            "each, which training can mix, or for walkers of one kind --state shared"
        )


def _require_progress(task: str, ledger: Ledger) -> None:
    if ledger.failures >= PATIENT_FAILURES + 4 * ledger.successes:
        raise UserError(
            f"the expert of {task} failed {ledger.failures} of {len(ledger.finished)} attempts; gave up"
        )


def _assemble(config: CollectConfig, staging: Path, ledgers: dict[str, Ledger]) -> Path:
    """The dataset of all staged attempts to be kept, tasks in the order asked for, attempts in
    theirs."""
    path = staging / "dataset"
    shutil.rmtree(path, ignore_errors=True)
    kept = [(task, number) for task in config.tasks for number in _kept(config, ledgers[task])]

    def read(task: str, number: int) -> tuple[Any, Spec]:
        return load(staging, task, number, success=ledgers[task].finished[number])

    spec = read(*kept[0])[1]
    environment = to_jsonable(config.environment)
    with (
        progress_bar("writing", len(kept)) as bar,
        DatasetWriter(
            path,
            spec,
            fps=spec.action.control_rate_hz,
            tasks=[_entry(task) for task in config.tasks],
            environment=environment,
            images=config.images,
        ) as writer,
    ):
        for count, (task, number) in enumerate(kept):
            episode, other = read(task, number)
            _require_one_embodiment(spec, other, task)
            writer.add(episode)
            bar.show(count + 1, "")
    attempts = {
        task: {"attempts": len(ledger.finished), "failures": ledger.failures}
        for task, ledger in ledgers.items()
    }
    described = _manifest(config) | {"attempts": attempts}
    write_atomically(path / "meta" / "collection.json", json.dumps(described, indent=1).encode())
    return path


def _kept(config: CollectConfig, ledger: Ledger) -> list[int]:
    return [
        number
        for number, success in sorted(ledger.finished.items())
        if success or config.keep_failures
    ]


def _entry(task: str) -> TaskEntry:
    instructions = registry.instructions(task)
    return TaskEntry(task, instructions.instruction, instructions.paraphrases)
