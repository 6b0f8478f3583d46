"""What `check` finds: one record for each thing that is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. check: which of the doctor's checks. where: a file, a feature or
    episodes."""

    check: str
    severity: Severity
    where: str
    what: str
    remedy: str
