"""A chart of how well dynamics models predict: errors by steps ahead, and calibration."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.errors import SurroundingsWarning
from manyparts.core.extras import PackageError, load_package
from manyparts.core.storage.atomic import write_atomically
from manyparts.evaluation.prediction.calibration import QUANTILES
from manyparts.evaluation.prediction.forecast import Forecast, Horizon, labels

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
    """An SVG of a panel of errors of states, one of errors of images, and one of calibration, each
    if a model predicts such. Bars are intervals over episodes."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    panels = []
    rows = [row for forecast in forecasts for row in forecast.horizons]
    if any(row.error is not None for row in rows):
        panels.append(partial(_draw_errors, label="mean square error, in stds", of=_state_error))
    if any(row.image for row in rows):
        label = "mean square error of pixels"
        panels.append(partial(_draw_errors, label=label, of=_image_error))
    if any(forecast.calibration for forecast in forecasts):
        panels.append(_draw_calibration)
    figure = Figure(figsize=(4.6 * len(panels), 4.2), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    names = labels([forecast.run for forecast in forecasts])
    for panel, drawing in zip(axes, panels, strict=True):
        drawing(panel, forecasts, names)
    drawn = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None})
    return drawn.getvalue()


_Errors = tuple[float, float | None, float | None, float]
"""An error, the bounds of its interval, and the error of predicting that nothing changes."""


def _state_error(row: Horizon) -> _Errors | None:
    if row.error is None or row.still is None:
        return None
    return row.error, row.low, row.high, row.still


def _image_error(row: Horizon) -> _Errors | None:
    image = row.image
    return None if image is None else (image.error, image.low, image.high, image.still)


def _draw_errors(
    panel: Any,
    forecasts: Sequence[Forecast],
    names: Sequence[str],
    *,
    label: str,
    of: Callable[[Horizon], _Errors | None],
) -> None:
    """Draw errors by steps ahead, of the models that have them."""
    steps = [row.steps for row in forecasts[0].horizons]
    still: list[float] = []
    for number, (forecast, name) in enumerate(zip(forecasts, names, strict=True)):
        rows = [errors for row in forecast.horizons if (errors := of(row)) is not None]
        if not rows:
            continue
        error, still = np.array([row[0] for row in rows]), [row[3] for row in rows]
        low, high = (
            np.array([row[0] if row[side] is None else row[side] for row in rows])
            for side in (1, 2)
        )
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
    panel.plot(steps, still, "--", color="0.5", label="nothing changes")
    panel.set(xscale="log", yscale="log", xticks=steps, xticklabels=steps, xlabel="steps ahead")
    panel.set(ylabel=label)
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
