"""`manyparts predict`: how far ahead dynamics models predict, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError
from manyparts.core.printing import counted, say

if TYPE_CHECKING:
    from manyparts.data.dataset import EpisodeDataset
    from manyparts.evaluation.prediction.forecast import Forecast, Horizon, ImageError


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
    dynamics/parallel-laptop`, or of agents that learned by acting, such as one of `manyparts train
    dreamer/laptop`. Several are compared on the same windows, in stds of the first one's data."""

    data: str | None = None
    """The dataset: a folder, hf://owner/name, or another URL. If left out, the first run's agent,
    which must have learned by acting, plays episodes of its own."""

    episodes: int = 8
    """Number of episodes that the agent plays where no dataset is named."""

    horizons: tuple[int, ...] = ()
    """Numbers of steps ahead; if left out, 1 5 10 25 50. For episodes of the agent's own, 1 5 10 25
    45, or up to their end if they are shorter."""

    seen: int | None = None
    """Number of observations that models get before they predict; if left out, as many as the model
    with the longest context takes, which is 5 for a world model that learned by acting."""

    windows: int = 64
    """Number of predictions, spread over the episodes."""

    seed: int = 0
    """Seed of where predictions begin in the episodes, and of what models draw."""

    model: Changes = Changes()
    """Changes of settings, for the models that have them."""

    output: Path | None = None
    """Folder for prediction.json, with the error of each dimension, prediction.svg, and the shown
    predictions. If left out, nothing is written, but without --data it is RUN/prediction, from
    which `manyparts report` takes it."""

    shown: int = 2
    """Number of predictions that are drawn into the folder next to what happened. imagined.svg has
    curves of at most 12 numbers, those that vary most. imagined-0.mp4 and so on show the scenes, as
    a model draws them that predicts images. States are drawn by the dataset's simulator, if it is
    installed and can."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts predict`, and return its exit code."""
    options = parse(Options, arguments, command="predict")
    if not options.runs:
        raise UserError(
            "missing RUN, a dynamics model or an agent that learned by acting; see manyparts "
            "predict --help"
        )
    if options.shown < 0:
        raise UserError(f"--shown is {options.shown}; expected a number of predictions, or 0")
    if options.data is not None:
        horizons = options.horizons or (1, 5, 10, 25, 50)
        _predict(replace(options, horizons=horizons), options.data)
        return 0
    predict_own(options)
    return 0


def predict_own(options: Options) -> None:
    """Predict episodes that the first run's agent plays.

    Args:
        options: of the command, without a dataset.

    Raises:
        UserError: the agent did not learn by acting.
    """
    from manyparts.evaluation.prediction.own_episodes import fitting, own_episodes, task_of
    from manyparts.models.run_files import results_folder

    run = options.runs[0]
    if task_of(run) is None:
        raise UserError(f"missing --data, the dataset to predict: {run} did not learn by acting")
    output = options.output or results_folder(run, "prediction")
    with own_episodes(run, output, episodes=options.episodes, seed=options.seed) as data:
        seen, horizons = fitting(data, options.seen)
        horizons = options.horizons or horizons
        chosen = replace(options, seen=seen, horizons=horizons, output=output)
        _predict(chosen, data)


def _predict(options: Options, data: str | EpisodeDataset) -> None:
    """Predict a dataset, print the errors, and write files if there is a folder for them."""
    from manyparts.data.dataset import EpisodeDataset
    from manyparts.evaluation.prediction.forecast import labels
    from manyparts.evaluation.prediction.open_loop import open_loop

    forecasts = open_loop(
        options.runs,
        data,
        horizons=options.horizons,
        windows=options.windows,
        seed=options.seed,
        output=options.output,
        changes=_changes(options),
        seen=options.seen,
    )
    names = labels([forecast.run for forecast in forecasts])
    if len(forecasts) == 1:
        _print_alone(forecasts[0])
    else:
        _print_side_by_side(names, forecasts)
    _print_calibrations(names, forecasts)
    if isinstance(data, EpisodeDataset):
        say(f"predicted: {counted(data.num_episodes, 'episode')} that {options.runs[0]} plays now")
    for line in _remarks(names, forecasts, data):
        say(line)
    if options.output is not None and options.shown:
        _draw_shown(options, data, options.output)


def _changes(options: Options) -> dict[str, Any]:
    return {} if options.model.next is None else {"next": options.model.next}


def _draw_shown(options: Options, data: str | EpisodeDataset, output: Path) -> None:
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
        seen=options.seen,
    )
    for line in show(windows, EpisodeDataset.open(data), output):
        say(line, error=True)


