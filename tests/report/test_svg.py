"""Charts: ticks that mean something, axes that are what was asked for."""

from __future__ import annotations

import re

from manyparts.report.svg import line_chart


def ticks(chart: str, anchor: str) -> list[float]:
    """Of the x axis (anchor "middle") or the y axis ("end"), without the axis' name."""
    texts = re.findall(rf'text-anchor="{anchor}">([^<]*)<', chart)
    return [float(text) for text in texts if text != "step"]


def test_counts_have_whole_ticks() -> None:
    for steps in ([20.0], [0.0, 1.0], [1.0, 2.0, 5.0], [0.0, 700.0]):
        chart = line_chart({"a": (steps, [0.5] * len(steps))}, {}, title="t", x_label="step")
        shown = ticks(chart, "middle")
        assert shown and all(tick == int(tick) for tick in shown)
        assert steps[0] in shown and min(shown) >= steps[0] and max(shown) <= steps[-1]


def test_y_axis_has_chosen_ends() -> None:
    lines = {"a": ([0.0, 1.0], [0.01, 0.2])}
    chart = line_chart(lines, {}, title="t", x_label="step", y_limits=(0, 1))
    assert (min(ticks(chart, "end")), max(ticks(chart, "end"))) == (0, 1)
    assert max(ticks(line_chart(lines, {}, title="t", x_label="step"), "end")) == 0.2


def test_bands_end_at_the_axis() -> None:
    """An interval of two seeds is wider than all that they did."""
    line = ([0.0, 10.0], [1.0, 2.0])
    chart = line_chart(
        {"a": line, "b": ([0.0, 10.0], [0.0, 4.0])},
        {},
        title="t",
        x_label="step",
        linear=True,
        bands={"a": ([0.0, 10.0], [-50.0, 1.5], [90.0, 2.5])},
        thin={"a": [line]},
    )
    (band,) = re.findall(r'class="band c0" d="M([^"]*)Z"', chart)
    heights = [float(point.split()[1]) for point in band.split("L")]
    assert heights[0] == 12 and heights[-1] == 196  # the top and the bottom of the axis
    assert 12 < heights[1] < heights[2] < 196
    assert 'class="line thin c0"' in chart and 'class="line c1"' in chart
