"""Several runs that learned by acting, side by side: curves over seeds, areas, steps to a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

from manyparts.core.arguments import explained, path_of
from manyparts.core.errors import UserError
from manyparts.core.printing import counted
from manyparts.core.serialisation import flatten
from manyparts.core.storage.atomic import make_folder
from manyparts.evaluation.curves import Curve, Reached, band, curve_of, over_seeds, reached
from manyparts.evaluation.record import UNKNOWN
from manyparts.evaluation.statistics import Interval
from manyparts.models.run_files import CONFIG, run_of
from manyparts.report.evidence import data_of, read_json, read_lines
from manyparts.report.html import write_page
from manyparts.report.svg import Line, Range, line_chart
from manyparts.training.online.prefill import RANDOM

Measure = Literal["return", "success"]
_MEASURES: tuple[Measure, ...] = get_args(Measure)
_LIMITS: Mapping[Measure, tuple[float, float] | None] = {"return": None, "success": (0.0, 1.0)}
_SHOWN_SETTINGS = 3  # in the name of a group
# What may differ between the seeds of one method: paths, and what follows from them. `_settings`
# has what such paths have in common.
_OF_RUNS = ("seed", "provenance", "data", "start_from", "teachers", "prefill", "model.teachers")
_DERIVED = ("steps", "validate_every_steps")  # from the schedule, and so not named


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone."""

    name: str
    """The method, with the settings in which it differs from the others."""

    environment: str
    """The task that the runs acted in."""

    runs: tuple[Path, ...]
    """Their folders."""

    curves: Mapping[Measure, tuple[Curve, ...]]
    """Of each measure the runs' validations; without success where nobody knows it."""

    def at(self, measure: Measure, step: float) -> Interval:
        """The mean over seeds at an environment step."""
        values = [curve.at(step) for curve in self.curves[measure]]
        return over_seeds([values], limits=_LIMITS[measure])

    def area(self, measure: Measure, first: float, last: float) -> Interval:
        """The mean over seeds of the mean over steps: the area under the curve by its length."""
        areas = [curve.area(first, last) for curve in self.curves[measure]]
        return over_seeds([areas], limits=_LIMITS[measure])

    def steps_to(self, measure: Measure, score: float, budget: float) -> Reached:
        """Environment steps to a score.

        Args:
            measure: what the score is of.
            score: what is to be reached.
            budget: environment steps until which all methods were watched.

        Raises:
            UserError: nobody knows the measure.
        """
        if measure not in self.curves:
            raise UserError(
                f"{measure} of {self.environment} is unknown; choose another measure: return"
            )
        return reached(self.curves[measure], score, budget=budget)


def groups_of(runs: Sequence[str | Path]) -> list[Group]:
    """Sort runs into methods: runs of one differ in their seed alone.

    Args:
        runs: folders of runs that learned by acting.

    Raises:
        UserError: a run did not learn by acting, has no validation yet, is named twice, or repeats
            another one's method and seed.
    """
    folders = [run_of(path_of(run, "runs")) for run in runs]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("a run is named twice; its seed would count twice")
    settings = {folder: _settings(folder) for folder in folders}
    keys: dict[tuple[Any, ...], list[Path]] = {}
    for folder, values in settings.items():
        own = {name: value for name, value in values.items() if not _is_of_run(name)}
        keys.setdefault(
            tuple(sorted((name, str(value)) for name, value in own.items())), []
        ).append(folder)
    members = list(keys.values())
    for each in members:
        _require_different_seeds(each, [settings[folder]["seed"] for folder in each])
    names = _names([settings[each[0]] for each in members])
    return [
        Group(
            name,
            str(settings[each[0]]["environment"]),
            tuple(each),
            _curves(each),
        )
        for name, each in zip(names, members, strict=True)
    ]


