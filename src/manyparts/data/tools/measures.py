"""Names of the quality measures, for configs, which do without files; see `data.tools.quality`."""

from __future__ import annotations

from typing import Literal

Measure = Literal["divergence", "diversity", "idle", "extraneous"]
