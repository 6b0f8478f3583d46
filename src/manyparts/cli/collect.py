"""`manyparts collect`: record demonstrations of the scripted experts into a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError
from manyparts.core.printing import say
from manyparts.envs.base import StateKind


@dataclass(frozen=True)
class Options:
    """Record demonstrations of tasks into one dataset in the LeRobotDataset v3.0 layout.

    The dataset depends on the tasks, the settings and the seed, not on the number of workers. A
    second call after a kill goes on where the first one stopped.
    """

    tasks: Positional[tuple[str, ...]]
    """Tasks or splits, such as metaworld/reach or metaworld/mt10."""

    output: Path
    """Folder of the new dataset."""

    episodes: int = 50
    """Episodes a task, all of them successes; --keep-failures adds the failures on the way."""

    image_size: int = 64
    """Height and width of the images in pixels."""

    cameras: tuple[str, ...] = ()
    """Camera names; empty: the suite's default camera."""

    goal: Literal["visible", "hidden"] = "visible"
    """Whether the goal's marker is drawn."""

    state: StateKind = "proprioception"
    """What the state vector holds: the robot's own body, or the simulator's full observation;
    shared: the same for all bodies of a suite of many, such as walkers, so that one dataset and one
    model are of them all."""

    faithful_rendering: bool = False
    """The simulator's own picture with shadows and full meshes: about 40 times slower."""

    noise_fraction: float = 0.5
    """Share of the episodes in which noise is added to what the expert executes; its clean action
    is recorded too."""

    noise_std: float = 0.4
    """Standard std of the noise, in half-ranges of an action dimension; of choices, in the expert's
    lead."""

    noise_correlation: float = 0.9
    """Correlation of the noise between successive steps."""

    images: Literal["png", "video"] = "png"
    """How images are stored: PNG inside parquet, or mp4 files."""

    keep_failures: bool = False
    """Keep the episodes in which the expert failed on the way to so many successes; they come on
    top."""

    steps_after_success: int | None = None
    """Steps recorded after the first one that solves the task: they show how to come close, and to
    stay. None: the suite's own number, which is 20, or 0 in navigation, whose expert then stands
    still."""

    max_steps: int | None = None
    """Steps an episode at most; None: the suite's horizon. What is trained on the dataset is
    evaluated so, too."""

    workers: int | None = None
    """Simulator processes; None: one a core."""

    seed: int = 0
    """Seed of goals and noise."""


def main(arguments: Sequence[str]) -> int:
    options = parse(Options, arguments, command="collect")
    if not options.tasks:
        raise UserError("no task given; for example metaworld/reach or metaworld/mt10")
    from manyparts.agents.expert import Noise
    from manyparts.envs.base import EnvConfig
    from manyparts.rollout.collect import collect

    dataset = collect(
        options.tasks,
        episodes=options.episodes,
        output=options.output,
        config=EnvConfig(
            image_size=options.image_size,
            cameras=options.cameras,
            goal=options.goal,
            state=options.state,
            faithful_rendering=options.faithful_rendering,
            max_steps=options.max_steps,
        ),
        noise=Noise(options.noise_fraction, options.noise_std, options.noise_correlation),
        seed=options.seed,
        workers=options.workers,
        images=options.images,
        keep_failures=options.keep_failures,
        steps_after_success=options.steps_after_success,
        resume=True,
    )
    say(f"{options.output}: {dataset.num_episodes} episodes, {dataset.num_frames} frames")
    return 0
