"""Train a world model and a policy by acting: from a config and an environment to a run folder."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from manyparts.agents.latent import Carry
from manyparts.core.arguments import explained, path_of
from manyparts.core.devices import choose_device
from manyparts.core.errors import UserError
from manyparts.core.printing import counted, say
from manyparts.core.randomness import derive_seed
from manyparts.core.serialisation import from_jsonable, to_jsonable
from manyparts.core.spec import TaskEntry
from manyparts.data.sampling.replay import Replay
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.statistics import Statistics
from manyparts.envs import registry
from manyparts.envs.base import NO_CAMERA, EnvConfig, Environment, Split
from manyparts.evaluation.protocol import evaluate
from manyparts.models.checkpoint import CheckpointInfo, load_info, load_weights, resolve
from manyparts.objectives.system import System, sees_images
from manyparts.rollout.collector import Collector
from manyparts.training import checkpoint, run_folder
from manyparts.training.config import OnlineConfig, TrainConfig, require_config
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.inputs import Sources
from manyparts.training.loop import TrainContext, fit
from manyparts.training.metrics import Meter
from manyparts.training.online.prefill import RANDOM, is_dataset, prefill
from manyparts.training.online.scales import scales_of
from manyparts.training.online.validation import ValidationEpisodes
from manyparts.training.online.windows import OnlineWindows
from manyparts.training.optimizer import train_only
from manyparts.training.precision import reproducible
from manyparts.training.preparation import load_origin, provenance
from manyparts.training.run import Run
from manyparts.training.trackers import Track, require_tracker
from manyparts.training.update import Learner

REPLAY = "replay"


@explained(config=TrainConfig)
def train_online(
    config: TrainConfig,
    *,
    environment: str,
    environment_config: EnvConfig | Mapping[str, Any] | None = None,
    output: str | Path,
    start_from: str | Path | None = None,
    prefill: str | Path = RANDOM,
    resume: bool = False,
    device: str | torch.device = "auto",
    track: Track | None = None,
) -> Path:
    """Train `config` by acting in an environment, and evaluate the agent at the end.

    Args:
        config: a preset with `online` settings, or one that you changed.
        environment: the task, "suite/task".
        environment_config: what is seen, or a mapping of the fields that are not as usual: the
            full state, and no cameras for a model of states.
        output: the run's folder, new or empty unless `resume` is set. The replay lies in it.
        start_from: a run or checkpoint whose world model training starts from, with its scales.
        prefill: what the replay holds before anything is learned: "random" actions, a run whose
            agent explores, or a dataset.
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
    if config.online is None:
        raise UserError(
            f"{config.method} learns from datasets; use train(config, data=...), or a preset that "
            "acts, such as dreamer/laptop"
        )
    require_tracker(track)
    output, prefilled = path_of(output, "output"), str(prefill)
    job = _Job(
        _scheduled(config, config.online, prefilled),
        environment,
        _what_is_seen(config, environment_config),
        prefilled,
    )
    run_folder.require_free(output, resume=resume)
    chosen = choose_device(device)
    with reproducible(chosen), run_folder.hold(output):
        origin = None if start_from is None else resolve(start_from)
        run = Run(job.config, Sources(()), output, origin, chosen, Ranks(), track)
        if (output / run_folder.CONFIG).exists():
            _require_same(run, job)
        _train(run, job)
        if job.online.final_episodes:
            evaluate(output, episodes=job.online.final_episodes, device=str(chosen), overwrite=True)
    return output


@dataclass(frozen=True)
class _Job:
    """Where a run acts, and how."""

    config: TrainConfig
    """The run's config, with as many steps as its environment steps give."""

    environment: str
    """"suite/task"."""

    seen: EnvConfig
    """What the environment shows."""

    prefill: str
    """What the replay holds before anything is learned."""

    @property
    def online(self) -> OnlineConfig:
        """The schedule."""
        assert self.config.online is not None
        return self.config.online

    def make(self, split: Split) -> Environment:
        """An environment of the task."""
        return registry.make(self.environment, self.seen, split=split)

    def facts(self) -> dict[str, Any]:
        """What config.json holds of it next to the config."""
        return {
            "environment": self.environment,
            "environment_config": to_jsonable(self.seen),
            "prefill": self.prefill,
        }


def _train(run: Run, job: _Job) -> None:
    """Prefill, build or restore the system, and train it to the last step."""
    last = run.last_checkpoint()
    with ExitStack() as opened:
        environments = [job.make("train") for _ in range(job.online.environments)]
        for env in environments:
            opened.callback(env.close)
        collector = _collector(run, job, environments, is_new=last is None)
        if last is None:
            info = _describe(run, job, collector.replay)
            facts = {
                **job.facts(),
                "start_from": run.origin and str(run.origin),
                "provenance": dict(info.provenance),
            }
            run_folder.write_config(run.output, run.config, facts)
        else:
            info = load_info(last)
            collector.restore(checkpoint.source_state(last), Carry.of_plain)
        learner = Learner(_system(run, info, last), run.config, run.ranks, run.device)
        start, meter = checkpoint.restore(last, learner) if last else (0, Meter())
        codec = info.embodiments[0].codec
        validation = ValidationEpisodes(
            job.make("validation"),
            codec,
            episodes=job.online.evaluation_episodes,
            seed=run.config.seed,
            action_repeat=job.online.action_repeat,
        )
        opened.callback(validation.close)
        windows = OnlineWindows(collector, run.config, job.online, codec)
        fit(TrainContext(run, learner, windows, validation, info), start, meter)


