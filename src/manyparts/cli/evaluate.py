"""`manyparts evaluate`: success on goals never seen, or the difference between two results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError
from manyparts.core.printing import say
from manyparts.core.records import Precision

if TYPE_CHECKING:
    from manyparts.evaluation.results import Result
    from manyparts.planners import PlannerConfig


@dataclass(frozen=True)
class Options:
    """Run an agent on goals it never saw and report its success with intervals; or compare two
    evaluated runs.

    A second call after a kill goes on where the first one stopped.
    """

    run: Positional[Path | None] = None
    """A run or checkpoint folder; or expert or random, the ceiling and the floor, with --tasks and
    --output."""

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

    prompts: str = "instruction"
    """The prompts. A kind of prompt: the task's instruction (instruction); paraphrases that
    training never used (held_out); the goal's own picture, or where the suite has none the scene as
    the expert leaves it (goal_image); the expert in another scene, with its actions (demonstration)
    or without (watched); two of these, such as instruction+goal_image; a degraded prompt (none,
    other_goal_image, half_goal_image). Or an instruction of your own in quotes, such as "open the
    drawer", for all tasks."""

    prompt_task: str | None = None
    """The task that the agent is told, whatever the environment's; None: its own."""

    max_steps: int | None = None
    """Steps an episode; None: the suite's horizon."""

    until_success: bool = False
    """End an episode with its first solved step: much faster, but success at the last step then
    says nothing."""

    split: Literal["train", "validation", "evaluation"] = "evaluation"
    """Which goals: the three sets never meet."""

    device: str = "cpu"
    """auto, cpu, cuda, cuda:N or mps: where the agent runs; each worker loads its own."""

    precision: Precision = "fp32"
    """bf16: the agent computes in bfloat16, with weights rounded once."""

    planner: Literal["random-shooting", "cem", "mppi", "policy"] | None = None
    """What a dynamics model acts with; `--planner cem --help` has its settings."""

    output: Path | None = None
    """Folder of the results; None: RUN/evaluation, and of a checkpoint of a run
    RUN/evaluation-STEP."""

    overwrite: bool = False
    """Replace results of other settings, or of the run before it was trained on, once the new ones
    are whole."""

    compare: tuple[Path, Path] | None = None
    """Two evaluated runs A B: print the difference A - B of their success with its interval."""

    measure: str = "success_any"
    """What --compare compares: success_any, success_last, return, length, or a measure of the
    suite's own."""

    allow_mismatch: bool = False
    """Compare although simulator, renderer or settings differ."""


def main(arguments: Sequence[str]) -> int:
    planner = _planner_asked_for(arguments)
    if planner is None and any(argument.startswith("--planner.") for argument in arguments):
        raise UserError(
            "settings of a planner without --planner; choices: random-shooting, cem, mppi, policy"
        )
    options = parse(_options_with(planner), arguments, command="evaluate")
    if options.compare is not None:
        return _compare(*options.compare, options.measure, options.allow_mismatch)
    if options.run is None:
        raise UserError("missing RUN, the folder of the run to evaluate (or --compare A B)")
    print_result(_evaluated(options, options.run))
    return 0


def _evaluated(options: Options, run: Path) -> Result:
    from manyparts.evaluation.episodes import REFERENCES, Reference
    from manyparts.evaluation.protocol import evaluate, evaluate_reference

    shared: dict[str, Any] = {
        name: getattr(options, name)
        for name in (
            "episodes",
            "seed",
            "workers",
            "videos",
            "max_steps",
            "until_success",
            "split",
            "overwrite",
        )
    }
    reference: Reference | None = next(
        (name for name in REFERENCES if str(run) == name and not run.exists()), None
    )
    if reference is None:
        told = {
            name: getattr(options, name)
            for name in ("prompts", "prompt_task", "output", "device", "precision")
        }
        planner = getattr(options, "planner_config", None)
        return evaluate(run, tasks=options.tasks or None, planner=planner, **told, **shared)
    if not options.tasks or options.output is None:
        raise UserError(f"{reference} is no run: it needs --tasks and --output")
    usual, learned = Options(), ("prompts", "prompt_task", "device", "precision", "planner")
    given = [
        f"--{name.replace('_', '-')}"
        for name in learned
        if getattr(options, name) != getattr(usual, name)
    ]
    if given:
        raise UserError(
            f"{reference} learned nothing: {', '.join(given)} {'are' if given[1:] else 'is'} not for it"
        )
    return evaluate_reference(reference, options.tasks, output=options.output, **shared)


def _planner_asked_for(arguments: Sequence[str]) -> PlannerConfig | None:
    """The usual settings of the planner that the arguments name, if they name one that there is."""
    words = [word for argument in arguments for word in argument.split("=", 1)]
    asked = words[words.index("--planner") + 1 :][:1] if "--planner" in words else []
    if not asked:
        return None
    from manyparts.planners import PLANNERS  # loads torch, which takes seconds

    return PLANNERS[asked[0]]() if asked[0] in PLANNERS else None


def _options_with(planner: PlannerConfig | None) -> type[Options]:
    """`Options` with one more field, `planner_config`, whose fields are flags, where a planner is
    asked for."""
    if planner is None:
        return Options
    flags: Any = Annotated[type(planner), arg(name="planner")]
    field = ("planner_config", flags, dataclasses.field(default=planner))
    return dataclasses.make_dataclass(
        "Options", [field], bases=(Options,), namespace={"__doc__": Options.__doc__}, frozen=True
    )


def print_result(result: Result) -> None:
    """The table of success with intervals, on stdout."""
    from manyparts.cli.console import print_table

    heads, rows, mean = result.table()
    print_table(heads, rows, summary=mean)


def _compare(a: Path, b: Path, measure: str, allow_mismatch: bool) -> int:
    from manyparts.cli.console import print_table
    from manyparts.evaluation.results import compare

    found = compare(a, b, allow_mismatch=allow_mismatch, measure=measure)
    for mismatch in found.mismatches:
        say(f"warning: the results differ in {mismatch}", error=True)
    print_table(*found.table())
    named = "success" if measure == "success_any" else measure
    say(
        f"{named} of A ({a}) {found.a.mean:.2f}, of B ({b}) {found.b.mean:.2f}, over {len(found.per_task)} tasks"
    )
    return 0
