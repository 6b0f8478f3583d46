"""Small charts as inline SVG that take their colours from the page: an interval bar and a line
chart, with bands around its lines."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeVar

_WIDTH, _HEIGHT = 460.0, 230.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 12.0, 34.0


def interval_bar(
    mean: float, low: float, high: float, *, width: float = 180, height: float = 14
) -> str:
    """A bar of `mean` in [0, 1] with its interval as a whisker.

    Args:
        mean: where the bar ends.
        low: where the whisker begins.
        high: where the whisker ends.
        width: of the drawing, in pixels.
        height: of the drawing, in pixels.
    """
    middle = height / 2
    return (
        f'<svg class="bar" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" '
        f'aria-label="{mean:.2f}, interval {low:.2f} to {high:.2f}">'
        f'<rect class="track" width="{width:g}" height="{height:g}" rx="3"/>'
        f'<rect class="fill" width="{_clip(mean) * width:.1f}" height="{height:g}" rx="3"/>'
        f'<path class="whisker" d="M{_clip(low) * width:.1f} {middle:g}H{_clip(high) * width:.1f}'
        f"M{_clip(low) * width:.1f} {middle - 4:g}v8M{_clip(high) * width:.1f} {middle - 4:g}v8"
        f'"/></svg>'
    )


Name = TypeVar("Name")
"""What lines are called."""

Line = tuple[Sequence[float], Sequence[float]]
"""x and y of a line's points."""

Range = tuple[Sequence[float], Sequence[float], Sequence[float]]
"""x, lower and upper y of a band's points."""


def line_chart(
    lines: Mapping[str, Line],
    dashed: Mapping[str, Line],
    *,
    title: str,
    x_label: str,
    y_limits: tuple[float, float] | None = None,
    linear: bool = False,
    bands: Mapping[str, Range] | None = None,
    thin: Mapping[str, Sequence[Line]] | None = None,
) -> str:
    """A figure of lines with a legend; without any points it says so.

    Points that are not finite are left out. Bands do not stretch the y axis; what is beyond it is
    cut off.

    Args:
        lines: by name. x counts something, such as steps: its ticks are whole numbers.
        dashed: by name; each has the colour of the line of its name.
        title: above the chart.
        x_label: below the chart.
        y_limits: ends of the y axis; None: those of the values, on a logarithmic scale if these are
            positive and span more than a factor of five.
        linear: whether the y axis is linear whatever the values are.
        bands: by name; each has the colour of the line of its name, whose interval it is.
        thin: by name, lines such as those that a line is the mean of, in its colour.
    """
    solid, broken = _finite(lines), _finite(dashed)
    faint = {
        name: list(_finite(dict(enumerate(several))).values())
        for name, several in (thin or {}).items()
    }
    below = itertools.chain.from_iterable(faint.values())
    points = list(itertools.chain(*solid.values(), *broken.values(), *below))
    if not points:
        return f"<figure><figcaption>{escape(title)}: nothing recorded</figcaption></figure>"
    if linear and y_limits is None:
        y_limits = _spread(min(y for _, y in points), max(y for _, y in points))
    scale = _Scale.around(points, y_limits)
    parts = [_grid_row(scale.position(points[0][0], tick)[1], tick) for tick in scale.y_ticks()]
    for tick in _ticks(*scale.x, min_step=1):
        parts.append(_grid_column(scale.position(tick, points[0][1])[0], tick))
    parts.append(
        f'<text x="{_WIDTH - _RIGHT:g}" y="{_HEIGHT - 2:g}" text-anchor="end">'
        f"{escape(x_label)}</text>"
    )
    colours = {name: f"c{index % 6}" for index, name in enumerate(dict.fromkeys([*solid, *broken]))}
    for name, (xs, lows, highs) in (bands or {}).items():
        upper = [scale.position(x, scale.clip(y)) for x, y in zip(xs, highs, strict=True)]
        lower = [scale.position(x, scale.clip(y)) for x, y in zip(xs, lows, strict=True)]
        outline = "L".join(f"{x:.1f} {y:.1f}" for x, y in [*upper, *lower[::-1]])
        parts.append(f'<path class="band {colours[name]}" d="M{outline}Z"/>')
    for name, several in faint.items():
        for line in several:
            positions = [scale.position(*point) for point in line]
            parts += _drawn_line(positions, f"line thin {colours[name]}")
    for style, chosen in (("line", solid), ("line dashed", broken)):
        for name, line in chosen.items():
            positions = [scale.position(*point) for point in line]
            parts += _drawn_line(positions, f"{style} {colours[name]}")
    legend = "".join(
        f'<li class="{colour}">{escape(name)}</li>' for name, colour in colours.items()
    )
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg class="chart" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
        f'<ul class="legend">{legend}</ul></figure>'
    )