def _collector(
    run: Run, job: _Job, environments: Sequence[Environment], *, is_new: bool
) -> Collector:
    """What acts, with the replay of the run; a new one is prefilled."""
    if is_new:
        shutil.rmtree(run.output / REPLAY, ignore_errors=True)
    spec = environments[0].embodiment_spec
    replay = Replay(run.output / REPLAY, spec, max_frames=job.online.replay_frames)
    collector = Collector(
        environments, replay, seed=run.config.seed, action_repeat=job.online.action_repeat
    )
    if is_new:
        prefill(collector, job.prefill, job.online.prefill_steps)
    return collector


def _system(run: Run, info: CheckpointInfo, last: Path | None) -> System:
    """The system with the weights that it has before its next step."""
    config = run.config
    torch.manual_seed(derive_seed("weights", config.seed))
    system = System.build(config.model, config.objectives, info.embodiment_set, config.window)
    if last is not None:
        load_weights(system, last)
    elif run.origin is not None:
        load_origin(run.origin, system, config, info)
    train_only(system, config.train_only)
    return system


def _describe(run: Run, job: _Job, replay: Replay) -> CheckpointInfo:
    """The description of the run's checkpoints, with the scales of its origin or of the prefill."""
    instructions = registry.instructions(job.environment)
    entry = TaskEntry(job.environment, instructions.instruction, instructions.paraphrases)
    statistics, spec = Statistics({}), replay.spec
    if run.origin is not None:
        learned = load_info(run.origin).embodiment_of(
            spec, f"{job.environment} is of another embodiment than {run.origin}"
        )
        statistics = learned.statistics
    elif spec.state_dimension:
        statistics = scales_of([episode.state for _, episode in replay.read()])
    embodiment = Embodiment(spec, to_jsonable(job.seen), statistics, (entry,))
    own = {"rewarded": True, "action_repeat": job.online.action_repeat}
    return CheckpointInfo(
        embodiments=(embodiment,),
        model=to_jsonable(run.config.model),
        objectives=to_jsonable(run.config.objectives),
        window=to_jsonable(run.config.window),
        provenance=provenance(run.config, run.sources, run.origin) | own | job.facts(),
    )


def _scheduled(config: TrainConfig, online: OnlineConfig, prefilled: str) -> TrainConfig:
    """The config with the optimiser steps that its environment steps give."""
    if is_dataset(prefilled):
        online = replace(online, prefill_steps=0)  # a dataset is there before the first step
    replayed = config.batch_size * config.window.steps
    steps = online.updates(online.environment_steps, replayed)
    if steps < 1:
        raise UserError(
            f"{online.environment_steps} environment steps give no optimiser step of {replayed} "
            "replayed steps; raise online.environment_steps or online.train_ratio"
        )
    every = max(1, math.ceil(online.evaluate_every_steps * online.train_ratio / replayed))
    say(
        f"{counted(online.environment_steps, 'environment step')}, "
        f"{counted(steps, 'optimiser step')}, evaluated every {every}",
        error=True,
    )
    return replace(config, online=online, steps=steps, validate_every_steps=every)


def _what_is_seen(config: TrainConfig, chosen: EnvConfig | Mapping[str, Any] | None) -> EnvConfig:
    """What environments show; no images to a model that reads none."""
    if isinstance(chosen, EnvConfig):
        return chosen
    usual = EnvConfig(state="full")
    if not sees_images(config.model):
        usual = replace(usual, cameras=(NO_CAMERA,))
    return from_jsonable(EnvConfig, to_jsonable(usual) | to_jsonable(dict(chosen or {})))


def _require_same(run: Run, job: _Job) -> None:
    """Raise UserError if the run in the folder was begun with other settings, or elsewhere."""
    earlier, facts = run_folder.read_config(run.output)
    config = run.config
    if earlier.online is not None and config.optimizer.final_fraction == 1:
        # A constant learning rate does not depend on the end, so a run may go on beyond it.
        online = replace(job.online, environment_steps=earlier.online.environment_steps)
        config = replace(config, online=online, steps=earlier.steps)
    run_folder.require_same(run.output, config, run.sources)
    for name, value in job.facts().items():
        if facts.get(name) != value:
            raise UserError(
                f"{run.output} was begun with {name} {facts.get(name)!r}, not {value!r}; "
                "resume it with that, or choose another output"
            )
