"""`understudy evaluate`: success on goals never seen, or the difference between two results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from understudy.cli.parsing import parse
from understudy.types import UserError

if TYPE_CHECKING:
    from understudy.evaluation.results import Result


@dataclass(frozen=True)
class Options:
    """Run an agent on goals it never saw and report its success with intervals; or compare two evaluated runs.

    A second call after a kill goes on where the first one stopped.
    """

    run: Positional[Path | None] = None
    """A run or checkpoint folder."""

    tasks: tuple[str, ...] = ()
    """Tasks or splits; empty: the tasks it was trained on."""

    episodes: int = 20
    """Episodes a task, each with another goal."""

    videos: int = 0
    """Videos a task to keep of successes, and as many of failures."""

    workers: int | None = None
    """Simulator processes; None: one a core."""

    seed: int = 0
    """Seed of the goals: the same seed shows every agent the same goals."""

    prompts: Literal["sentence", "held_out"] = "sentence"
    """The task's own sentence, or paraphrases that training never used."""

    max_steps: int | None = None
    """Steps an episode; None: the suite's horizon."""

    split: Literal["train", "validation", "evaluation"] = "evaluation"
    """Which goals: the three sets never meet."""

    output: Path | None = None
    """Folder of the results; None: RUN/evaluation."""

    compare: tuple[Path, Path] | None = None
    """Two evaluated runs, or their results.json: print the difference of the second and the first, with its interval."""

    allow_mismatch: bool = False
    """Compare although simulator, renderer or settings differ."""


def main(arguments: Sequence[str]) -> int:
    options = parse(Options, arguments, command="evaluate")
    if options.compare is not None:
        return _compare(*options.compare, options.allow_mismatch)
    if options.run is None:
        raise UserError("missing RUN, the folder of the run to evaluate (or --compare A B)")
    from understudy.evaluation.evaluate import evaluate

    result = evaluate(
        options.run,
        tasks=options.tasks or None,
        episodes=options.episodes,
        seed=options.seed,
        workers=options.workers,
        videos=options.videos,
        prompts=options.prompts,
        max_steps=options.max_steps,
        split=options.split,
        output=options.output,
        resume=True,
    )
    print_result(result)
    return 0
