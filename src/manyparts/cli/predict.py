"""`manyparts predict`: how far ahead dynamics models predict, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError
from manyparts.core.printing import say

if TYPE_CHECKING:
    from manyparts.evaluation.prediction.forecast import Forecast, Horizon


@dataclass(frozen=True)
class Changes:
    """Settings of the models that are not those of their training."""

    next: Literal["expectation", "sample"] | None = None
    """What transformers feed back: the expectation of their prediction, or a sample of it; if left
    out, what each was trained with."""


@dataclass(frozen=True)
class Options:
    """Measure how well dynamics models predict: their own predictions are fed back, under the
    actions that were really taken.

    Errors are mean squares in stds of the training data, so that predicting the mean state costs 1.
    The table also has the error of predicting that nothing changes. Models that predict
    distributions are checked for calibration, too. If a model was trained on the dataset, only
    episodes that it held out are predicted, if there are any.
    """

    runs: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN ...")]] = ()
    """Run or checkpoint folders of dynamics models, such as one of `manyparts train
    dynamics/parallel-laptop`. Several are compared on the same windows, in stds of the first one's
    data."""

    data: str | None = None
    """The dataset: a folder, hf://owner/name, or another URL."""

    horizons: tuple[int, ...] = (1, 5, 10, 25, 50)
    """Numbers of steps ahead."""

    windows: int = 64
    """Number of predictions, spread over the episodes."""

    seed: int = 0
    """Seed of where predictions begin in the episodes, and of what models draw."""

    model: Changes = Changes()
    """Changes of settings, for the models that have them."""

    output: Path | None = None
    """Folder for prediction.json, with the error of each dimension, prediction.svg, and the shown
    predictions; if left out, nothing is written."""

    shown: int = 2
    """Number of predictions that are drawn into the folder next to what happened. imagined.svg has
    curves of at most 12 numbers, those that vary most. imagined-0.mp4 and so on show the scenes, if
    the dataset's simulator is installed and can draw a state."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts predict`, and return its exit code."""
    options = parse(Options, arguments, command="predict")
    if not options.runs or options.data is None:
        raise UserError(
            "missing RUN, a dynamics model, or --data, the dataset to predict; see manyparts "
            "predict --help"
        )
    from manyparts.evaluation.prediction.forecast import labels
    from manyparts.evaluation.prediction.open_loop import open_loop

    if options.shown < 0:
        raise UserError(f"--shown is {options.shown}; expected a number of predictions, or 0")
    forecasts = open_loop(
        options.runs,
        options.data,
        horizons=options.horizons,
        windows=options.windows,
        seed=options.seed,
        output=options.output,
        changes=_changes(options),
    )
    names = labels([forecast.run for forecast in forecasts])
    if len(forecasts) == 1:
        _print_alone(forecasts[0])
    else:
        _print_side_by_side(names, forecasts)
    _print_calibrations(names, forecasts)
    for line in _remarks(names, forecasts, options.data):
        say(line)
    if options.output is not None and options.shown:
        _draw_shown(options, options.data, options.output)
    return 0


def _changes(options: Options) -> dict[str, Any]:
    return {} if options.model.next is None else {"next": options.model.next}


def _draw_shown(options: Options, data: str, output: Path) -> None:
    """Draw the first predictions into the output folder."""
    from manyparts.data.dataset import EpisodeDataset
    from manyparts.evaluation.prediction.imagined import show
    from manyparts.evaluation.prediction.open_loop import imagine

    windows = imagine(
        options.runs,
        data,
        horizon=max(options.horizons),
        windows=min(options.shown, options.windows),
        seed=options.seed,
        changes=_changes(options),
    )
    for line in show(windows, EpisodeDataset.open(data), output):
        say(line, error=True)


def _remarks(names: Sequence[str], forecasts: Sequence[Forecast], data: str) -> Iterator[str]:
    """What to know when reading the tables."""
    for name, forecast in zip(names, forecasts, strict=True):
        several = forecast.episodes > 1
        predicted = f"the {forecast.episodes} predicted" if several else "the one predicted"
        yield {
            "other data": f"{name} was trained on other data than {data}, says its checkpoint",
            "other episodes": (
                f"{name} was trained on other episodes of {data}; {predicted} it held out"
            ),
            "these episodes": (
                f"{name} was trained on episodes that are predicted here: this is how well it "
                "knows them, not how well it predicts new ones"
            ),
        }[forecast.trained_on]
    if forecasts[0].episodes == 1:
        yield "one episode was predicted: there are no intervals"
    if forecasts[0].horizons[0].reward is None:
        yield f"{data} has no rewards: they are not scored, and the models got rewards of 0"


def _print_alone(forecast: Forecast) -> None:
    from manyparts.cli.console import print_table, significant

    heads = ("steps ahead", "error", "nothing changes", "reward", "worst dimension")
    rows = []
    for row in forecast.horizons:
        worst = max(row.dimensions, key=lambda name: row.dimensions[name])
        dimension = f"{worst} {significant(row.dimensions[worst])}"
        still = significant(row.still)
        rows.append((str(row.steps), _error(row), still, _reward(row), dimension))
    print_table(heads, rows, title="mean square error of states, in stds")


def _print_side_by_side(names: Sequence[str], forecasts: Sequence[Forecast]) -> None:
    """Print one table of states and one of rewards, with a column for each model."""
    from manyparts.cli.console import print_table, significant

    states, rewards = [], []
    for rows in zip(*(forecast.horizons for forecast in forecasts), strict=True):
        steps = str(rows[0].steps)
        states.append((steps, significant(rows[0].still), *map(_error, rows)))
        if rows[0].reward is not None:
            rewards.append((steps, *map(_reward, rows)))
    title = f"mean square error of states, in stds of {names[0]}'s data"
    print_table(("steps ahead", "nothing changes", *names), states, title=title)
    if rewards:
        print_table(("steps ahead", *names), rewards, title="mean square error of rewards")


def _print_calibrations(names: Sequence[str], forecasts: Sequence[Forecast]) -> None:
    """Print a row for each model that predicts a distribution, if there are any."""
    from manyparts.cli.console import print_table, significant
    from manyparts.evaluation.prediction.calibration import LEVELS

    rows = []
    for name, forecast in zip(names, forecasts, strict=True):
        if (calibration := forecast.calibration) is not None:
            errors = {number: coverage.error for number, coverage in calibration.numbers.items()}
            worst = max(errors, key=lambda number: errors[number])
            within = [f"{fraction:.3f}" for fraction in calibration.overall.within]
            overall = significant(calibration.overall.error)
            rows.append((name, *within, overall, f"{worst} {significant(errors[worst])}"))
    intervals = [f"{level:g} interval" for level in LEVELS]
    heads = ("model", *intervals, "calibration error", "worst number")
    if rows:
        title = "fraction of true values within central intervals, one step ahead"
        print_table(heads, rows, title=title)


def _error(row: Horizon) -> str:
    from manyparts.cli.console import significant

    if row.low is None or row.high is None:
        return significant(row.error)
    return f"{significant(row.error)} [{significant(row.low)}, {significant(row.high)}]"


def _reward(row: Horizon) -> str:
    from manyparts.cli.console import significant

    return "none" if row.reward is None else significant(row.reward)
