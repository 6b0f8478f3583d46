"""A chart of how well dynamics models predict: errors by steps ahead, and calibration."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.errors import SurroundingsWarning
from manyparts.core.extras import PackageError, load_package
from manyparts.core.storage.atomic import write_atomically
from manyparts.evaluation.prediction.calibration import QUANTILES
from manyparts.evaluation.prediction.forecast import Forecast, labels

_LEGEND_WIDTH = 52  # characters of a legend as wide as a panel


def write_chart(path: Path, drawing: Callable[[], bytes]) -> bool:
    """Write a drawing.

    If Matplotlib is broken, this warns instead of raising, since the numbers count more than their
    drawing.

    Args:
        path: the file to write.
        drawing: returns the file's content. It may import Matplotlib.

    Returns:
        Whether the drawing was written.
    """
    try:
        load_package("matplotlib.figure", path.name, "pip install matplotlib")
        load_package("matplotlib.backends.backend_svg", path.name, "pip install matplotlib")
    except PackageError as error:
        warnings.warn(f"{path} is not drawn: {error}", SurroundingsWarning, stacklevel=2)
        return False
    write_atomically(path, drawing())
    return True


def draw(forecasts: Sequence[Forecast]) -> bytes:
    """An SVG of one panel, or of two where a model predicts a distribution. Bars are intervals over
    episodes."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    panels = 1 + any(forecast.calibration for forecast in forecasts)
    figure = Figure(figsize=(4.6 * panels, 4.2), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    names = labels([forecast.run for forecast in forecasts])
    _draw_errors(axes[0], forecasts, names)
    if panels > 1:
        _draw_calibration(axes[1], forecasts, names)
    drawn = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None})
    return drawn.getvalue()


def _draw_errors(panel: Any, forecasts: Sequence[Forecast], names: Sequence[str]) -> None:
    steps = [row.steps for row in forecasts[0].horizons]
    for number, (forecast, name) in enumerate(zip(forecasts, names, strict=True)):
        error = np.array([row.error for row in forecast.horizons])
        bounds = [
            (row.error, row.error) if row.low is None else (row.low, row.high)
            for row in forecast.horizons
        ]
        low, high = np.array(bounds).T
        bars = np.maximum([error - low, high - error], 0)
        # Each model's points are moved a little to the side, so that bars do not hide each other.
        moved = np.array(steps) * 1.03 ** (number - (len(names) - 1) / 2)
        panel.errorbar(
            moved,
            error,
            yerr=bars,
            label=name,
            color=f"C{number}",
            marker="o",
            markersize=3,
            capsize=2,
        )
    still = [row.still for row in forecasts[0].horizons]
    panel.plot(steps, still, "--", color="0.5", label="nothing changes")
    panel.set(xscale="log", yscale="log", xticks=steps, xticklabels=steps, xlabel="steps ahead")
    panel.set(ylabel="mean square error, in stds")
    panel.minorticks_off()
    _legend(panel)


def _draw_calibration(panel: Any, forecasts: Sequence[Forecast], names: Sequence[str]) -> None:
    panel.plot([0, 1], [0, 1], "--", color="0.5", label="calibrated")
    for number, (forecast, name) in enumerate(zip(forecasts, names, strict=True)):
        if forecast.calibration is not None:
            label = f"{name}, error {forecast.calibration.overall.error:.2g}"
            panel.plot(QUANTILES, forecast.calibration.shares, color=f"C{number}", label=label)
    panel.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="predicted quantile, one step ahead",
        ylabel="true values below it",
    )
    panel.set_aspect("equal")
    _legend(panel)


def _legend(panel: Any) -> None:
    """Below the panel, where it hides no line."""
    handles, names = panel.get_legend_handles_labels()
    panel.legend(
        handles=handles,
        **legend_of(names, panels=1),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
    )


def legend_of(names: Sequence[str], *, panels: int) -> dict[str, Any]:
    """Matplotlib's settings of a legend below some panels.

    Long names stand below each other; those wider than a panel lose their beginning.

    Args:
        names: the legend's entries, at least one.
        panels: number of panels next to each other.
    """
    labels = [
        name if len(name) <= _LEGEND_WIDTH else f"...{name[3 - _LEGEND_WIDTH :]}" for name in names
    ]
    columns = panels * _LEGEND_WIDTH // max(map(len, labels))
    return {"labels": labels, "ncols": min(2 * panels, columns), "fontsize": 8, "frameon": False}
