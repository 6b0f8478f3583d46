"""A small canvas that writes SVG: boxes, arrows, text and pixel images on a light background."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

WIDTH = 700
INK, MUTED, LINE, PAPER = "#1f2933", "#52606d", "#9aa5b1", "#fbfbf9"
BLUE, ORANGE, GREEN, PURPLE = "#1d5fa6", "#b4520f", "#2b7a4b", "#6b3fa0"
FILLS = {BLUE: "#e3eefb", ORANGE: "#fdebdd", GREEN: "#e2f4e8", PURPLE: "#eee6f8", LINE: "#f1f3f5"}
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif"


class Canvas:
    """Shapes in the order in which they are drawn. Units are pixels of a figure 700 wide."""

    def __init__(self, height: float, title: str) -> None:
        self.height, self.title = height, title
        self._parts: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 13,
        colour: str = INK,
        bold: bool = False,
        anchor: str = "middle",
        code: bool = False,
    ) -> None:
        """One line of text with its baseline at y."""
        weight = ' font-weight="600"' if bold else ""
        family = (
            " font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\""
            if code
            else ""
        )
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{colour}" '
            f'text-anchor="{anchor}"{weight}{family}>{escape(words)}</text>'
        )

    def lines(
        self, x: float, y: float, lines: Sequence[str], *, size: float = 13, **style: object
    ) -> None:
        """Lines of text, the block centred on y."""
        step = size * 1.3
        first = y - step * (len(lines) - 1) / 2 + size * 0.36
        for index, words in enumerate(lines):
            self.text(x, first + index * step, words, size=size, **style)  # type: ignore[arg-type]

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        lines: Sequence[str] = (),
        *,
        colour: str = LINE,
        fill: str | None = None,
        size: float = 13,
        dashed: bool = False,
        bold: bool = False,
    ) -> None:
        """A rounded box with lines of text in its middle."""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" '
            f'fill="{fill or FILLS.get(colour, PAPER)}" stroke="{colour}" '
            f'stroke-width="1.3"{dash}/>'
        )
        self.lines(x + width / 2, y + height / 2, lines, size=size, bold=bold)

    def rectangle(
        self, x: float, y: float, width: float, height: float, fill: str, stroke: str = "none"
    ) -> None:
        """A plain rectangle."""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" '
            f'stroke="{stroke}"/>'
        )

    def path(
        self,
        points: Sequence[tuple[float, float]],
        *,
        colour: str = MUTED,
        width: float = 1.5,
        arrow: bool = False,
        dashed: bool = False,
        opacity: float = 1.0,
    ) -> None:
        """A polyline, with an arrow head at its end if asked for."""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        marker = f' marker-end="url(#head-{colour[1:]})"' if arrow else ""
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(
            f'<polyline points="{corners}" fill="none" stroke="{colour}" stroke-width="{width:g}" '
            f'stroke-linejoin="round" stroke-linecap="round" opacity="{opacity:g}"{dash}{marker}/>'
        )

    def arrow(
        self, *points: tuple[float, float], colour: str = MUTED, dashed: bool = False
    ) -> None:
        """An arrow along the points."""
        self.path(points, colour=colour, arrow=True, dashed=dashed)

    def disc(self, x: float, y: float, radius: float, fill: str, opacity: float = 1.0) -> None:
        """A filled circle."""
        self._parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{fill}" '
            f'opacity="{opacity:g}"/>'
        )

    def image(self, x: float, y: float, side: float, pixels: np.ndarray, frame: str = LINE) -> None:
        """A square image, uint8 (h, w, 3), with its pixels visible and a thin frame."""
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
        data = base64.b64encode(buffer.getvalue()).decode()
        self._parts.append(
            f'<image x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}" '
            f'style="image-rendering: pixelated" href="data:image/png;base64,{data}"/>'
            f'<rect x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}" fill="none" '
            f'stroke="{frame}"/>'
        )

    def save(self, path: Path) -> None:
        """Write the figure."""
        path.parent.mkdir(parents=True, exist_ok=True)
        colours = dict.fromkeys([MUTED, BLUE, ORANGE, GREEN, PURPLE, INK])
        heads = "".join(
            f'<marker id="head-{colour[1:]}" viewBox="0 0 10 10" refX="8.5" refY="5" '
            'markerWidth="6" markerHeight="6" orient="auto">'
            f'<path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
            for colour in colours
        )
        body = "\n".join(self._parts)
        path.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height:g}" '
            f'width="{WIDTH}" height="{self.height:g}" font-family="{FONT}" role="img">\n'
            f"<title>{escape(self.title)}</title>\n"
            f"<defs>{heads}</defs>\n"
            f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{self.height - 1:g}" rx="8" '
            f'fill="{PAPER}" stroke="#d5dae0"/>\n{body}\n</svg>\n',
            encoding="utf-8",
        )
