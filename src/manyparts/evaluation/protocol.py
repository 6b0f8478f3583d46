"""Evaluates an agent on goals it never saw, with several processes; resumable, the same result
however it is run."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from manyparts.agents.loading import LearnedAgent, origin_of, require_fitting_planner
from manyparts.core.arguments import explained, path_of, whole
from manyparts.core.devices import choose_device
from manyparts.core.errors import UserError
from manyparts.core.host.cores import cores
from manyparts.core.progress import progress_bar
from manyparts.core.provenance import code_commit, file_hash, package_versions
from manyparts.core.records import Precision, Prompt
from manyparts.core.serialisation import from_jsonable, to_jsonable
from manyparts.core.storage.atomic import write_atomically
from manyparts.data.sampling.windows import WindowConfig
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig, Split
from manyparts.evaluation.episodes import (
    REFERENCES,
    EvaluationConfig,
    EvaluationJob,
    Reference,
    learned_embodiment,
    run_episode,
    video_name,
)
from manyparts.evaluation.prompt_kinds import checked_prompts, is_instruction, kinds_for
from manyparts.evaluation.results import EVALUATION, EpisodeRecord, Result
from manyparts.evaluation.results_folder import EPISODES, VIDEOS, kept, results_in
from manyparts.models.checkpoint import CheckpointInfo, load_info
from manyparts.models.run_files import WEIGHTS, results_folder
from manyparts.planners import PlannerConfig
from manyparts.rollout.workers import Affinity, stream


@explained(config=EnvConfig)
def evaluate(
    run: str | Path | LearnedAgent,
    *,
    tasks: str | Sequence[str] | None = None,
    episodes: int = 20,
    seed: int = 0,
    workers: int | None = None,
    videos: int = 0,
    prompts: str | Prompt = "instruction",
    prompt_task: str | None = None,
    max_steps: int | None = None,
    until_success: bool = False,
    split: Split = "evaluation",
    output: str | Path | None = None,
    overwrite: bool = False,
    device: str | None = None,
    precision: Precision | None = None,
    planner: PlannerConfig | None = None,
) -> Result:
    """Run an agent for `episodes` episodes of each task, and return and save what it achieved.

    run: a run or checkpoint folder, or an agent of `load`, which evaluates what it was loaded from.
    tasks: names or splits; None: the tasks it was trained on, of an agent loaded for one embodiment
    that one's. An agent for several embodiments acts for that of the task. prompts: a kind of
    prompt (`prompt_kinds`), or an instruction that replaces every task's own. prompt_task: the task
    whose prompts it gets, whatever the environment's. max_steps: None for the suite's horizon;
    episodes run to it, so that success at the last step means something, unless `until_success`
    ends each with its first solved step, which saves most of the time of a good agent. videos: of
    each task film the first so many successes and failures, and keep where the visual tokens look
    in them (`attention`). device, precision: how the agent runs, by default on "cpu" in "fp32";
    bf16 computes in bfloat16. planner: what a dynamics model acts with. An agent brings its own.

    Episode i's environment is a pure function of (seed, task, i): two agents evaluated with one
    seed meet the same goals, and results depend neither on `workers` (None: one a core) nor on
    kills. `output` (None: RUN/evaluation, of one checkpoint of a run RUN/evaluation-STEP) holds
    episodes.jsonl, results.json and videos/; a second call does only what is missing there.
    overwrite: if it holds results of other settings, or of the run before it was trained on, put
    the new ones in their place once these are whole.

    Raises UserError for unknown tasks or bad values, an embodiment that the agent did not learn, or
    a folder of another evaluation that is not to be overwritten.
    """
    if isinstance(run, str) and run in REFERENCES and not Path(run).exists():
        raise UserError(
            f"{run} is no run: evaluate_reference({run!r}, tasks, output=...) evaluates it"
        )
    asked = origin_of(run, device, precision, planner)
    checkpoint, planner = asked.checkpoint, asked.planner
    info = load_info(checkpoint)
    require_fitting_planner(asked.run, info, planner)
    chosen = tuple(dict.fromkeys(registry.expand(tasks or _tasks_of(info, asked.embodiment))))
    seed, episodes = _checked(seed, episodes, videos, max_steps, workers, split, asked.precision)
    instruction = checked_prompts(prompts)
    _require_trained_on(instruction, asked.run, info, prompt_task)
    device = str(choose_device(asked.device))
    environments = {
        suite: environment if max_steps is None else replace(environment, max_steps=max_steps)
        for suite, environment in _environments(info, chosen).items()
    }
    if prompt_task is not None:
        (prompt_task,) = registry.expand([prompt_task])
    config = EvaluationConfig(
        checkpoint,
        environments,
        seed,
        split,
        instruction,
        device,
        asked.precision,
        prompt_task,
        until_success,
        planner,
    )
    folder = results_folder(asked.run, EVALUATION) if output is None else path_of(output, "output")
    weights = {"weights": file_hash(checkpoint / WEIGHTS)}
    conditions = weights | _conditions(config, chosen, info.provenance.get("seed"))
    with results_in(folder, conditions, overwrite=overwrite) as place, kept(config, place) as held:
        return _carried_out(
            place, held, conditions | _origin(config, info), chosen, episodes, videos, workers
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
    split: Split = "evaluation",
    overwrite: bool = False,
) -> Result:
    """What the "expert", which knows the simulator, or "random" actions achieve on the episodes
    that `evaluate` meets: a ceiling and a floor. environment: None for the suites' usual one. The
    rest: see `evaluate`."""
    seed, episodes = _checked(seed, episodes, videos, max_steps, workers, split, "fp32")
    if agent not in REFERENCES:
        raise UserError(f"agent is {agent!r}; choices: {', '.join(REFERENCES)}")
    chosen = tuple(dict.fromkeys(registry.expand(tasks)))
    settings = EnvConfig.of(environment or EnvConfig())
    if max_steps is not None:
        settings = replace(settings, max_steps=max_steps)
    environments = {task.partition("/")[0]: settings for task in chosen}
    config = EvaluationConfig(
        agent, environments, seed, split, "instruction", "cpu", until_success=until_success
    )
    conditions = {"agent": agent} | _conditions(config, chosen, None)
    origin = {"commit": code_commit(), "training": {}, "python": platform.python_version()}
    with results_in(path_of(output, "output"), conditions, overwrite=overwrite) as place:
        return _carried_out(place, config, conditions | origin, chosen, episodes, videos, workers)


def _carried_out(
    folder: Path,
    config: EvaluationConfig,
    provenance: Mapping[str, Any],
    tasks: Sequence[str],
    episodes: int,
    videos: int,
    workers: int | None,
) -> Result:
    """Run in `folder` what is missing there, and save the result."""
    asked = [(task, index) for task in tasks for index in range(episodes)]
    records = _run_missing(folder, config, asked, videos, cores() if workers is None else workers)
    result = Result(tuple(records), {**provenance, "tasks": list(tasks), "episodes": episodes})
    result.save(folder)
    return result


def _checked(
    seed: int,
    episodes: int,
    videos: int,
    max_steps: int | None,
    workers: int | None,
    split: str,
    precision: str,
) -> tuple[int, int]:
    """The seed and the number of episodes as ints. Raises UserError for a value that cannot be."""
    whole("videos", videos, minimum=0)
    for name, value in (("max_steps", max_steps), ("workers", workers)):
        if value is not None:
            whole(name, value, minimum=1)
    for name, value, choices in (
        ("split", split, get_args(Split)),
        ("precision", precision, get_args(Precision)),
    ):
        if value not in choices:
            raise UserError(f"{name} is {value!r}; choices: {', '.join(choices)}")
    return whole("seed", seed), whole("episodes", episodes, minimum=1)


def _tasks_of(info: CheckpointInfo, embodiment: str | None) -> list[str]:
    """Names of the tasks trained on, of one embodiment or of all."""
    bodies = [body for body in info.embodiments if embodiment in (None, body.spec.embodiment)]
    return [task.name for body in bodies for task in body.tasks]


def _require_trained_on(
    prompts: str, run: Path, info: CheckpointInfo, prompt_task: str | None
) -> None:
    """Raises UserError for prompts that the agent was not trained on, or that would not reach
    it."""
    taken = kinds_for(from_jsonable(WindowConfig, dict(info.window)))
    if not is_instruction(prompts):
        if prompts not in taken:
            raise UserError(
                f"{run} was not trained on prompts of {prompts!r}; choices: {', '.join(taken)}"
            )
    elif info.model.get("prompt") is None:
        raise UserError(
            f"{run} takes no prompts, so nothing would read {prompts!r}; leave prompts out"
        )
    elif prompt_task is not None:
        raise UserError(
            f"prompts {prompts!r} and prompt_task {prompt_task!r} both choose the instruction; give one"
        )


def _environments(info: CheckpointInfo, tasks: Sequence[str]) -> dict[str, EnvConfig]:
    """The environment of each task's suite, as it was in training.

    A suite that no embodiment was trained in is taken for the first one's, which must fit it.
    Raises UserError if not.
    """
    configs = [from_jsonable(EnvConfig, dict(each.environment)) for each in info.embodiments]
    trained = {
        task.name.partition("/")[0]: config
        for each, config in zip(info.embodiments, configs, strict=True)
        for task in each.tasks
    }
    found = {}
    for task in tasks:
        suite = task.partition("/")[0]
        if suite not in found and suite not in trained:
            with contextlib.closing(registry.make(task, configs[0])) as env:
                learned_embodiment(info, env)
        found[suite] = trained.get(suite, configs[0])
    return found


def _conditions(
    config: EvaluationConfig, tasks: Sequence[str], training_seed: int | None
) -> dict[str, Any]:
    """What decides an episode's outcome beside its task and index, as JSON values."""
    suites = dict.fromkeys(task.partition("/")[0] for task in tasks)
    simulators = {suite: registry.versions(suite) for suite in suites}
    renderers = {versions.pop("renderer", "none") for versions in simulators.values()}
    planned = {} if config.planner is None else {"planner": to_jsonable(config.planner)}
    return {
        "environment": _shared(config.environments, to_jsonable),
        "seeds": {"evaluation": config.seed, "training": training_seed},
        "split": config.split,
        "prompts": config.prompts,
        "prompt_task": config.prompt_task,
        "max_steps": _shared(config.environments, lambda environment: environment.max_steps),
        "until_success": config.until_success,
        "device": config.device,
        "precision": config.precision,
        "versions": package_versions(),
        "simulators": simulators,
        "renderer": ", ".join(sorted(renderers)),
        **planned,
    }


