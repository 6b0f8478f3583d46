"""What an online run does where: its config, its environment, and whom it learns from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.printing import counted, say
from manyparts.core.serialisation import from_jsonable, to_jsonable
from manyparts.envs import registry
from manyparts.envs.base import NO_CAMERA, EnvConfig, Environment, Split
from manyparts.models.checkpoint import CheckpointInfo, load_info
from manyparts.models.configs import sees_images
from manyparts.models.dynamics.configs import TaughtWorldConfig
from manyparts.objectives.configs import ActionReplayConfig, WorldConfig
from manyparts.training import run_folder
from manyparts.training.config import OnlineConfig, TrainConfig
from manyparts.training.inputs import Sources
from manyparts.training.online.prefill import is_dataset
from manyparts.training.online.teaching import TeacherRun
from manyparts.training.run import Run


@dataclass(frozen=True)
class Job:
    """See the module."""

    config: TrainConfig
    """The run's config, with as many steps as its environment steps give."""

    environment: str
    """"suite/task"."""

    seen: EnvConfig
    """What the environment shows."""

    prefill: str
    """What the replay holds before anything is learned."""

    copies: bool
    """Whether that is a dataset, which is copied."""

    teachers: tuple[TeacherRun, ...]
    """World models of other tasks."""

    @classmethod
    def of(
        cls,
        config: TrainConfig,
        environment: str,
        seen: EnvConfig | Mapping[str, Any] | None,
        prefill: str,
        sources: Sources,
        teachers: Sequence[TeacherRun],
        origin: Path | None,
        earlier: TrainConfig | None = None,
    ) -> Job:
        """The job that a user describes.

        Args:
            config: A preset with `online` settings.
            environment: The task.
            seen: What is seen, or the fields that are not as in the sources, else as the teachers
                or the origin have seen it.
            prefill: "random", a run or a dataset.
            sources: Datasets of other tasks.
            teachers: World models of other tasks.
            origin: The checkpoint that training starts from; None: it starts from nothing.
            earlier: The config of the run that is resumed; None: it begins.

        Raises:
            UserError: The config does not act, asks for several processes, gives no optimiser step,
                holds actions for another time than `seen` or the sources, learns rewards of other
                tasks, shows images to a model of states, or begins from or is taught by a world
                that was trained through a view.
        """
        if config.online is None:
            raise UserError(
                f"{config.method} learns from datasets; use train(config, data=...), or a preset "
                "that acts, such as dreamer/laptop"
            )
        if config.processes != 1:
            raise UserError(
                f"processes is {config.processes}; a run that acts has one process, so set it to 1"
            )
        # A run that goes on does not need what it was filled from, which may be gone.
        copies = is_dataset(prefill) if earlier is None else _online(earlier).prefill_steps == 0
        if copies:
            # A dataset is there before the first step is taken.
            config = replace(config, online=replace(config.online, prefill_steps=0))
        config = _scheduled(config, _online(config))
        shown = [dataset.environment for dataset in sources.datasets]
        infos = {str(each.folder): each.info for each in teachers}
        if origin is not None:
            infos[str(origin)] = load_info(origin)
        if earlier is None:
            _require_no_views(infos)
        shown += [each.environment for info in infos.values() for each in info.embodiments]
        chosen = _seen(config, seen, shown)
        _require_same_repeat(chosen, sources, teachers)
        _require_own_rewards(config, environment, sources)
        return cls(config, environment, chosen, prefill, copies, tuple(teachers))

    @property
    def online(self) -> OnlineConfig:
        """The schedule."""
        return _online(self.config)

    @property
    def replays_actions(self) -> bool:
        """Whether the sources' actions are learned."""
        configs = self.config.objectives.values()
        return any(isinstance(each, ActionReplayConfig) for each in configs)

    def make(self, split: Split) -> Environment:
        """An environment of the task. split: That of its goals."""
        return registry.make(self.environment, self.seen, split=split)

    def require_budget(self, environment_steps: int) -> None:
        """Raise UserError if a prefill of whole episodes took all environment steps of the run."""
        budget = self.online.environment_steps
        if environment_steps > budget:
            environments = counted(self.online.environments, "environment")
            raise UserError(
                f"the prefill's whole episodes in {environments} took {environment_steps} of "
                f"{budget} environment steps; raise online.environment_steps, or lower "
                "online.prefill_steps or online.environments"
            )

    def facts(self) -> dict[str, Any]:
        """What config.json holds of it next to the config."""
        return {
            "environment": self.environment,
            "environment_config": to_jsonable(self.seen),
            "prefill": self.prefill,
            "teachers": [str(each.folder) for each in self.teachers],
        }


