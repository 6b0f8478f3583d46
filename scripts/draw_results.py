"""Draw the charts of docs/results from the archived stages in docs/evidence.

python scripts/draw_results.py [FOLDER]     # default: docs/images
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from manyparts.studies import find_study
from manyparts.studies.engine.results import Row, StudyResult, gather

DOCS = Path(__file__).resolve().parent.parent / "docs"
LABELS, GAP, ROW, TOP, BOTTOM = 225, 28, 21, 44, 34  # pixels
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#222}.t{font-weight:600}.a{fill:#555;font-size:11px}"
    ".g{stroke:#ddd}.w{stroke:#1f5fa8;stroke-width:2}.d{fill:#1f5fa8}"
    ".r .w{stroke:#c04a00}.r .d{fill:#c04a00}"
)


@dataclass(frozen=True)
class Chart:
    """One chart of a study.

    panels: settings to titles. axis: what it says. end: where it ends. panel: pixels that one is
    wide.
    """

    study: str
    seeds: int
    panels: Mapping[str, str]
    axis: str
    end: float = 1.0
    panel: int = 160


CHARTS = (
    Chart("dualmind", 3, {"unseen goals": "unseen goals"}, "success", end=0.6, panel=480),
    Chart(
        "representations",
        3,
        {
            "pointmass, 2 demonstrations": "point mass, 2",
            "pointmass, 10 demonstrations": "point mass, 10",
            "pick-place, 5 demonstrations": "pick-place, 5",
            "doors, 10 demonstrations": "doors, 10",
        },
        "success",
    ),
    Chart(
        "dynamics-specialist",
        3,
        {name: name for name in ("cartpole-swingup", "reacher-easy", "cheetah-run")},
        "mean reward per step",
    ),
    Chart(
        "dynamics-generalist",
        5,
        {
            "unseen embodiments, zero-shot": "zero-shot",
            "unseen embodiments, 1 episode": "1 episode",
            "unseen embodiments, 5 episodes": "5 episodes",
            "unseen embodiments, 20 episodes": "20 episodes",
        },
        "mean reward per step",
    ),
    Chart(
        "embodiments", 3, {"manipulation": "manipulation", "navigation": "navigation"}, "success"
    ),
    Chart(
        "new-embodiment",
        3,
        {
            f"{robot}, {shots} demonstrations": f"{title}, {shots}"
            for shots in (10, 50)
            for robot, title in (
                ("Franka in the kitchen", "Franka"),
                ("two-joint arm", "two joints"),
            )
        },
        "success",
    ),
)


def of_archive(name: str, seeds: int, output: Path) -> StudyResult:
    """The results of the archived stages of a study's laptop preset, unpacked into `output`."""
    study = find_study(name)
    with tarfile.open(DOCS / "evidence" / f"{name}-laptop.tar.xz") as archive:
        archive.extractall(output, filter="data")
    return gather(study, "laptop", study.measurements("laptop", seeds), output)


def draw(chart: Chart, result: StudyResult) -> str:
    """A dot and its interval for each method, a panel for each setting; the study's reference is
    orange."""
    methods = list(dict.fromkeys(row.method for row in result.rows if row.setting in chart.panels))
    width = LABELS + len(chart.panels) * (chart.panel + GAP)
    height = TOP + len(methods) * ROW + BOTTOM
    parts = [
        f'<text x="{LABELS - 10}" y="{_y(number) + 4}" text-anchor="end">{escape(method)}</text>'
        for number, method in enumerate(methods)
    ]
    for number, (setting, title) in enumerate(chart.panels.items()):
        left = LABELS + number * (chart.panel + GAP)
        parts += _frame(chart, left, title, len(methods))
        for row in result.in_setting(setting):
            is_reference = row.method == result.provenance["reference"]
            parts.append(_mark(chart, left, methods.index(row.method), row, is_reference))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" '
        f'role="img"><style>{STYLE}</style><rect width="{width}" height="{height}" fill="#fff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _frame(chart: Chart, left: int, title: str, rows: int) -> list[str]:
    bottom, middle = TOP + rows * ROW, left + chart.panel / 2
    values = (0, chart.end / 2, chart.end)
    ticks = [(left + chart.panel * value / chart.end, f"{value:g}") for value in values]
    return [
        f'<text class="t" x="{middle:g}" y="20" text-anchor="middle">{escape(title)}</text>',
        *(f'<path class="g" d="M{x:g} {TOP - 6}V{bottom}"/>' for x, _ in ticks),
        *(
            f'<text class="a" x="{x:g}" y="{bottom + 13}" text-anchor="middle">{text}</text>'
            for x, text in ticks
        ),
        f'<text class="a" x="{middle:g}" y="{bottom + 28}" text-anchor="middle">'
        f"{escape(chart.axis)}</text>",
    ]


def _mark(chart: Chart, left: int, number: int, row: Row, is_reference: bool) -> str:
    """Intervals that leave the axis are cut at its ends."""
    inside = (min(max(value / chart.end, 0), 1) for value in (row.mean, row.low, row.high))
    mean, low, high = (left + chart.panel * value for value in inside)
    title = f"{row.method}, {row.setting}: {row.mean:.3f} [{row.low:.3f}, {row.high:.3f}]"
    return (
        f'<g class="{"r" if is_reference else "o"}"><title>{escape(title)}</title>'
        f'<path class="w" d="M{low:.1f} {_y(number)}H{high:.1f}"/>'
        f'<circle class="d" cx="{mean:.1f}" cy="{_y(number)}" r="4"/></g>'
    )


def _y(number: int) -> int:
    return TOP + number * ROW + ROW // 2


def main(arguments: Sequence[str]) -> None:
    folder = Path(arguments[0]) if arguments else DOCS / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for chart in CHARTS:
        with tempfile.TemporaryDirectory() as unpacked:
            result = of_archive(chart.study, chart.seeds, Path(unpacked))
        (folder / f"results-{chart.study}.svg").write_text(draw(chart, result))


if __name__ == "__main__":
    main(sys.argv[1:])
