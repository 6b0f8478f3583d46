"""`manyparts prompts`: how far success follows the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError
from manyparts.evaluation.prompt_kinds import Prompts


@dataclass(frozen=True)
class Options:
    """Measure how far success follows the prompt: with every kind of prompt that the agent was
    trained for, sound and degraded, and with every task's prompt in every task's scenes.

    If the command is killed, call it again: it continues where it stopped.
    """

    run: Positional[Annotated[Path | None, arg(metavar="RUN")]] = None
    """A run or checkpoint folder; results go into its folder `prompts`."""

    tasks: tuple[str, ...] = ()
    """Tasks or splits; if left out, the tasks the agent was trained on."""

    episodes: int = 10
    """Episodes per task and prompt, each with a goal that training never saw."""

    matrix_with: Prompts = "instruction"
    """The kind of prompt with which each task is asked for in each task's scenes."""

    workers: int | None = None
    """Simulator processes; if left out, one per core."""

    seed: int = 0
    """Seed of the goals."""

    max_steps: int | None = None
    """Steps per episode; if left out, the suite's own maximum."""

    overwrite: bool = False
    """Replace results of other settings, or of the run before it was trained on. Old results stay
    until the new ones are complete."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts prompts`, and return its exit code."""
    options = parse(Options, arguments, command="prompts")
    if options.run is None:
        raise UserError(
            "missing RUN, the folder of the run to evaluate; see manyparts prompts --help"
        )
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
    print_table(("prompt, in scenes of", *(scene.partition("/")[2] for scene in scenes)), rows)
    return 0
