"""Train a world model and a policy by acting: from a config and an environment to a run folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manyparts.agents.latent import Carry
from manyparts.agents.noted import Reader, shapes_of
from manyparts.core.arguments import explained, path_of
from manyparts.core.devices import choose_device
from manyparts.core.errors import UserError
from manyparts.core.printing import first_of, say
from manyparts.core.randomness import derive_seed
from manyparts.core.serialisation import to_jsonable
from manyparts.core.spec import SHOWN_DIFFERENCES, Spec, TaskEntry
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.replay import REPLAY, SOURCES, Replay
from manyparts.data.sampling.replayed import ReplayWindows
from manyparts.embodiment.codec import Codec
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.statistics import Statistics
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig, Environment
from manyparts.envs.gym.preflight import preflight
from manyparts.evaluation.protocol import evaluate
from manyparts.models.checkpoint import CheckpointInfo, load_info, load_weights, resolve
from manyparts.models.configs import sees_images
from manyparts.models.dynamics.taught_world import TaughtWorld
from manyparts.objectives.system import System
from manyparts.rollout.collector import Collector
from manyparts.training import checkpoint, run_folder
from manyparts.training.config import TrainConfig, require_config
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.inputs import Data, Sources
from manyparts.training.loop import TrainContext, fit
from manyparts.training.metrics import Meter
from manyparts.training.online.disk import require_room
from manyparts.training.online.job import Job, require_same
from manyparts.training.online.prefill import RANDOM, prefill
from manyparts.training.online.scales import scales_of
from manyparts.training.online.teaching import (
    TeacherRun,
    load_teachers,
    open_sources,
    require_matching,
    with_teachers,
)
from manyparts.training.online.validation import BestCheckpoint, ValidationEpisodes
from manyparts.training.online.windows import OnlineWindows
from manyparts.training.optimizer import train_only, trained
from manyparts.training.precision import reproducible
from manyparts.training.preconditions import require_nothing_left_random
from manyparts.training.preparation import load_origin, provenance
from manyparts.training.run import Run
from manyparts.training.trackers import require_tracker
from manyparts.training.update import Learner


@explained(config=TrainConfig)
def train_online(
    config: TrainConfig,
    *,
    environment: str,
    environment_config: EnvConfig | Mapping[str, Any] | None = None,
    output: str | Path,
    sources: Data | Sequence[Data] = (),
    teachers: str | Path | Sequence[str | Path] = (),
    start_from: str | Path | None = None,
    prefill: str | Path = RANDOM,
    resume: bool = False,
    device: str | torch.device = "auto",
    track: str | None = None,
) -> Path:
    """Train `config` by acting in an environment, and evaluate the agent at the end.

    Args:
        config: a preset with `online` settings, or one that you changed.
        environment: the task, "suite/task".
        environment_config: what is seen, or a mapping of the fields that are not as usual: as in
            the sources; without any, the full state, and no cameras for a model of states.
        output: the run's folder, new or empty unless `resume` is set. The replay lies in it.
        sources: datasets of other tasks, from which the agent takes what its config says: actions
            that a guide is learned from, or windows to rehearse.
        teachers: runs of world models, see `vid2act/teachers-laptop`; their datasets in their order
            are the sources.
        start_from: a run or checkpoint that gives the world model to start from, and its scales;
            one that learned to act also gives its actor and critic, and a student of teachers takes
            the world alone.
        prefill: what the replay holds before anything is learned: "random" actions, a run with
            an agent that explores, or a dataset.
        resume: continue the run in `output` from its last checkpoint, on a CPU to the bit.
        device: "auto" (cuda, else mps, else cpu) or a torch device.
        track: see `train`.

    Returns:
        The run's folder, with the final evaluation in `evaluation`.

    Raises:
        UserError: for bad input, with nothing written; or an environment fails, with all that was
            collected kept.
        KeyboardInterrupt: after SIGINT, with a checkpoint written.
    """
    require_config(config)
    require_tracker(track)
    output, chosen = path_of(output, "output"), choose_device(device)
    opened = Sources(())
    if isinstance(sources, str | os.PathLike | EpisodeDataset) or sources:
        opened = Sources.open(sources)
    paths = [teachers] if isinstance(teachers, str | os.PathLike) else teachers
    runs = [TeacherRun.open(resolve(path)) for path in paths]
    origin = None if start_from is None else resolve(start_from)
    earlier = _earlier(output) if resume else None
    job = Job.of(
        config, environment, environment_config, str(prefill), opened, runs, origin, earlier
    )
    if earlier is None:
        windows = job.online.source_windows
        require_matching(runs, opened.datasets, replays=job.replays_actions, windows=windows)
    run_folder.require_free(output, resume=resume)
    preflight([environment])
    with reproducible(chosen), run_folder.hold(output):
        run = Run(job.config, opened, output, origin, chosen, Ranks(), track)
        if (output / run_folder.CONFIG).exists():
            if run.last_checkpoint() is None:
                say(f"no checkpoint in {output} yet: it begins again with its prefill", error=True)
            else:
                run_folder.require_same_origin(output, start_from)
                require_same(run, job)
        _train(run, job)
        if job.online.final_episodes:
            evaluate(output, episodes=job.online.final_episodes, device=str(chosen), overwrite=True)
    return output


def _earlier(output: Path) -> TrainConfig | None:
    """The config of the run in a folder; None if it has no checkpoint to go on from."""
    return run_folder.read_config(output)[0] if checkpoint.last(output) else None


def _train(run: Run, job: Job) -> None:
    """Prefill, build or restore the system, and train it to the last step."""
    last = run.last_checkpoint()
    with ExitStack() as opened:
        environments = [job.make("train") for _ in range(job.online.environments)]
        for env in environments:
            opened.callback(env.close)
        if last is None:
            run, system, collector, info = _begun(run, job, environments)
        else:
            info = load_info(last)
            earlier, _ = run_folder.read_config(run.output)
            run = replace(run, config=replace(run.config, model=earlier.model))
            system = _built(run, info)
            load_weights(system, last)
            collector = _collector(run, job, environments, system)
            collector.restore(
                checkpoint.source_state(last), lambda carry: Carry.of_plain(carry, run.device)
            )
        train_only(system, run.config.train_only)
        learner = Learner(system, run.config, run.ranks, run.device)
        start, meter = checkpoint.restore(last, learner) if last else (0, Meter())
        codec = info.embodiments[0].codec
        validation = ValidationEpisodes(
            job.make("validation"),
            codec,
            episodes=job.online.evaluation_episodes,
            seed=run.config.seed,
            best=BestCheckpoint(run.output, info, lambda: collector.environment_steps),
        )
        opened.callback(validation.close)
        windows = OnlineWindows(
            collector,
            run.config,
            job.online,
            codec,
            info.embodiment_set,
            _source_windows(run, system, info),
        )
        fit(TrainContext(run, learner, windows, validation, info), start, meter)


def _begun(
    run: Run, job: Job, environments: Sequence[Environment]
) -> tuple[Run, System, Collector, CheckpointInfo]:
    """A new run, with its prefilled replay, and its config on disk."""
    spec = environments[0].embodiment_spec
    scales = _given_scales(run, job, spec)
    # Without scales nobody reads states before the prefill has given them, and any will do.
    known = scales or scales_of([np.zeros((1, spec.state_dimension), np.float32)])
    model = with_teachers(run.config.model, job.teachers, spec, job.environment, scales=known)
    run = replace(run, config=replace(run.config, model=model))
    info = _described(run, job, spec, known)
    system = _built(run, info)
    system.require_learnable()
    _start(run, system, info)
    # Last: a student to start from has teachers of its own.
    load_teachers(system.model, job.teachers)
    facts = run_folder.facts_of(run.sources, run.origin, info, run.track) | job.facts()
    # First: a run that is killed in its prefill is one that can be resumed.
    run_folder.write_config(run.output, run.config, facts)
    shutil.rmtree(run.output / REPLAY, ignore_errors=True)
    collector = _collector(run, job, environments, system)
    watched = None
    if isinstance(system.model, TaughtWorld):
        codec = info.embodiments[0].codec
        watched = system.model, Reader(system.model, codec, run.device)
    system.to(run.device)
    try:
        prefill(collector, job.prefill, job.online.prefill_steps, watched=watched)
        job.require_budget(collector.environment_steps)
    except BaseException:
        # Nothing was learned yet, and a next call prefills from the start.
        shutil.rmtree(run.output / REPLAY)
        raise
    if scales is None and spec.state_dimension:
        states = [episode.state for _, episode in collector.replay.read()]
        info = _described(run, job, spec, scales_of(states))
    return run, system, collector, info


def _start(run: Run, system: System, info: CheckpointInfo) -> None:
    """Load the weights that the run starts from. Raise UserError if it freezes any that nothing has
    trained."""
    learnable, has_values = sorted(trained(system)), set()
    if run.origin is not None:
        has_values = load_origin(run.origin, system, run.config, info)
        acts = any(name.startswith("objectives.actor_critic.") for name in has_values)
        parts = "world model, actor and critic" if acts else "world model; actor and critic are new"
        say(f"starts from {run.origin}: its {parts}", error=True)
    train_only(system, run.config.train_only)
    if not run.config.freeze_untrained:
        require_nothing_left_random(system, learnable, has_values, run.origin)


def _given_scales(run: Run, job: Job, spec: Spec) -> Statistics | None:
    """The scales of states that a run is bound to: those of its origin, of its teachers, or of its
    sources. None: it takes those of the prefill."""
    if run.origin is not None:
        complaint = f"{job.environment} is of another embodiment than {run.origin}"
        return load_info(run.origin).embodiment_of(spec, complaint).statistics
    if not spec.state_dimension:
        return Statistics({})
    for teacher in job.teachers:
        if teacher.world.sees != "images":
            return teacher.statistics(spec, job.environment)
    same = [each for each in run.sources.embodiments() if not each.spec.differences(spec)]
    return same[0].statistics if same else None


def _described(run: Run, job: Job, spec: Spec, statistics: Statistics) -> CheckpointInfo:
    """The description of the run's checkpoints: its embodiment, and others of its sources."""
    embodiment = Embodiment(spec, to_jsonable(job.seen), statistics, (_task(job),))
    others = [
        replace(each, tasks=()) for each in run.sources.embodiments() if each.spec.differences(spec)
    ]
    for other in others:
        if other.spec.embodiment == spec.embodiment:
            different = first_of(other.spec.differences(spec), SHOWN_DIFFERENCES, separator="; ")
            raise UserError(
                f"a source shows {spec.embodiment} otherwise than {job.environment} here "
                f"({different}); choose what is seen with --image-size, --cameras and --state"
            )
    own = {"rewarded": True}
    return CheckpointInfo(
        embodiments=(embodiment, *others),
        model=to_jsonable(run.config.model),
        objectives=to_jsonable(run.config.objectives),
        window=to_jsonable(run.config.window),
        provenance=provenance(run.config, run.sources, run.origin, acts_in=job.environment)
        | own
        | job.facts(),
    )


