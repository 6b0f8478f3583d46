"""`manyparts evaluate`: success on goals never seen, or the difference of two results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from manyparts.cli.parsing import parse
from manyparts.cli.planners import planner_of, with_planner
from manyparts.core.errors import UserError
from manyparts.core.printing import counted, say
from manyparts.core.records import Precision

if TYPE_CHECKING:
    from manyparts.evaluation.episodes import Reference
    from manyparts.evaluation.results import Result


@dataclass(frozen=True)
class Served:
    """An agent behind a socket, and what its server does not say of itself."""

    images: tuple[str, ...] = ()
    """Keys of images in a request, CAMERA=KEY for each camera of the environment that is sent."""

    state: str | None = None
    """Key of the state in a request; if left out, none is sent."""

    action: Path | None = None
    """JSON file of the action contract: representation, frame, names, low, high and
    control_rate_hz."""

    image_size: int | None = None
    """Height and width in pixels at which the environment renders; if left out, 64."""

    key_file: Path | None = None
    """A file with the key that the server asks for."""


@dataclass(frozen=True)
class Options:
    """Run an agent on goals it never saw, and print its success with intervals; or compare two
    evaluated runs.

    If the command is killed, call it again: it continues where it stopped.
    """

    run: Positional[Annotated[Path | None, arg(metavar="RUN")]] = None
    """A run or checkpoint folder. Or `expert` or `random`, a ceiling and a floor that need --tasks
    and --output. Or ws://HOST:PORT, an agent that a server of openpi's protocol acts with, such as
    `manyparts serve`, which needs --output."""

    tasks: tuple[str, ...] = ()
    """Tasks or splits, such as metaworld/mt10; if left out, the tasks the agent was trained on.
    gym:[MODULE:]ID tries any Gymnasium environment, such as gym:gym_pusht/PushT-v0: what it shows
    is guessed, and the guess is printed."""

    episodes: int = 20
    """Episodes per task, each with another goal."""

    videos: int = 0
    """Number of successes, and as many failures, that are filmed per task; where success is
    unknown, of episodes."""

    workers: int | None = None
    """Simulator processes; if left out, one per core."""

    executor: str = "local"
    """Where they run: local, this machine; ray://HOST:PORT, a Ray cluster as `ray start --head`
    prints it; slurm or slurm:PARTITION, with --workers. The results are the same. All nodes must
    see RUN and --output under the same paths. Ray needs the extra `ray`, and a network that you
    trust: it asks nobody for a password."""

    seed: int = 0
    """Seed of the goals. Agents that are evaluated with one seed meet the same goals."""

    prompts: str = "instruction"
    """What the agent is asked for: a kind of prompt, or an instruction in quotes, such as "open the
    drawer", for all tasks. Kinds are the task's instruction (instruction), a paraphrase that
    training never used (held_out), an image of the goal (goal_image), the expert in another scene
    with its actions (demonstration) or without (watched), two of these, such as
    instruction+goal_image, and degraded prompts (none, other_goal_image, half_goal_image)."""

    prompt_task: str | None = None
    """The task that the agent's prompts are of; if left out, the environment's own."""

    max_steps: int | None = None
    """Steps per episode; if left out, the suite's own maximum."""

    until_success: bool = False
    """End an episode with its first solved step. This is much faster, but success at the last step
    then says nothing."""

    control_delay: int = 0
    """Steps that pass from an observation to the first action that was decided from it, as on a
    robot that does not wait. What was decided before goes on meanwhile; at the start, the robot is
    held."""

    split: Literal["train", "validation", "evaluation"] = "evaluation"
    """Which goals: the three sets have no goal in common."""

    device: str = "cpu"
    """Where the agent runs: auto, cpu, cuda, cuda:1, mps. Each worker loads its own agent."""

    precision: Precision = "fp32"
    """Number format of the agent's computations. bf16: in bfloat16, with weights rounded once."""

    planner: Literal["random-shooting", "cem", "mppi", "policy"] | None = None
    """What a dynamics model acts with; `manyparts evaluate --planner cem --help` lists its
    settings. Plug-ins add others."""

    output: Path | None = None
    """Folder of the results; if left out, RUN/evaluation, and of a checkpoint of a run
    RUN/evaluation-STEP."""

    overwrite: bool = False
    """Replace results of other settings, or of the run before it was trained on. Old results stay
    until the new ones are complete."""

    remote: Served = Served()
    """What a server of another program does not say of itself."""

    compare: tuple[Path, Path] | None = None
    """Two evaluated runs A and B: print the difference A - B of their success with its interval,
    which is over the episodes of these two agents, not over training seeds."""

    measure: str = "success_any"
    """What --compare compares: success_any, success_last, return, length, or a measure of the
    suite's own."""

    allow_mismatch: bool = False
    """Compare although settings, simulator, renderer or versions of packages differ; each
    difference is a warning."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts evaluate`, and return its exit code."""
    planner = planner_of(arguments)
    options = parse(with_planner(Options, planner), arguments, command="evaluate")
    if options.compare is not None:
        return _compare(*options.compare, options.measure, options.allow_mismatch)
    if options.run is None:
        raise UserError("missing RUN, the folder of the run to evaluate (or --compare A B)")
    print_result(_evaluated(options, options.run))
    return 0