@explained()
def write_comparison(
    runs: Sequence[str | Path],
    output: str | Path,
    *,
    measure: Measure = "success",
    score: float = 0.9,
) -> Path:
    """Write a page that compares runs which learned by acting, and return its path.

    Args:
        runs: their folders. Runs that differ in their seed alone are one method.
        output: the HTML file to write.
        measure: what `score` is of.
        score: what the methods are to reach.

    Raises:
        UserError: see `groups_of`.
    """
    path = path_of(output, "output")
    groups = groups_of(runs)
    make_folder(path.parent)
    title = f"{counted(len(groups), 'method')}, {counted(len(runs), 'run')}"
    body = [f"<header><h1>{title}</h1></header>"]
    for environment in dict.fromkeys(group.environment for group in groups):
        own = [group for group in groups if group.environment == environment]
        body += _of_environment(environment, own, measure, score)
    body.append(
        "<footer>Written by manyparts. Curves are validations during training, on the same starts "
        "each time. Intervals are Student's 95 % over seeds; thin lines are single runs. Figures "
        "are at the last step that all methods have, the area is the mean until it.</footer>"
    )
    write_page(path, title=escape(title), body=body)
    return path


def table_of(
    groups: Sequence[Group], measure: Measure, score: float
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads and rows of a table of methods in one environment.

    Args:
        groups: the methods.
        measure: what `score` is of.
        score: what they are to reach.
    """
    first, last = _common(groups)
    heads = (
        "method",
        "seeds",
        f"return at {last:g}",
        f"success at {last:g}",
        "area of return",
        f"steps to {measure} {score:g}",
    )
    rows = []
    for group in groups:
        times = group.steps_to(measure, score, last)
        area = group.area("return", first, last) if first < last else None
        rows.append(
            (
                group.name,
                str(len(group.runs)),
                _bounded(group.at("return", last), len(group.runs)),
                _success(group, last),
                "one check" if area is None else _bounded(area, len(group.runs)),
                _reached(times),
            )
        )
    return heads, rows


def _of_environment(
    environment: str, groups: Sequence[Group], measure: Measure, score: float
) -> list[str]:
    """The page's part on one task."""
    known: list[Measure] = [
        each for each in _MEASURES if all(each in group.curves for group in groups)
    ]
    charts = [_chart(groups, each) for each in known]
    heads, rows = table_of(groups, measure, score)
    head = f"<th>{heads[0]}</th>" + "".join(
        f'<th class="number">{escape(text)}</th>' for text in heads[1:]
    )
    body = ""
    for name, *cells in rows:
        numbers = "".join(f'<td class="number">{escape(cell)}</td>' for cell in cells)
        body += f"<tr><td>{escape(name)}</td>{numbers}</tr>"
    return [
        f"<h2>{escape(environment)}</h2>",
        f'<div class="charts">{"".join(charts)}</div>',
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>',
        f"<tbody>{body}</tbody></table></div>",
    ]


def _chart(groups: Sequence[Group], measure: Measure) -> str:
    """Mean curves with their bands, and single runs."""
    lines: dict[str, Line] = {}
    bands: dict[str, Range] = {}
    thin: dict[str, list[Line]] = {}
    for group in groups:
        curves = group.curves[measure]
        mean = band([curves], limits=_LIMITS[measure])
        lines[group.name] = (mean.steps.tolist(), mean.mean.tolist())
        if mean.low is not None and mean.high is not None:
            bands[group.name] = (mean.steps.tolist(), mean.low.tolist(), mean.high.tolist())
            thin[group.name] = [(each.steps.tolist(), each.values.tolist()) for each in curves]
    return line_chart(
        lines,
        {},
        title=f"{measure}, mean over seeds",
        x_label="environment step",
        y_limits=_LIMITS[measure],
        linear=True,
        bands=bands,
        thin=thin,
    )


def _settings(run: Path) -> dict[str, Any]:
    """The run's config.json, flat. Raises UserError for a run that did not act."""
    if not (run / CONFIG).exists():
        raise UserError(f"no run folder {run}")
    config = read_json(run / CONFIG)
    if not config.get("online"):
        raise UserError(
            f"{run} learned from datasets; several runs are compared if they learned by acting, "
            "others by manyparts evaluate --compare A B"
        )
    teachers = config["model"].get("teachers") or ()
    own = {
        "sources": ", ".join(path.name for path in data_of(config)) or "none",
        "number of teachers": len(config.get("teachers") or ()),
        "taught by": ", ".join(chain.from_iterable(each["names"] for each in teachers)) or "none",
        "starts from a run": bool(config.get("start_from")),
        "acts at random first": config.get("prefill", RANDOM) == RANDOM,
    }
    return {**flatten(config), **own}


def _require_different_seeds(runs: Sequence[Path], seeds: Sequence[int]) -> None:
    """Raise UserError if runs of one method have the same seed, and so are no further evidence."""
    for number, seed in enumerate(seeds):
        if seed in seeds[:number]:
            first = runs[seeds.index(seed)]
            raise UserError(
                f"{first} and {runs[number]} are of one method and of seed {seed}, which would "
                "count twice; leave one out, or train it with another --seed"
            )


def _is_of_run(name: str) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in _OF_RUNS)


