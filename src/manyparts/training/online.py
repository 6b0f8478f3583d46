"""Training in an environment: a replay that grows while the system acts and learns."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manyparts.agents.base import Agent
from manyparts.agents.latent import Carry, LatentAgent
from manyparts.agents.random import RandomAgent
from manyparts.core.columns import STATE
from manyparts.core.errors import UserError
from manyparts.core.printing import say
from manyparts.core.randomness import derive_seed
from manyparts.core.serialisation import to_jsonable
from manyparts.core.spec import Spec, TaskEntry
from manyparts.data.sampling.replay import Replay
from manyparts.data.sampling.replayed import ReplayWindows
from manyparts.embodiment.codec import Codec
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.statistics import FeatureStatistics, RunningStatistics, Statistics
from manyparts.envs import registry
from manyparts.envs.base import NO_CAMERA, EnvConfig, Environment
from manyparts.models.checkpoint import CheckpointInfo, load_info, load_weights
from manyparts.objectives.system import System, sees_images
from manyparts.rollout.collector import Collector
from manyparts.rollout.loop import rollout
from manyparts.training import checkpoint, run_folder
from manyparts.training.config import OnlineConfig, TrainConfig
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.inputs import Sources
from manyparts.training.loop import TrainContext, fit
from manyparts.training.metrics import Meter
from manyparts.training.optimizer import train_only
from manyparts.training.precision import reproducible
from manyparts.training.preparation import provenance
from manyparts.training.run import Run
from manyparts.training.trackers import Track
from manyparts.training.update import Learner

REPLAY = "replay"
# A number that hardly moved under random actions may move much once the agent can act. Its scale is
# at least this part of the largest one.
_MIN_PART_OF_SCALE = 0.05
_RECENT = 20  # episodes over which returns are averaged in the metrics


def train_online(
    config: TrainConfig,
    *,
    environment: str,
    environment_config: EnvConfig | None = None,
    output: Path,
    resume: bool = False,
    device: torch.device,
    track: Track | None = None,
) -> Path:
    """Train `config` in an environment from nothing.

    Args:
        config: a preset with `online` settings.
        environment: the task, "suite/task".
        environment_config: what is seen; None: the default, without cameras for a model of states.
        output: the run's folder, new or empty unless `resume` is set.
        resume: continue the run in `output` from its last checkpoint, to the bit on a CPU.
        device: where to train.
        track: see `train`.

    Returns:
        The run's folder.

    Raises:
        UserError: for bad input, with nothing written; or an environment fails, with all that was
            collected kept.
        KeyboardInterrupt: after SIGINT, with a checkpoint written.
    """
    assert config.online is not None
    config = _scheduled(config, config.online)
    seen = _what_is_seen(config, environment_config)
    run_folder.require_free(output, resume=resume)
    with reproducible(device), run_folder.hold(output):
        environments = [
            registry.make(environment, seen, split="train")
            for _ in range(_online(config).environments)
        ]
        run = Run(config, Sources(()), output, None, device, Ranks(), track)
        facts = {"environment": environment, "environment_config": to_jsonable(seen)}
        if (output / run_folder.CONFIG).exists():
            _require_same(run, facts)
        _train(run, environments, seen, facts)
    return output


class OnlineWindows(ReplayWindows):
    """Windows of a replay that the system itself fills.

    Args:
        collector: Acts.
        config: The run's, which says how much is collected for each step.
        codec: Normalises states and actions.
    """

    def __init__(self, collector: Collector, config: TrainConfig, codec: Codec) -> None:
        super().__init__(
            collector.replay,
            config.window,
            codec,
            seed=config.seed,
            images=sees_images(config.model),
        )
        self.collector, self.online = collector, _online(config)
        self._replayed = config.batch_size * config.window.steps
        self._updates = 0

    def prepare(self, step: int, learner: Learner) -> None:
        """Let the system act until all is collected that this step needs."""
        self._updates = step

        def agent_of(seed: int) -> Agent:
            return LatentAgent(learner.system, self.codec, seed=seed)

        self.collector.until(self.online.owed(step, self._replayed), agent_of)

    def is_ready(self, step: int) -> bool:
        """Whether a step needs no more than was collected."""
        return self.collector.environment_steps >= self.online.owed(step, self._replayed)

    def state(self) -> dict[str, Any]:
        """The collector's state."""
        return self.collector.state()

    def after_save(self) -> None:
        """Delete episodes that no resumed run draws from."""
        self.replay.delete_unused()

    def progress(self) -> dict[str, float]:
        """Environment steps, the realised train ratio, and the last episodes' outcomes."""
        learned = self.collector.environment_steps - self.online.prefill_steps
        recent = self.replay.episodes[-_RECENT:]
        return {
            "environment_steps": float(self.collector.environment_steps),
            "replay_ratio": (self._updates + 1) * self._replayed / max(learned, 1),
            "collected/return": float(np.mean([each.return_ for each in recent])),
            "collected/success": float(np.mean([each.success for each in recent])),
        }


class ValidationEpisodes:
    """Episodes on validation starts, always the same, in an environment of their own.

    Args:
        env: The environment, with the validation split's goals.
        codec: Normalises states and actions.
        episodes: How many.
        seed: That the episodes' seeds are derived from.
    """

    def __init__(self, env: Environment, codec: Codec, *, episodes: int, seed: int) -> None:
        self.env, self.codec = env, codec
        self.seeds = [
            derive_seed("validation episodes", seed, number) for number in range(episodes)
        ]

    def measure(self, learner: Learner) -> dict[str, float]:
        """Return the mean success and return, acting at the agent's best."""
        agent = LatentAgent(learner.system, self.codec)
        results = [
            rollout(self.env, agent, seed=seed, prompt=None, explore=False) for seed in self.seeds
        ]
        return {
            "validation/success": float(np.mean([each.success_any for each in results])),
            "validation/return": float(np.mean([each.return_ for each in results])),
        }

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


