"""`manyparts predict`: how far ahead dynamics models see, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError
from manyparts.core.printing import say

if TYPE_CHECKING:
    from manyparts.evaluation.prediction.forecast import Forecast, Horizon


@dataclass(frozen=True)
class Changes:
    """What is asked of the models beside what they were trained with."""

    next: Literal["expectation", "sample"] | None = None
    """How transformers go on: with the expectation of what they predict, or with a sample of it;
    None: as each was trained to."""


@dataclass(frozen=True)
class Options:
    """Measure the predictions of dynamics models: their own predictions are fed back, under the
    actions that were really taken. Of a dataset that a model was trained on, episodes are predicted
    that it held out, if there are any; what it was trained on is told. Errors are mean squares in
    the training data's stds (of several models: in those of the first), so that 1 is what the mean
    state costs; beside them stands what it costs to say that nothing changes. Of models that
    predict distributions it is told how often what came lies within them.
    """

    runs: Positional[tuple[Path, ...]] = ()
    """Run or checkpoint folders of dynamics models, such as one of `manyparts train
    dynamics/parallel-laptop`; several are compared on the same windows."""

    data: str | None = None
    """The dataset: a folder, or hf://owner/name, or another URL."""

    horizons: tuple[int, ...] = (1, 5, 10, 25, 50)
    """Steps ahead."""

    windows: int = 64
    """Predictions, spread over the episodes; of more episodes than that, so many are drawn."""

    seed: int = 0
    """Where in the episodes they begin, and what models draw that predict by drawing."""

    model: Changes = Changes()
    """Changes of the models that have such a setting."""

    output: Path | None = None
    """Folder for prediction.json, with the error of each dimension, for prediction.svg and for what
    is shown; None: none are written."""

    shown: int = 2
    """Predictions that are drawn into the folder beside what happened: imagined.svg has the curves
    of the numbers (of more than 12 those that vary most), and where the data's simulator is
    installed and can draw a state, imagined-0.mp4 and so on the scenes."""


def main(arguments: Sequence[str]) -> int:
    options = parse(Options, arguments, command="predict")
    if not options.runs or options.data is None:
        raise UserError("missing RUN, a dynamics model, or --data, the dataset to predict")
    from manyparts.evaluation.prediction.forecast import labels
    from manyparts.evaluation.prediction.open_loop import imagine, open_loop

    if options.shown < 0:
        raise UserError(f"--shown {options.shown}; expected a number of predictions, or 0")
    changes = {} if options.model.next is None else {"next": options.model.next}
    given = {
        "horizons": options.horizons,
        "windows": options.windows,
        "seed": options.seed,
        "output": options.output,
    }
    given["changes"] = changes
    found = open_loop(options.runs, options.data, **given)
    names = labels([forecast.run for forecast in found])
    if len(found) == 1:
        _print_alone(found[0])
    else:
        _print_side_by_side(names, found)
    _print_calibrations(names, found)
    for line in _remarks(names, found, options.data):
        say(line)
    if options.output is not None and options.shown:
        from manyparts.data.dataset import EpisodeDataset
        from manyparts.evaluation.prediction.imagined import show

        horizon, windows = max(options.horizons), min(options.shown, options.windows)
        given = {"horizon": horizon, "windows": windows, "seed": options.seed, "changes": changes}
        shown = imagine(options.runs, options.data, **given)
        for line in show(shown, EpisodeDataset.open(options.data), options.output):
            say(line, error=True)
    return 0


def _remarks(names: Sequence[str], found: Sequence[Forecast], data: str) -> Iterator[str]:
    """What is to be known of the tables."""
    for name, forecast in zip(names, found, strict=True):
        predicted = (
            f"the {forecast.episodes} predicted" if forecast.episodes > 1 else "the one predicted"
        )
        yield {
            "other data": f"{name} was trained on other data than {data}, by what its checkpoint says",
            "other episodes": f"{name} was trained on other episodes of {data}; {predicted} it held out",
            "these episodes": f"{name} was trained on episodes that are predicted here: this is how well it knows "
            "them, not how well it predicts new ones",
        }[forecast.trained_on]
    if found[0].episodes == 1:
        yield "one episode was predicted: there are no intervals"
    if found[0].horizons[0].reward is None:
        yield f"{data} has no rewards: they are not scored, and the models were told that all were 0"


def _print_alone(forecast: Forecast) -> None:
    from manyparts.cli.console import print_table

    heads = ("steps ahead", "error", "nothing changes", "reward", "worst dimension")
    rows = []
    for row in forecast.horizons:
        worst = max(row.dimensions, key=lambda name: row.dimensions[name])
        told = f"{worst} {row.dimensions[worst]:.2g}"
        rows.append((str(row.steps), _error(row), f"{row.still:.2g}", _reward(row), told))
    print_table(heads, rows, title="mean square error of states, in standard deviations")


def _print_side_by_side(names: Sequence[str], found: Sequence[Forecast]) -> None:
    """One table of states and one of rewards, a column a model."""
    from manyparts.cli.console import print_table

    together = list(zip(*(forecast.horizons for forecast in found), strict=True))
    states = [(str(row[0].steps), f"{row[0].still:.2g}", *map(_error, row)) for row in together]
    rewards = [
        (str(row[0].steps), *map(_reward, row)) for row in together if row[0].reward is not None
    ]
    title = f"mean square error of states, in standard deviations of {names[0]}'s data"
    print_table(("steps ahead", "nothing changes", *names), states, title=title)
    if rewards:
        print_table(("steps ahead", *names), rewards, title="mean square error of rewards")


def _print_calibrations(names: Sequence[str], found: Sequence[Forecast]) -> None:
    """Of the models that predict a distribution, if there are any."""
    from manyparts.cli.console import print_table
    from manyparts.evaluation.prediction.calibration import LEVELS

    rows = []
    for name, forecast in zip(names, found, strict=True):
        if (known := forecast.calibration) is not None:
            errors = {number: coverage.error for number, coverage in known.numbers.items()}
            worst = max(errors, key=lambda number: errors[number])
            within = (f"{100 * share:.1f} %" for share in known.overall.within)
            rows.append(
                (name, *within, f"{known.overall.error:.2g}", f"{worst} {errors[worst]:.2g}")
            )
    heads = (
        "model",
        *(f"{100 * level:g} % interval" for level in LEVELS),
        "calibration error",
        "worst number",
    )
    if rows:
        print_table(heads, rows, title="true values within central intervals, one step ahead")


def _error(row: Horizon) -> str:
    return f"{row.error:.2g}" + ("" if row.low is None else f" [{row.low:.2g}, {row.high:.2g}]")


def _reward(row: Horizon) -> str:
    return "none" if row.reward is None else f"{row.reward:.2g}"