def _evaluated(options: Options, run: Path) -> Result:
    from manyparts.evaluation.episodes import REFERENCES
    from manyparts.evaluation.protocol import evaluate

    if (url := _address(run)) is not None:
        return _evaluated_remote(options, url)
    if options.remote != Served():
        raise UserError(f"flags --remote.* are for ws://HOST:PORT; {run} is a folder")
    for name in REFERENCES:
        if str(run) == name and not run.exists():
            return _evaluated_reference(options, name)
    return evaluate(
        run,
        tasks=options.tasks or None,
        episodes=options.episodes,
        seed=options.seed,
        workers=options.workers,
        videos=options.videos,
        prompts=options.prompts,
        prompt_task=options.prompt_task,
        max_steps=options.max_steps,
        until_success=options.until_success,
        control_delay=options.control_delay,
        split=options.split,
        output=options.output,
        overwrite=options.overwrite,
        device=options.device,
        precision=options.precision,
        planner=getattr(options, "planner_config", None),
        executor=options.executor,
    )


def _address(run: Path) -> str | None:
    """The address of a server; None for a folder. A path keeps one of its two slashes."""
    scheme, colon, rest = str(run).partition(":/")
    return f"{scheme}://{rest.lstrip('/')}" if colon and scheme in ("ws", "wss") else None


def _evaluated_remote(options: Options, url: str) -> Result:
    """Evaluate an agent behind a socket, which flags of loaded agents do not fit."""
    from manyparts.agents.server import Remote, read_contract
    from manyparts.envs.base import EnvConfig
    from manyparts.evaluation.remote import evaluate_remote

    if options.output is None:
        raise UserError(f"{url} is no folder: it needs --output")
    _refuse(options, ("prompt_task", "device", "precision", "planner"), f"{url} is loaded there")
    _refuse(options, ("executor",), f"simulators for {url} run on this machine")
    served, keys = options.remote, {}
    for text in served.images:
        camera, equals, key = text.partition("=")
        if not (camera and equals and key):
            raise UserError(f"--remote.images has {text!r}; expected CAMERA=KEY")
        if camera in keys:
            raise UserError(f"--remote.images names the camera {camera!r} twice")
        keys[camera] = key
    contract = None if served.action is None else read_contract(served.action)
    remote = Remote(url, keys, served.state, contract, served.key_file)
    size = served.image_size
    return evaluate_remote(
        remote,
        options.tasks or None,
        output=options.output,
        episodes=options.episodes,
        seed=options.seed,
        workers=options.workers,
        videos=options.videos,
        prompts=options.prompts,
        environment=None if size is None else EnvConfig(image_size=size),
        max_steps=options.max_steps,
        until_success=options.until_success,
        control_delay=options.control_delay,
        split=options.split,
        overwrite=options.overwrite,
    )


def _refuse(options: Options, names: Sequence[str], why: str) -> None:
    """Raise UserError if flags are set that do not fit. why: the reason."""
    usual = Options()
    unfit = [
        f"--{name.replace('_', '-')}"
        for name in names
        if getattr(options, name) != getattr(usual, name)
    ]
    if unfit:
        verb = "are" if len(unfit) > 1 else "is"
        raise UserError(f"{why}: {', '.join(unfit)} {verb} not for it")


def _evaluated_reference(options: Options, name: Reference) -> Result:
    """Evaluate an agent that learned nothing, which flags of learned agents do not fit."""
    from manyparts.evaluation.protocol import evaluate_reference

    if not options.tasks or options.output is None:
        raise UserError(f"{name} is no run: it needs --tasks and --output")
    unfit = ("prompts", "prompt_task", "device", "precision", "planner")
    _refuse(options, unfit, f"{name} learned nothing")
    return evaluate_reference(
        name,
        options.tasks,
        output=options.output,
        episodes=options.episodes,
        seed=options.seed,
        workers=options.workers,
        videos=options.videos,
        max_steps=options.max_steps,
        until_success=options.until_success,
        control_delay=options.control_delay,
        split=options.split,
        overwrite=options.overwrite,
        executor=options.executor,
    )


def print_result(result: Result) -> None:
    """Print the table of success with intervals."""
    from manyparts.cli.console import print_table

    heads, rows, mean = result.table()
    print_table(heads, rows, summary=mean)


def _compare(a: Path, b: Path, measure: str, allow_mismatch: bool) -> int:
    from manyparts.cli.console import print_table
    from manyparts.evaluation.results import compare

    comparison = compare(a, b, allow_mismatch=allow_mismatch, measure=measure)
    for mismatch in comparison.mismatches:
        say(f"warning: the results differ in {mismatch}", error=True)
    print_table(*comparison.table())
    name = "success" if measure == "success_any" else measure
    means = f"{comparison.a.mean:.2f}, of B ({b}) {comparison.b.mean:.2f}"
    say(f"{name} of A ({a}) {means}, over {counted(len(comparison.per_task), 'task')}")
    say(comparison.scope)
    return 0