def _drawn_line(positions: Sequence[tuple[float, float]], style: str) -> list[str]:
    """A path through the positions; a single one is drawn as a circle, too."""
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in positions)
    parts = [f'<path class="{style}" d="M{path}"/>']
    if len(positions) == 1:
        x, y = positions[0]
        parts.append(f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    return parts


@dataclass(frozen=True)
class _Scale:
    """From values to positions in the drawing.

    Attributes:
        x: the smallest and the largest value.
        y: the same, of log10 of the values if `logarithmic`.
        logarithmic: whether the y axis is.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    logarithmic: bool

    @classmethod
    def around(
        cls, points: Sequence[tuple[float, float]], y_limits: tuple[float, float] | None
    ) -> _Scale:
        """The scale on which all points are drawn.

        Args:
            points: (x, y) of each, at least one.
            y_limits: the ends of a linear y axis; None: the points choose. The axis is then
                logarithmic if all are above 0 and the largest is more than 5 times the smallest.
        """
        x, y = [x for x, _ in points], [y for _, y in points]
        if y_limits is not None:
            return cls(_spread(min(x), max(x)), y_limits, logarithmic=False)
        logarithmic = min(y) > 0 and max(y) / min(y) > 5
        y = [math.log10(value) for value in y] if logarithmic else y
        return cls(_spread(min(x), max(x)), _spread(min(y), max(y)), logarithmic)

    def position(self, x: float, y: float) -> tuple[float, float]:
        """Where a point is drawn.

        Args:
            x: in the data's unit.
            y: in the data's unit; above 0 if the axis is logarithmic.

        Returns:
            Across and down from the upper left corner, in units of the view box.
        """
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        height = math.log10(y) if self.logarithmic else y
        up = (height - self.y[0]) / (self.y[1] - self.y[0])
        width_inside = _WIDTH - _LEFT - _RIGHT
        height_inside = _HEIGHT - _TOP - _BOTTOM
        return _LEFT + across * width_inside, _HEIGHT - _BOTTOM - up * height_inside

    def clip(self, y: float) -> float:
        """The value of the y axis that is nearest to one in the data's unit."""
        low, high = (10**end if self.logarithmic else end for end in self.y)
        return min(max(y, low), high)

    def y_ticks(self) -> list[float]:
        """Round values along the y axis."""
        return _log_ticks(*self.y) if self.logarithmic else _ticks(*self.y)


def _finite(lines: Mapping[Name, Line]) -> dict[Name, list[tuple[float, float]]]:
    """The finite points of each line, fewer if they are many."""
    finite = {}
    for name, (xs, ys) in lines.items():
        points = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
        if points:
            finite[name] = _thin(points)
    return finite


def _grid_row(y: float, tick: float) -> str:
    return (
        f'<path class="grid" d="M{_LEFT:g} {y:.1f}H{_WIDTH - _RIGHT:g}"/>'
        f'<text x="{_LEFT - 6:g}" y="{y + 3.5:.1f}" text-anchor="end">{_short(tick)}</text>'
    )


def _grid_column(x: float, tick: float) -> str:
    y = _HEIGHT - _BOTTOM + 15
    return f'<text x="{x:.1f}" y="{y:g}" text-anchor="middle">{_short(tick)}</text>'


def _clip(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _thin(points: list[tuple[float, float]], max_points: int = 200) -> list[tuple[float, float]]:
    """At most about `max_points` points, each the mean of its neighbourhood."""
    size = max(1, math.ceil(len(points) / max_points))
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]


def _spread(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float, count: int = 5, min_step: float = 0.0) -> list[float]:
    """About `count` round values between low and high, at least `min_step` apart."""
    rough = max((high - low) / count, min_step)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough)
    # The margin of 1e-9 keeps ticks at the very ends, which rounding may move outside.
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Values between 10^low and 10^high: 1, 2 and 5 of each decade, or of more than 2.5 decades 1
    alone."""
    steps = (1, 2, 5) if high - low < 2.5 else (1,)
    values = []
    for power in range(math.floor(low), math.ceil(high) + 1):
        values += [step * 10.0**power for step in steps]
    return [value for value in values if low - 1e-9 <= math.log10(value) <= high + 1e-9]


def _short(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.4g}"
