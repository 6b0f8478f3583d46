"""`understudy train`: one phase of a method on a dataset, every field of the preset a flag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from understudy.cli.parsing import closest, parse
from understudy.methods import preset, preset_names
from understudy.training.config import TrainConfig
from understudy.types import UserError


@dataclass(frozen=True)
class Options:
    """Train one phase of a method on a dataset. A run that was killed goes on with --resume."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]

    data: Path
    """The dataset's folder."""

    output: Path
    """The run's folder: config, metrics, checkpoints."""

    start_from: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """A run or checkpoint whose weights this run starts from: phase II names its phase I."""

    resume: bool = False
    """Continue the run in --output from its last checkpoint."""

    device: str = "auto"
    """Where to train: auto, cpu, cuda, cuda:1, mps."""


def main(arguments: Sequence[str]) -> int:
    names = preset_names()
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: understudy train PRESET --data DATASET --output RUN [FLAGS]\n\npresets: {', '.join(names)}\n")
        print("`understudy train PRESET --help` documents every flag, with the preset's values.")
        return 0
    name, *rest = arguments
    if name not in names:
        raise UserError(f"unknown preset {name!r}; {closest(name, names)}")
    empty = Options(config=preset(name), data=tyro.MISSING, output=tyro.MISSING)
    options = parse(Options, rest, command=f"train {name}", default=empty)
    from understudy.training.train import train

    run = train(
        options.config,
        data=options.data,
        output=options.output,
        start_from=options.start_from,
        resume=options.resume,
        device=options.device,
    )
    print(f"trained: {run}")
    return 0