def _shared(environments: Mapping[str, EnvConfig], what: Callable[[EnvConfig], Any]) -> Any:
    """What all suites' environments have in common, or each one's where they differ."""
    told = {suite: what(environment) for suite, environment in environments.items()}
    first = next(iter(told.values()))
    return first if all(value == first for value in told.values()) else told


def _origin(config: EvaluationConfig, info: CheckpointInfo) -> dict[str, Any]:
    """Which code, run and data the agent comes from, as JSON values."""
    trained = dict(info.provenance)
    return {
        "commit": code_commit(),
        "checkpoint": str(config.agent),
        "config_hash": trained.get("config_hash"),
        "dataset_fingerprint": trained.get("dataset_fingerprint"),
        "training": trained,
        "python": platform.python_version(),
    }


def _run_missing(
    folder: Path,
    config: EvaluationConfig,
    asked: Sequence[tuple[str, int]],
    videos: int,
    workers: int,
) -> list[EpisodeRecord]:
    """Run and film what is missing; the records of the episodes asked for, in their order.

    Each record is on disk before the next one is waited for.
    """
    path = folder / EPISODES
    known = {(record.task, record.index): record for record in _read_records(path)}
    if known:
        _write_records(path, list(known.values()))  # without the line that a kill cut off
    schedule = _Schedule(folder, config, asked, videos, known)
    with (
        progress_bar("evaluating", len(asked)) as bar,
        closing(stream(run_episode, schedule.next_job, workers=workers)) as finished,
    ):
        seconds, steps = time.monotonic(), 0
        for job, record in finished:
            if job.video is not None:
                first = known[record.task, record.index]
                assert record == first, (
                    f"an episode came out differently when it was filmed: {first}, {record}"
                )
                continue
            _append(path, record)
            schedule.add(record)
            steps += record.length
            done = [known[key] for key in asked if key in known]
            success = sum(episode.success_any for episode in done) / len(done)
            note = f"success {success:.2f}, {steps / (time.monotonic() - seconds):.0f} steps/s"
            bar.show(len(done), note)
            bar.summary = (
                f"evaluated {len(done)} episodes in {time.monotonic() - seconds:.0f} s: {note}"
            )
    _write_records(path, [known[key] for key in sorted(known)])
    return [known[key] for key in asked]