def statistics_of(states: Sequence[np.ndarray]) -> Statistics:
    """Statistics by which states are normalised in an online run.

    Numbers that hardly moved so far get a scale, so that they count once they move.

    Args:
        states: (t, s) of each episode.
    """
    running = RunningStatistics(states[0].shape[1])
    for each in states:
        running.update(each)
    found = running.finish()
    std = np.asarray(found.std)
    scale = np.maximum(std, _MIN_PART_OF_SCALE * max(float(std.max(initial=0.0)), 1e-3))
    mean = np.asarray(found.mean)
    wide = FeatureStatistics(
        count=found.count,
        min=tuple(np.minimum(found.min, mean - scale).tolist()),
        max=tuple(np.maximum(found.max, mean + scale).tolist()),
        mean=found.mean,
        std=tuple(scale.tolist()),
    )
    return Statistics({STATE: wide})


def _train(
    run: Run, environments: Sequence[Environment], seen: EnvConfig, facts: Mapping[str, Any]
) -> None:
    """Prefill, build or restore the system, and train it to the last step."""
    config, online, last = run.config, _online(run.config), run.last_checkpoint()
    spec, task = environments[0].embodiment_spec, environments[0].task
    if last is None:
        shutil.rmtree(run.output / REPLAY, ignore_errors=True)
    replay = Replay(run.output / REPLAY, spec, max_frames=online.replay_frames)
    collector = Collector(
        environments, replay, seed=config.seed, action_repeat=online.action_repeat
    )
    if last is None:
        collector.whole_episodes(online.prefill_steps, lambda seed: RandomAgent(spec, seed=seed))
        info = _describe(run, spec, task, seen, replay)
        run_folder.write_config(
            run.output, config, dict(facts) | {"provenance": dict(info.provenance)}
        )
    else:
        info = load_info(last)
        collector.restore(checkpoint.source_state(last), Carry.of_plain)
    torch.manual_seed(derive_seed("weights", config.seed))
    system = System.build(config.model, config.objectives, info.embodiment_set, config.window)
    if last is not None:
        load_weights(system, last)
    train_only(system, config.train_only)
    learner = Learner(system, config, run.ranks, run.device)
    start, meter = checkpoint.restore(last, learner) if last else (0, Meter())
    codec = info.embodiments[0].codec
    windows = OnlineWindows(collector, config, codec)
    validation = ValidationEpisodes(
        registry.make(task, seen, split="validation"),
        codec,
        episodes=online.evaluation_episodes,
        seed=config.seed,
    )
    try:
        fit(TrainContext(run, learner, windows, validation, info), start, meter)
    finally:
        validation.close()
        for env in environments:
            env.close()


def _describe(run: Run, spec: Spec, task: str, seen: EnvConfig, replay: Replay) -> CheckpointInfo:
    """The description of the run's checkpoints, with the scale of the prefill's states."""
    instructions = registry.instructions(task)
    entry = TaskEntry(task, instructions.instruction, instructions.paraphrases)
    statistics = Statistics({})
    if spec.state_dimension:
        statistics = statistics_of([episode.state for _, episode in replay.read()])
    embodiment = Embodiment(spec, to_jsonable(seen), statistics, (entry,))
    return CheckpointInfo(
        embodiments=(embodiment,),
        model=to_jsonable(run.config.model),
        objectives=to_jsonable(run.config.objectives),
        window=to_jsonable(run.config.window),
        provenance=provenance(run.config, run.sources, None)
        | {"rewarded": True, "environment": task},
    )


def _scheduled(config: TrainConfig, online: OnlineConfig) -> TrainConfig:
    """The config with the optimiser steps that its environment steps give."""
    replayed = config.batch_size * config.window.steps
    steps = online.updates(online.environment_steps, replayed)
    if steps < 1:
        raise UserError(
            f"{online.environment_steps} environment steps give no optimiser step of {replayed} "
            "replayed steps; collect more, or raise online.train_ratio"
        )
    every = math.ceil(online.evaluate_every_steps * online.train_ratio / replayed)
    say(
        f"{online.environment_steps} environment steps, {steps} optimiser steps, "
        f"evaluated every {every}",
        error=True,
    )
    return replace(config, steps=steps, validate_every_steps=every)


def _what_is_seen(config: TrainConfig, chosen: EnvConfig | None) -> EnvConfig:
    """What environments show; no images to a model that reads none."""
    seen = chosen or EnvConfig(state="full")
    if not sees_images(config.model) and not seen.cameras:
        seen = replace(seen, cameras=(NO_CAMERA,))
    return seen


def _require_same(run: Run, facts: Mapping[str, Any]) -> None:
    """Raise UserError if the run in the folder was begun in another environment."""
    _, earlier = run_folder.read_config(run.output)
    for name, value in facts.items():
        if earlier.get(name) != value:
            raise UserError(
                f"{run.output} was begun with {name} {earlier.get(name)!r}, not {value!r}; "
                "resume it with that, or choose another output"
            )


def _online(config: TrainConfig) -> OnlineConfig:
    assert config.online is not None
    return config.online