def _task(job: Job) -> TaskEntry:
    instructions = registry.instructions(job.environment)
    return TaskEntry(job.environment, instructions.instruction, instructions.paraphrases)


def _built(run: Run, info: CheckpointInfo) -> System:
    """The system with new weights."""
    config = run.config
    torch.manual_seed(derive_seed("weights", config.seed))
    return System.build(config.model, config.objectives, info.embodiment_set, config.window)


def _collector(
    run: Run, job: Job, environments: Sequence[Environment], system: System
) -> Collector:
    """What acts, with the replay of the run."""
    model, spec = system.model, environments[0].embodiment_spec
    recorded = shapes_of(model) if isinstance(model, TaughtWorld) else {}
    require_room(run, job, spec, recorded)
    replay = Replay(
        run.output / REPLAY,
        spec,
        max_frames=job.online.replay_frames,
        recorded=recorded,
        about={
            "environment": to_jsonable(job.seen),
            "tasks": [to_jsonable(_task(job))],
            "terminates": environments[0].can_terminate,
            "knows_success": environments[0].knows_success,
        },
    )
    return Collector(environments, replay, seed=run.config.seed)


def _source_windows(run: Run, system: System, info: CheckpointInfo) -> list[ReplayWindows]:
    """The windows of the sources; none where none are drawn."""
    online, datasets = run.config.online, run.sources.datasets
    if online is None or not online.source_windows or not datasets:
        return []
    own = [
        info.embodiment_of(dataset.spec, f"{dataset.location} is of an unknown embodiment")
        for dataset in datasets
    ]
    codecs = [Codec.of(each.spec, each.statistics) for each in own]
    replays = open_sources(run.output / SOURCES, datasets, system.model, codecs)
    return [
        ReplayWindows(
            replay,
            run.config.window,
            codec,
            seed=derive_seed("source", run.config.seed, number),
            images=sees_images(run.config.model),
            source=number,
        )
        for number, (replay, codec) in enumerate(zip(replays, codecs, strict=True))
    ]