class _Schedule:
    """Which episode a worker runs next: it stays with its task, and films it once its episodes are
    done.

    Which ones to film, the first `videos` successes and failures, is known only then. They are run
    once more before a camera, which is cheaper by far than to film all.
    """

    def __init__(
        self,
        folder: Path,
        config: EvaluationConfig,
        asked: Sequence[tuple[str, int]],
        videos: int,
        known: dict[tuple[str, int], EpisodeRecord],
    ) -> None:
        self._folder, self._config, self._asked, self._videos, self._known = (
            folder,
            config,
            asked,
            videos,
            known,
        )
        self._blind = (
            config.planner is not None or config.agent in REFERENCES
        )  # no visual tokens that look anywhere
        self._affinity = Affinity()
        self._waiting: dict[str, deque[EvaluationJob]] = {task: deque() for task, _ in asked}
        for task, index in asked:
            if (task, index) not in known:
                self._waiting[task].append(EvaluationJob(task, index, config))
        for task in self._waiting:
            self._film_if_done(task)

    def next_job(self, worker: int) -> EvaluationJob | None:
        task = self._affinity.choose(
            worker, {task: len(jobs) for task, jobs in self._waiting.items()}
        )
        return None if task is None else self._waiting[task].popleft()

    def add(self, record: EpisodeRecord) -> None:
        self._known[record.task, record.index] = record
        self._film_if_done(record.task)

    def _film_if_done(self, task: str) -> None:
        records = [self._known.get(key) for key in self._asked if key[0] == task]
        found = [record for record in records if record is not None]
        if len(found) < len(records):
            return
        folder = self._folder / VIDEOS
        for outcome in (True, False):
            for record in [record for record in found if record.success_any == outcome][
                : self._videos
            ]:
                video = folder / video_name(record)
                if not (video.exists() and (self._blind or video.with_suffix(".npz").exists())):
                    self._waiting[task].append(
                        EvaluationJob(task, record.index, self._config, folder)
                    )


def _read_records(path: Path) -> list[EpisodeRecord]:
    """Whole lines only: what a kill cut off is done again."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    try:
        return [EpisodeRecord.from_dict(json.loads(line)) for line in lines if line.endswith("\n")]
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} has a line that is no episode ({error}); delete it or choose another output"
        ) from None


def _append(path: Path, record: EpisodeRecord) -> None:
    """Add one line in one write."""
    line = (json.dumps(record.to_dict()) + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    with contextlib.closing(os.fdopen(descriptor, "wb", buffering=0)) as file:
        file.write(line)


def _write_records(path: Path, records: Sequence[EpisodeRecord]) -> None:
    write_atomically(
        path, "".join(json.dumps(record.to_dict()) + "\n" for record in records).encode()
    )