def _remarks(
    names: Sequence[str], forecasts: Sequence[Forecast], data: str | EpisodeDataset
) -> Iterator[str]:
    """What to know when reading the tables."""
    if not isinstance(data, str):
        data = "the episodes"
    else:
        yield from (_trained_on(*each, data) for each in zip(names, forecasts, strict=True))
    if forecasts[0].episodes == 1:
        yield "one episode was predicted: there are no intervals"
    if forecasts[0].horizons[0].reward is None:
        yield f"{data} has no rewards: they are not scored, and the models got rewards of 0"


def _trained_on(name: str, forecast: Forecast, data: str) -> str:
    """Whether a model was trained on what it predicts."""
    several = forecast.episodes > 1
    predicted = f"the {forecast.episodes} predicted" if several else "the one predicted"
    return {
        "other data": f"{name} was trained on other data than {data}, says its checkpoint",
        "other episodes": (
            f"{name} was trained on other episodes of {data}; {predicted} it held out"
        ),
        "these episodes": (
            f"{name} was trained on episodes that are predicted here: this is how well it "
            "knows them, not how well it predicts new ones"
        ),
        "its own episodes": (
            f"{name} was trained on what its agent did itself, which {data} may be a part of"
        ),
    }[forecast.trained_on]


def _print_alone(forecast: Forecast) -> None:
    from manyparts.cli.console import print_table, significant

    heads, rows = ["steps ahead"], [[str(row.steps)] for row in forecast.horizons]
    first = forecast.horizons[0]
    if first.error is not None:
        heads += ["error", "nothing changes"]
    if first.image is not None:
        heads += ["image", "nothing changes"]
    heads += ["reward"]
    if first.dimensions:
        heads += ["worst dimension"]
    for cells, row in zip(rows, forecast.horizons, strict=True):
        if row.still is not None:
            cells += [_bounded(row), significant(row.still)]
        if row.image is not None:
            cells += [_bounded(row.image), significant(row.image.still)]
        cells.append(_reward(row))
        if row.dimensions:
            worst = max(row.dimensions, key=lambda name: row.dimensions[name])
            cells.append(f"{worst} {significant(row.dimensions[worst])}")
    print_table(heads, rows, title="mean square error of " + _units(forecast))


def _units(forecast: Forecast) -> str:
    """What the errors of a table are of, and in which unit."""
    first = forecast.horizons[0]
    units = []
    if first.error is not None:
        units.append("states, in stds")
    if first.image is not None:
        units.append("images, pixels from 0 to 1")
    return "; of ".join(units)


def _print_side_by_side(names: Sequence[str], forecasts: Sequence[Forecast]) -> None:
    """Print one table of states, one of images and one of rewards, with a column for each model."""
    from manyparts.cli.console import print_table

    states, images, rewards = [], [], []
    for rows in zip(*(forecast.horizons for forecast in forecasts), strict=True):
        steps = str(rows[0].steps)
        states.append((steps, _still(rows), *map(_bounded, rows)))
        of_images = [row.image for row in rows]
        images.append((steps, _still(of_images), *map(_bounded, of_images)))
        if rows[0].reward is not None:
            rewards.append((steps, *map(_reward, rows)))
    heads = ("steps ahead", "nothing changes", *names)
    if any(row.error is not None for forecast in forecasts for row in forecast.horizons):
        title = f"mean square error of states, in stds of {names[0]}'s data"
        print_table(heads, states, title=title)
    if any(row.image for forecast in forecasts for row in forecast.horizons):
        print_table(heads, images, title="mean square error of images, pixels from 0 to 1")
    if rewards:
        print_table(("steps ahead", *names), rewards, title="mean square error of rewards")


def _still(rows: Sequence[Horizon | ImageError | None]) -> str:
    """The error of predicting that nothing changes, which is the same for all models."""
    from manyparts.cli.console import significant

    errors = [row.still for row in rows if row is not None and row.still is not None]
    return significant(errors[0]) if errors else "none"


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


def _bounded(row: Horizon | ImageError | None) -> str:
    """An error with its interval; "none" if the model does not predict this."""
    from manyparts.cli.console import significant

    if row is None or row.error is None:
        return "none"
    if row.low is None or row.high is None:
        return significant(row.error)
    return f"{significant(row.error)} [{significant(row.low)}, {significant(row.high)}]"


def _reward(row: Horizon) -> str:
    from manyparts.cli.console import significant

    return "none" if row.reward is None else significant(row.reward)
