"""`understudy predict`: how far ahead a dynamics model sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from understudy.cli.parsing import parse
from understudy.types import UserError


@dataclass(frozen=True)
class Options:
    """Measure the predictions of a dynamics model on episodes that it was not trained on: its own predictions are fed
    back, under the actions that were really taken. Errors are mean squares in the training data's deviations, so that
    1 is what the mean state costs; beside them stands what it costs to say that nothing changes.
    """

    run: Positional[Path | None] = None
    """Run or checkpoint folder of a dynamics model, such as one of `understudy train dynamics/parallel-laptop`."""

    data: str | None = None
    """The dataset: a folder, or hf://owner/name, or another URL."""

    horizons: tuple[int, ...] = (1, 5, 10, 25, 50)
    """Steps ahead."""

    windows: int = 64
    """Predictions, spread over the episodes."""

    seed: int = 0
    """Where in the episodes they begin."""

    output: Path | None = None
    """Folder for prediction.json, with the error of each dimension; None: none is written."""


def main(arguments: Sequence[str]) -> int:
    options = parse(Options, arguments, command="predict")
    if options.run is None or options.data is None:
        raise UserError("missing RUN, a dynamics model, or --data, the dataset to predict")
    from rich.box import SIMPLE
    from rich.table import Table

    from understudy.cli.console import console
    from understudy.evaluation.open_loop import open_loop

    given = {"horizons": options.horizons, "windows": options.windows, "seed": options.seed, "output": options.output}
    table = Table(title="mean square error of states, in deviations", box=SIMPLE, title_justify="left")
    for head in ("steps ahead", "error", "nothing changes", "reward", "worst dimension"):
        table.add_column(head, justify="right")
    for row in open_loop(options.run, options.data, **given):
        worst = max(row.dimensions, key=lambda name: row.dimensions[name])
        error = f"{row.error:.2g} \\[{row.low:.2g}, {row.high:.2g}]"
        told = f"{worst} {row.dimensions[worst]:.2g}"
        table.add_row(str(row.steps), error, f"{row.still:.2g}", f"{row.reward:.2g}", told)
    console().print(table)
    return 0
