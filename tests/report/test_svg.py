"""Charts: ticks that mean something, axes that are what was asked for."""

from __future__ import annotations

import re

from manyparts.report.svg import line_chart


def ticks(chart: str, anchor: str) -> list[float]:
    """Of the x axis (anchor "middle") or the y axis ("end"), without the axis' name."""
    found = re.findall(rf'text-anchor="{anchor}">([^<]*)<', chart)
    return [float(text) for text in found if text != "step"]


def test_what_is_counted_has_whole_ticks() -> None:
    for steps in ([20.0], [0.0, 1.0], [1.0, 2.0, 5.0], [0.0, 700.0]):
        chart = line_chart({"a": (steps, [0.5] * len(steps))}, {}, title="t", x_label="step")
        found = ticks(chart, "middle")
        assert found and all(tick == int(tick) for tick in found)
        assert steps[0] in found and min(found) >= steps[0] and max(found) <= steps[-1]


def test_the_ends_of_the_y_axis_can_be_given() -> None:
    lines = {"a": ([0.0, 1.0], [0.01, 0.2])}
    chart = line_chart(lines, {}, title="t", x_label="step", y_limits=(0, 1))
    assert (min(ticks(chart, "end")), max(ticks(chart, "end"))) == (0, 1)
    assert max(ticks(line_chart(lines, {}, title="t", x_label="step"), "end")) == 0.2
