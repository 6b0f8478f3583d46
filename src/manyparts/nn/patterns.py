"""Names of the attention patterns, for configs, which do without torch; see `nn.masks`."""

from __future__ import annotations

from typing import Literal

AttentionPattern = Literal["causal", "inverse", "visual", "full"]
