"""`manyparts train` for presets that learn by acting in an environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from manyparts.cli.parsing import parse
from manyparts.cli.trackers import track_field
from manyparts.core.errors import UserError
from manyparts.core.printing import say
from manyparts.envs.base import StateKind

if TYPE_CHECKING:
    from manyparts.evaluation.results import Result
    from manyparts.training.config import TrainConfig

_DERIVED = ("--steps", "--validate-every-steps")


@dataclass(frozen=True, kw_only=True)
class OnlineOptions:
    """Learn by acting in an environment: collect, learn a world model, learn to act in it.

    Numbers of steps without another word are environment steps. A run that was killed continues
    with --resume.
    """

    environment: Annotated[str, tyro.conf.arg(metavar="TASK")]
    """The task, such as metaworld/door-open."""

    output: Path
    """The run's folder, for config, metrics, checkpoints and the replay."""

    sources: Annotated[tuple[str, ...], tyro.conf.arg(metavar="DATASET ...")] = ()
    """Datasets of other tasks. What is seen is as in the first one, unless flags say otherwise."""

    teachers: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN ...")] = ()
    """Runs of vid2act/teachers-laptop. Their datasets in their order are the sources."""

    start_from: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """A run or checkpoint that gives the world model to start from, and the scales of states. One
    that learned to act also gives its actor and critic; a student of teachers takes the world
    alone."""

    prefill: str = "random"
    """What the replay holds before anything is learned: random (actions), a run with an agent that
    explores, or a dataset of the task, of which all goes in."""

    image_size: int | None = None
    """Height and width of the images, in pixels, from 8 to 2048; if left out, 64."""

    cameras: tuple[str, ...] = ()
    """Names of the cameras; if left out, the suite's default camera, and none for a model that
    sees only states."""

    goal: Literal["visible", "hidden"] | None = None
    """Whether the goal is shown: its marker in images, its position in the state; if left out,
    visible."""

    state: StateKind | None = None
    """What the state vector holds: proprioception, full or shared, as for `manyparts collect`; if
    left out, full."""

    max_steps: int | None = None
    """Maximum steps per episode; if left out, the suite's own."""

    resume: bool = False
    """Continue the run in --output from its last checkpoint."""

    report: bool = True
    """At the end, film the agent and what its world model imagines, and write RUN/report.html."""

    device: str = "auto"
    """Where to train: auto, cpu, cuda, cuda:1, mps. auto takes a GPU if there is one."""

    track: Literal["wandb"] | None = None
    """Where metrics go, apart from metrics.jsonl and TensorBoard. wandb: into RUN/wandb, which
    `wandb sync` uploads; with WANDB_MODE=online they are sent at once. Plug-ins add others."""


def run(name: str, config: TrainConfig, arguments: Sequence[str]) -> Path:
    """Train a preset that acts, print the final evaluation, and write the report.

    Args:
        name: the preset's.
        config: the preset.
        arguments: what follows its name.

    Returns:
        The run's folder.

    Raises:
        UserError: a flag is unknown, is missing or has a bad value.
    """
    for argument in arguments:
        if argument.partition("=")[0].replace("_", "-") in _DERIVED:
            raise UserError(
                f"{argument.partition('=')[0]} follows from --environment-steps, --train-ratio "
                "and --evaluate-every-steps; set these"
            )
    options: Any = parse(options_with(config), arguments, command=f"train {name}")
    from manyparts.cli.evaluate import print_result
    from manyparts.evaluation.results import EVALUATION, RESULTS, Result
    from manyparts.training.online.train import train_online

    seen = {
        field: value
        for field in ("image_size", "cameras", "goal", "state", "max_steps")
        if (value := getattr(options, field)) not in (None, ())
    }
    run = train_online(
        replace(options.config, online=options.online),
        environment=options.environment,
        environment_config=seen,
        output=options.output,
        sources=options.sources,
        teachers=options.teachers,
        start_from=options.start_from,
        prefill=options.prefill,
        resume=options.resume,
        device=options.device,
        track=options.track,
    )
    result = Result.load(run) if (run / EVALUATION / RESULTS).exists() else None
    if result is not None:
        print_result(result)
    if options.report:
        _report(run, result)
    return run


def _report(run: Path, result: Result | None) -> None:
    """Film the agent and what its model imagines, and write the report. What cannot be drawn here
    is said and left out.

    Args:
        run: the run's folder.
        result: its final evaluation, of which a success and a failure are filmed; None: there is
            none.
    """
    from manyparts.evaluation.prediction.own_episodes import predict_own
    from manyparts.evaluation.protocol import evaluate
    from manyparts.models.run_files import results_folder
    from manyparts.report.html import write_report

    if result is not None:
        asked = {name: result.provenance[name] for name in ("episodes", "device")}
        _or_said("video", lambda: evaluate(run, **asked, videos=1, workers=1))
    _or_said("prediction", lambda: predict_own(run, results_folder(run, "prediction")))
    path = write_report(run)
    say(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB)")


def _or_said(what: str, draw: Callable[[], object]) -> None:
    """Draw something; if a machine cannot, say why."""
    try:
        draw()
    except UserError as error:
        say(f"no {what} in the report: {error}", error=True)


def options_with(config: TrainConfig) -> type[OnlineOptions]:
    """`OnlineOptions` with the fields of a config and of its schedule as flags, which have this
    config's values."""
    assert config.online is not None
    parts = {"online": config.online, "config": replace(config, online=None)}
    fields: list[Any] = [track_field()]
    for name, part in parts.items():
        flags: Any = Annotated[type(part), tyro.conf.arg(name="")]
        fields.append((name, flags, dataclasses.field(default=part)))
    return dataclasses.make_dataclass(
        "OnlineOptions",
        fields,
        bases=(OnlineOptions,),
        namespace={"__doc__": OnlineOptions.__doc__},
        frozen=True,
        kw_only=True,
    )
