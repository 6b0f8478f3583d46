"""`manyparts collect`: record demonstrations of experts, or another policy, into a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError
from manyparts.core.printing import counted, say
from manyparts.envs.base import StateKind

if TYPE_CHECKING:
    from manyparts.agents.expert import Noise


@dataclass(frozen=True)
class Options:
    """Record demonstrations of scripted experts, or episodes of another policy, into one dataset in
    the LeRobotDataset v3.0 layout.

    The dataset depends on tasks, settings and seed, not on the number of workers. If the command is
    killed, call it again: it continues where it stopped.
    """

    tasks: Positional[Annotated[tuple[str, ...], arg(metavar="TASK ...")]]
    """Tasks or splits, such as metaworld/reach or metaworld/mt10; `manyparts list tasks` shows all.
    gym:[MODULE:]ID is any Gymnasium environment by its id."""

    output: Path
    """Folder of the new dataset."""

    episodes: int = 50
    """Successful episodes per task; --keep-failures adds failed ones. Of another policy than
    experts, or where success is unknown, episodes of any outcome."""

    policy: str = "expert"
    """Who acts: expert; random; or RUN, the folder of an agent, which acts at its best. Of the last
    two, every episode is kept, and no noise is added."""

    image_size: int | None = None
    """Height and width of the images, in pixels, from 8 to 2048; if left out, those that RUN saw,
    else 64."""

    cameras: tuple[str, ...] = ()
    """Names of the cameras; if left out, those that RUN saw, else the suite's default camera; none
    for states alone."""

    goal: Literal["visible", "hidden"] | None = None
    """Whether the goal is shown: its marker in images, its position in the state; if left out, as
    RUN saw it, else visible."""

    state: StateKind | None = None
    """What the state vector holds. proprioception: the robot's own joints. full: everything that
    the simulator observes. shared: a layout that all embodiments of a suite such as walkers have in
    common, so that one dataset and one model serve them all. If left out, what RUN saw, else
    proprioception."""

    faithful_rendering: bool = False
    """Render with the simulator's own shadows and full meshes, which is about 40 times slower."""

    noise_fraction: float = 0.5
    """Fraction of the episodes, from 0 to 1, in which noise is added to the executed action. The
    expert's action without noise is recorded, too."""

    noise_std: float = 0.4
    """Standard deviation of the noise, in half-ranges of an action dimension; for discrete actions,
    added to scores of 1 for the expert's choice and 0 for all others."""

    noise_correlation: float = 0.9
    """Correlation of the noise of successive steps, from 0 to below 1."""

    images: Literal["png", "video"] = "png"
    """How images are stored. png: without loss, inside parquet files. video: as small mp4 files,
    with some loss."""

    keep_failures: bool = False
    """Also keep the failed episodes that were recorded before there were enough successes."""

    steps_after_success: int | None = None
    """Steps to record after the first one that solves the task, which teach to stay at the goal. If
    left out, the suite's own number: 0 for navigation, 20 for all others."""

    action_repeat: int | None = None
    """Steps for which the environment holds each action; if left out, as RUN does, else 1. A
    recorded step is one action, and its reward their sum. An agent that learns by acting from these
    episodes must hold as long."""

    max_steps: int | None = None
    """Maximum steps per episode, also when agents that were trained on the dataset are evaluated;
    if left out, as of RUN, else the suite's own."""

    workers: int | None = None
    """Simulator processes; if left out, one per core."""

    executor: str = "local"
    """Where they run: local, this machine; ray://HOST:PORT, a Ray cluster as `ray start --head`
    prints it; slurm or slurm:PARTITION, with --workers. The dataset is the same. All nodes must see
    the folder of --output, and RUN, under the same paths. Ray needs the extra `ray`, and a network
    that you trust: it asks nobody for a password."""

    seed: int = 0
    """Seed of the goals and the noise."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts collect`, and return its exit code."""
    options = parse(Options, arguments, command="collect")
    if not options.tasks:
        raise UserError(
            "missing TASK, such as metaworld/reach or metaworld/mt10; `manyparts list tasks` shows "
            "all"
        )
    from manyparts.rollout.collect import collect

    dataset = collect(
        options.tasks,
        episodes=options.episodes,
        output=options.output,
        config=_chosen(options),
        noise=_noise(options),
        seed=options.seed,
        workers=options.workers,
        images=options.images,
        keep_failures=options.keep_failures,
        steps_after_success=options.steps_after_success,
        policy=options.policy,
        resume=True,
        executor=options.executor,
    )
    episodes = counted(dataset.num_episodes, "episode")
    say(f"{options.output}: {episodes}, {counted(dataset.num_frames, 'frame')}")
    return 0


def _chosen(options: Options) -> dict[str, Any]:
    """The fields of the environment's config that the user set."""
    fields = ("image_size", "cameras", "goal", "state", "max_steps", "action_repeat")
    chosen = {name: getattr(options, name) for name in fields}
    chosen["faithful_rendering"] = options.faithful_rendering or None
    return {name: value for name, value in chosen.items() if value not in (None, ())}


def _noise(options: Options) -> Noise | None:
    """The noise of an expert; None for another policy, unless somebody asked for some."""
    from manyparts.agents.expert import Noise

    noise = Noise(options.noise_fraction, options.noise_std, options.noise_correlation)
    return None if options.policy != "expert" and noise == Noise() else noise
