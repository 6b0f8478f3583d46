"""`manyparts track`: the curves of a run in a program that draws them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError
from manyparts.core.printing import counted, first_of, say

_SHOWN = 6  # metrics


@dataclass(frozen=True)
class Options:
    """Give the metrics of runs to a program that draws curves, after they were trained.

    `train --track` does it while a run trains. Here the program need not be installed where the run
    was trained, and a run that was resumed is one run. Nothing is uploaded, unless the
    environment says where to: WANDB_MODE=online, MLFLOW_TRACKING_URI.
    """

    runs: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN ...")]] = ()
    """Folders of runs."""

    to: Literal["tensorboard", "wandb", "mlflow", "trackio"] | None = None
    """tensorboard: RUN/tensorboard. wandb: RUN/wandb, which `wandb sync` uploads. mlflow:
    RUN/mlflow.db. trackio: its own folder, or TRACKIO_DIR. Plug-ins add others."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts track`, and return its exit code."""
    from manyparts.training.tracker_replay import replay, replay_names

    choices: Any = Literal[tuple(replay_names())]
    fields: list[Any] = [("to", choices | None, dataclasses.field(default=None))]
    made = dataclasses.make_dataclass("Options", fields, bases=(Options,), frozen=True)
    made.__doc__ = Options.__doc__
    options: Any = parse(made, arguments, command="track")
    if not options.runs or options.to is None:
        missing = "--to, such as --to wandb" if options.runs else "RUN, the folder of a run"
        raise UserError(f"missing {missing}; see manyparts track --help")
    for run in options.runs:
        done = replay(run, options.to)
        say(f"{run}: {counted(done.rows, 'row')} up to step {done.last_step} to {options.to}")
        if done.steps is not None and done.last_step < done.steps:
            say(f"{run}: the run is not finished: it was to have {done.steps} steps")
        if done.left_out:
            names = first_of(done.left_out, _SHOWN)
            say(f"{run}: left out, as some of its values are no numbers: {names}")
    return 0
