"""`manyparts prompts`: whether success follows what the agent is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError
from manyparts.evaluation.prompt_kinds import Prompts


@dataclass(frozen=True)
class Options:
    """Evaluate an agent under every kind of prompt that it was trained for, sound and degraded, and
    under every task's prompt in every task's scenes.

    A second call after a kill goes on where the first one stopped.
    """

    run: Positional[Path | None] = None
    """A run or checkpoint folder; results go into its folder `prompts`."""

    tasks: tuple[str, ...] = ()
    """Tasks or splits; empty: the tasks it was trained on."""

    episodes: int = 10
    """Episodes a task and prompt, each with a goal that training never saw."""

    matrix_with: Prompts = "instruction"
    """The kind of prompt by which every task is told in every task's scenes."""

    workers: int | None = None
    """Simulator processes; None: one a core."""

    seed: int = 0
    """Seed of the goals."""

    max_steps: int | None = None
    """Steps an episode; None: the suite's horizon."""

    overwrite: bool = False
    """Replace results of other settings, or of the run before it was trained on, once the new ones
    are whole."""


def main(arguments: Sequence[str]) -> int:
    options = parse(Options, arguments, command="prompts")
    if options.run is None:
        raise UserError("missing RUN, the folder of the run to evaluate")
    from rich.text import Text

    from manyparts.cli.console import print_table
    from manyparts.evaluation.prompt_study import study_prompts
    from manyparts.evaluation.statistics import bounded

    study = study_prompts(
        options.run,
        tasks=options.tasks or None,
        episodes=options.episodes,
        matrix_with=options.matrix_with,
        seed=options.seed,
        workers=options.workers,
        max_steps=options.max_steps,
        overwrite=options.overwrite,
    )
    print_table(
        ("prompt", "success"), [(kind, bounded(success)) for kind, success in study.kinds.items()]
    )
    scenes = list(study.matrix)
    rows = []
    for task, success in study.matrix.items():
        cells = (
            Text(f"{success[scene].mean:.2f}", "bold" if scene == task else "") for scene in scenes
        )
        rows.append((task, *cells))
    print_table(("told, in scenes of", *(scene.partition("/")[2] for scene in scenes)), rows)
    return 0
