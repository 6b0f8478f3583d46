"""The record of one finding of `check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a dataset."""

    check: str
    """The check that found it, such as "action bounds"."""
    severity: Severity
    """An error keeps data from being read or learned as they should; a warning may."""
    where: str
    """A file, a feature or episodes."""
    what: str
    """What is wrong."""
    remedy: str
    """What to do."""