def require_same(run: Run, job: Job) -> None:
    """Require that the run in a folder was begun with the same settings in the same environment.

    Args:
        run: Of the folder.
        job: What is to be resumed.

    Raises:
        UserError: It was not.
    """
    earlier, facts = run_folder.read_config(run.output)
    # The teachers stand in the earlier config already, and follow from their runs.
    config = job.config
    if isinstance(config.model, TaughtWorldConfig) and isinstance(earlier.model, TaughtWorldConfig):
        model = replace(config.model, teachers=earlier.model.teachers)
        config = replace(config, model=model)
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


def _online(config: TrainConfig) -> OnlineConfig:
    assert config.online is not None
    return config.online


def _scheduled(config: TrainConfig, online: OnlineConfig) -> TrainConfig:
    """The config with the optimiser steps that its environment steps give."""
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
    return replace(config, steps=steps, validate_every_steps=every)


def _seen(
    config: TrainConfig,
    chosen: EnvConfig | Mapping[str, Any] | None,
    shown: Sequence[Mapping[str, Any] | None],
) -> EnvConfig:
    """What environments show: what the user chose, else the first that is `shown` elsewhere, else
    the full state. A model that reads no images gets none. Raise UserError if the config holds
    actions longer or shorter than what the user chose."""
    held = _online(config).action_repeat
    named = to_jsonable(chosen) if isinstance(chosen, EnvConfig) else dict(chosen or {})
    own = named.get("action_repeat", held)
    if held is not None and own != held:
        raise UserError(
            f"environment_config holds each action for {counted(own, 'step')}, and "
            f"online.action_repeat is {held}; set both to the same, or online.action_repeat to None"
        )
    if isinstance(chosen, EnvConfig):
        return chosen
    images = {name: named[name] for name in ("cameras", "image_size") if name in named}
    if tuple(images.get("cameras", ())) == (NO_CAMERA,):
        del images["cameras"]
    if images and not sees_images(config.model):
        raise UserError(
            f"a model of states sees no images, and {' and '.join(images)} would do nothing; set "
            "model.sees to images or both"
        )
    usual = EnvConfig(state="full")
    if elsewhere := next(filter(None, shown), None):
        usual = from_jsonable(EnvConfig, dict(elsewhere))
    if not sees_images(config.model):
        usual = replace(usual, cameras=(NO_CAMERA,))
    if held is not None:
        usual = replace(usual, action_repeat=held)
    return from_jsonable(EnvConfig, to_jsonable(usual) | to_jsonable(named))


def _require_no_views(infos: Mapping[str, CheckpointInfo]) -> None:
    """Raise UserError for a world that was trained through a view, which no run that acts has."""
    for run, info in infos.items():
        sources = [source for each in info.embodiments for source in each.sources]
        if any(source.view.changes_more_than_words for source in sources):
            raise UserError(
                f"{run} was trained through a view, and a run that acts sees its environment as it "
                "is: train it on data that were collected so, see `manyparts collect --help`"
            )


def _require_own_rewards(config: TrainConfig, environment: str, sources: Sources) -> None:
    """Raise UserError if windows of sources are learned with the rewards of other tasks."""
    world = config.objectives.get("world")
    learns = isinstance(world, WorldConfig) and world.source_rewards
    if not learns or not _online(config).source_windows:
        return
    tasks = {each.environment for dataset in sources.datasets for each in dataset.tasks}
    if others := sorted(tasks - {environment}):
        raise UserError(
            f"the sources are of {', '.join(others)}, and their rewards are not those of "
            f"{environment}; set objectives.world.source_rewards to False"
        )


def _require_same_repeat(seen: EnvConfig, sources: Sources, teachers: Sequence[TeacherRun]) -> None:
    """Raise UserError if a source's or a teacher's steps last longer or shorter than the run's."""
    recorded = [(dataset.location, dataset.environment) for dataset in sources.datasets]
    for teacher in teachers:
        # Of data that no suite of the library made, nobody knows it.
        known = [each.environment for each in teacher.info.embodiments if each.environment]
        recorded += [(teacher.folder, environment) for environment in known]
    for where, environment in recorded:
        held = dict(environment or {}).get("action_repeat", 1)
        if held != seen.action_repeat:
            raise UserError(
                f"{where} holds each action for {counted(held, 'step')}, this run for "
                f"{seen.action_repeat}; choose --action-repeat {held}, or collect again with "
                f"--action-repeat {seen.action_repeat}"
            )
