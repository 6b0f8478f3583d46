"""Small charts as inline SVG that take their colours from the page: an interval bar and a line
chart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 460.0, 230.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 12.0, 34.0


def interval_bar(
    mean: float, low: float, high: float, *, width: float = 180, height: float = 14
) -> str:
    """A bar of `mean` in [0, 1] with its interval as a whisker."""
    middle = height / 2
    return (
        f'<svg class="bar" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="{mean:.2f}, interval {low:.2f} to {high:.2f}">'
        f'<rect class="track" width="{width:g}" height="{height:g}" rx="3"/>'
        f'<rect class="fill" width="{_clip(mean) * width:.1f}" height="{height:g}" rx="3"/>'
        f'<path class="whisker" d="M{_clip(low) * width:.1f} {middle:g}H{_clip(high) * width:.1f}'
        f"M{_clip(low) * width:.1f} {middle - 4:g}v8M{_clip(high) * width:.1f} {middle - 4:g}v8"
        f'"/></svg>'
    )


Line = tuple[Sequence[float], Sequence[float]]


def line_chart(
    lines: Mapping[str, Line],
    dashed: Mapping[str, Line],
    *,
    title: str,
    x_label: str,
    y_limits: tuple[float, float] | None = None,
) -> str:
    """Lines of name to (x, y); a dashed line has the colour of the line of its name. x counts
    something: its ticks are whole numbers. y_limits: ends of the y axis; None: those of the values,
    logarithmic where these are positive and span a factor of five.

    Points that are not finite are left out. Returns a figure with a legend; a chart of nothing says
    so.
    """
    solid, broken = _finite(lines), _finite(dashed)
    points = [point for chosen in (solid, broken) for line in chosen.values() for point in line]
    if not points:
        return f"<figure><figcaption>{escape(title)}: nothing recorded</figcaption></figure>"
    scale = _Scale.around(points, y_limits)
    parts = [_grid_row(scale.place(points[0][0], tick)[1], tick) for tick in scale.y_ticks()]
    parts += [
        _grid_column(scale.place(tick, points[0][1])[0], tick) for tick in _ticks(*scale.x, least=1)
    ]
    parts.append(
        f'<text x="{_WIDTH - _RIGHT:g}" y="{_HEIGHT - 2:g}" text-anchor="end">{escape(x_label)}</text>'
    )
    colours = {name: f"c{index % 6}" for index, name in enumerate(dict.fromkeys([*solid, *broken]))}
    for style, chosen in (("line", solid), ("line dashed", broken)):
        for name, line in chosen.items():
            placed = [scale.place(*point) for point in line]
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
            parts.append(f'<path class="{style} {colours[name]}" d="M{path}"/>')
            if len(placed) == 1:
                parts.append(
                    f'<circle class="{style} {colours[name]}" cx="{placed[0][0]:.1f}" cy="{placed[0][1]:.1f}" r="3"/>'
                )
    legend = "".join(
        f'<li class="{colour}">{escape(name)}</li>' for name, colour in colours.items()
    )
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg class="chart" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" '
        f'role="img" aria-label="{escape(title)}">{"".join(parts)}</svg><ul class="legend">{legend}</ul></figure>'
    )


@dataclass(frozen=True)
class _Scale:
    """From values to the drawing's units. y: a range of log10 values where `logarithmic`."""

    x: tuple[float, float]
    y: tuple[float, float]
    logarithmic: bool

    @classmethod
    def around(
        cls, points: Sequence[tuple[float, float]], y_limits: tuple[float, float] | None
    ) -> _Scale:
        x, y = [x for x, _ in points], [y for _, y in points]
        if y_limits is not None:
            return cls(_spread(min(x), max(x)), y_limits, logarithmic=False)
        logarithmic = min(y) > 0 and max(y) / min(y) > 5
        y = [math.log10(value) for value in y] if logarithmic else y
        return cls(_spread(min(x), max(x)), _spread(min(y), max(y)), logarithmic)

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = ((math.log10(y) if self.logarithmic else y) - self.y[0]) / (self.y[1] - self.y[0])
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (
            _HEIGHT - _TOP - _BOTTOM
        )

    def y_ticks(self) -> list[float]:
        return _log_ticks(*self.y) if self.logarithmic else _ticks(*self.y)


def _finite(lines: Mapping[str, Line]) -> dict[str, list[tuple[float, float]]]:
    kept = {
        name: [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(b)]
        for name, (x, y) in lines.items()
    }
    return {name: _thin(points) for name, points in kept.items() if points}


def _grid_row(y: float, tick: float) -> str:
    return (
        f'<path class="grid" d="M{_LEFT:g} {y:.1f}H{_WIDTH - _RIGHT:g}"/>'
        f'<text x="{_LEFT - 6:g}" y="{y + 3.5:.1f}" text-anchor="end">{_short(tick)}</text>'
    )


def _grid_column(x: float, tick: float) -> str:
    return f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 15:g}" text-anchor="middle">{_short(tick)}</text>'


def _clip(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _thin(points: list[tuple[float, float]], most: int = 200) -> list[tuple[float, float]]:
    """At most about `most` points, each the mean of its neighbourhood."""
    size = max(1, math.ceil(len(points) / most))
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]


def _spread(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float, most: int = 5, least: float = 0.0) -> list[float]:
    """About `most` round values between low and high, at least `least` apart."""
    rough = max((high - low) / most, least)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough)
    return [
        index * step
        for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def _log_ticks(low: float, high: float) -> list[float]:
    """Values between 10^low and 10^high: 1, 2 and 5 of each decade, or the decades alone where
    those are many."""
    steps = (1, 2, 5) if high - low < 2.5 else (1,)
    values = [
        step * 10.0**power
        for power in range(math.floor(low), math.ceil(high) + 1)
        for step in steps
    ]
    return [value for value in values if low - 1e-9 <= math.log10(value) <= high + 1e-9]


def _short(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.4g}"
