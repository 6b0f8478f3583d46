"""Small charts as inline SVG that take their colours from the page: an interval bar and a line chart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 460.0, 230.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 12.0, 34.0


def interval_bar(mean: float, low: float, high: float, *, width: float = 180, height: float = 14) -> str:
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


def line_chart(lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, title: str, x_label: str) -> str:
    """Lines of name to (x, y) on one logarithmic y axis where all y are positive, else on a linear one.

    Points that are not finite are left out. Returns a figure with a legend; a chart of nothing says so.
    """
    kept = {name: [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(b)] for name, (x, y) in lines.items()}
    kept = {name: _thin(points) for name, points in kept.items() if points}
    if not kept:
        return f"<figure><figcaption>{escape(title)}: nothing recorded</figcaption></figure>"
    every_x = [x for points in kept.values() for x, _ in points]
    every_y = [y for points in kept.values() for _, y in points]
    logarithmic = min(every_y) > 0 and max(every_y) / min(every_y) > 5
    scale = math.log10 if logarithmic else float
    x_range, y_range = _spread(min(every_x), max(every_x)), _spread(scale(min(every_y)), scale(max(every_y)))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_range[0]) / (x_range[1] - x_range[0])
        up = (scale(y) - y_range[0]) / (y_range[1] - y_range[0])
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    y_ticks = _log_ticks(*y_range) if logarithmic else _ticks(*y_range)
    parts = [_grid_row(place(x_range[0], tick)[1], tick) for tick in y_ticks]
    parts += [_grid_column(place(tick, every_y[0])[0], tick) for tick in _ticks(*x_range)]
    parts.append(f'<text x="{_WIDTH - _RIGHT:g}" y="{_HEIGHT - 3:g}" text-anchor="end">{escape(x_label)}</text>')
    for index, points in enumerate(kept.values()):
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in (place(*point) for point in points))
        parts.append(f'<path class="line c{index % 6}" d="M{path}"/>')
    legend = "".join(f'<li class="c{index % 6}">{escape(name)}</li>' for index, name in enumerate(kept))
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg class="chart" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" '
        f'role="img" aria-label="{escape(title)}">{"".join(parts)}</svg><ul class="legend">{legend}</ul></figure>'
    )


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
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def _spread(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float, most: int = 5) -> list[float]:
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough)
    return [index * step for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Values between 10^low and 10^high: 1, 2 and 5 of each decade, or the decades alone where those are many."""
    steps = (1, 2, 5) if high - low < 2.5 else (1,)
    values = [step * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for step in steps]
    return [value for value in values if low - 1e-9 <= math.log10(value) <= high + 1e-9]


def _short(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.4g}"