def _curves(runs: Sequence[Path]) -> dict[Measure, tuple[Curve, ...]]:
    """Of each measure the runs' validations; without success where nobody knows it.

    Raises:
        UserError: a run has no validation yet.
    """
    rows = [read_lines(run / "metrics.jsonl") for run in runs]
    curves: dict[Measure, tuple[Curve, ...]] = {}
    for measure in _MEASURES:
        own = [curve_of(of_run, f"validation/{measure}") for of_run in rows]
        known = tuple(curve for curve in own if curve is not None)
        if len(known) == len(runs):
            curves[measure] = known
        elif measure == "return":
            run = runs[own.index(None)]
            raise UserError(f"{run} has no validation yet; wait for its first one, or leave it out")
    return curves


def _success(group: Group, step: float) -> str:
    if "success" not in group.curves:
        return UNKNOWN
    return _bounded(group.at("success", step), len(group.runs))


def _names(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Method and phase of each group, with settings in which groups of one name differ."""
    bases = [f"{each['method']} {each['phase']}" for each in groups]
    names = []
    for own, base in zip(groups, bases, strict=True):
        rivals = [
            other
            for other, name in zip(groups, bases, strict=True)
            if name == base and other["environment"] == own["environment"]
        ]
        differing = [
            name
            for name in dict.fromkeys(key for each in rivals for key in each)
            if not _is_of_run(name)
            and name not in _DERIVED
            and len({str(each.get(name)) for each in rivals}) > 1
        ]
        shown = [f"{_short(name)} {own.get(name)}" for name in differing[:_SHOWN_SETTINGS]]
        more = ["..."] if len(differing) > _SHOWN_SETTINGS else []
        names.append(f"{base}, {', '.join([*shown, *more])}" if shown else base)
    return names


def _short(name: str) -> str:
    """The last part of a setting's name."""
    return name.rpartition(".")[2].replace("_", " ")


def _common(groups: Sequence[Group]) -> tuple[float, float]:
    """The first and the last step that all runs have."""
    curves = [curve for group in groups for curve in group.curves["return"]]
    return (
        max(float(curve.steps[0]) for curve in curves),
        min(float(curve.steps[-1]) for curve in curves),
    )


def _bounded(estimate: Interval, seeds: int) -> str:
    """A mean with its bounds; of a single seed there are none."""
    mean = f"{estimate.mean:.3g}"
    return mean if seeds == 1 else f"{mean} [{estimate.low:.3g}, {estimate.high:.3g}]"


def _reached(times: Reached) -> str:
    """When half of the runs got there, and how many did."""
    of = f"{times.count} of {len(times.steps)}"
    return f"{times.median:.0f} ({of})" if times.median is not None else f"not yet ({of})"
