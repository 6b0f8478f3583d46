"""`manyparts train`: one phase of a method on a dataset, with a flag for every field of its
preset."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from manyparts.cli.kinds import kinds_on_help, with_kinds
from manyparts.cli.parsing import parse
from manyparts.cli.trackers import track_field
from manyparts.cli.views import views_of
from manyparts.core import plugins
from manyparts.core.errors import UserError
from manyparts.core.printing import say
from manyparts.embodiment.views.view import View
from manyparts.models.run_files import CONFIG

if TYPE_CHECKING:
    from manyparts.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train one phase of a method on a dataset, or on a mixture of several.

    A run that was killed continues with --resume.
    """

    data: Annotated[tuple[str, ...], tyro.conf.arg(metavar="DATASET ...")]
    """The dataset: a folder or file, hf://owner/name@revision, or with --buffer-frames a URL such
    as s3://bucket/set. Of several datasets, every batch has windows of each."""

    weights: tuple[float, ...] = ()
    """Relative size of each dataset's part of every batch, such as 2 1; if left out, all parts are
    equal."""

    temperature: float | None = None
    """Multiply the weights by frames^(1 / temperature). At 1 every frame is drawn equally often, at
    large values every dataset is."""

    embodiment: tuple[str, ...] = ()
    """The robot's name, one for all datasets or one for each; if left out, the names in the
    datasets. Datasets without a name are of one robot if cameras, state and actions are equal."""

    view_files: Annotated[tuple[Path, ...], tyro.conf.arg(name="view", metavar="FILE ...")] = ()
    """JSON files that say what the model sees of the data, one for all datasets or one for each,
    with the fields of the flags --view.* below."""

    view: View = dataclasses.field(default_factory=View)
    """What the model sees of the data, and what the agent then sees of its robot."""

    output: Path
    """The run's folder, for config, metrics and checkpoints."""

    start_from: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """A run or checkpoint that gives the initial weights, such as phase I for phase II."""

    resume: bool = False
    """Continue the run in --output from its last checkpoint."""

    device: str = "auto"
    """Where to train: auto, cpu, cuda, cuda:1, mps. auto takes a GPU if there is one."""

    track: Literal["wandb"] | None = None
    """Where metrics go, apart from metrics.jsonl and TensorBoard. wandb: into RUN/wandb, which
    `wandb sync` uploads; with WANDB_MODE=online they are sent at once. Plug-ins add others."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts train`, and return its exit code."""
    asks_for_help = not arguments or arguments[0] in ("-h", "--help")
    if asks_for_help and not any("/" in argument for argument in arguments):
        print("usage: manyparts train PRESET --data DATASET --output RUN [FLAGS]\n")
        print("`manyparts list presets` shows the presets, such as dualmind/phase1-laptop.")
        print("`manyparts train PRESET --help` documents every flag, with the preset's values.")
        return 0
    from manyparts.methods import is_preset, preset

    name, rest = _preset_of(arguments)
    if not is_preset(name):
        _require_methods(rest, {name.partition("/")[0]})
    config, rest = with_kinds(preset(name), rest, "model")
    if config.online is not None:
        from manyparts.cli.train_online import run as train_online

        with kinds_on_help(config, "model"):
            run = train_online(name, config, rest)
        say(f"trained: {run}")
        return 0
    with kinds_on_help(config, "model"):
        options: Any = parse(options_with(config), rest, command=f"train {name}")
    from manyparts.training.distributed.ranks import first_process
    from manyparts.training.train import train

    run = train(
        options.config,
        data=options.data,
        weights=options.weights,
        temperature=options.temperature,
        embodiment=options.embodiment,
        view=views_of(options.view_files, options.view),
        output=options.output,
        start_from=options.start_from,
        resume=options.resume,
        device=options.device,
        track=options.track,
    )
    if first_process():
        say(f"trained: {run}")
    return 0


def _preset_of(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The preset, wherever it stands, and the other arguments.

    Raises:
        UserError: there is no preset.
    """
    from manyparts.methods import is_preset, preset_names

    if not arguments[0].startswith("-"):
        return arguments[0], list(arguments[1:])
    for position, argument in enumerate(arguments):
        if is_preset(argument):
            return argument, [*arguments[:position], *arguments[position + 1 :]]
    names = preset_names()
    for argument in arguments:
        if difflib.get_close_matches(argument, names, n=1, cutoff=0.8):
            return argument, []  # a misspelt preset, which is then refused with the near names
    _require_methods(arguments, None)
    raise UserError(
        "missing PRESET, such as dualmind/phase1-laptop; `manyparts list presets` shows all"
    )


def _require_methods(arguments: Sequence[str], methods: set[str] | None) -> None:
    """Raise UserError if a run among the arguments is of a method that a plug-in has, which is not
    installed.

    Args:
        arguments: the words of the command line, of which some may be folders of runs.
        methods: names of methods that are unknown here; None: of all methods.
    """
    for word in arguments:
        run = Path(word.rpartition("=")[2])
        values: object = None
        with contextlib.suppress(OSError, ValueError):
            values = json.loads((run / CONFIG).read_text(encoding="utf-8"))
        plugins.require(plugins.recorded(values), run, "methods", methods)


def options_with(config: TrainConfig) -> type[Options]:
    """`Options` with one more field, `config`, its fields as flags with this config's values."""
    flags: Any = Annotated[type(config), tyro.conf.arg(name="")]
    field = ("config", flags, dataclasses.field(default=config))
    return dataclasses.make_dataclass(
        "Options",
        [track_field(), field],
        bases=(Options,),
        namespace={"__doc__": Options.__doc__},
        frozen=True,
        kw_only=True,
    )
