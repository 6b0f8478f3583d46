"""Other processes: whether one is still alive, and in words how one ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def alive(process: int) -> bool:
    """Whether a process of this machine with that number is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def started(process: int) -> str:
    """When a process began, in the system's own clock, to tell it from a later one of the same
    number.

    Empty where the system does not say (macOS).
    """
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def ending(code: int) -> str:
    """How a process ended, from its exit code, which is minus the signal's number where a signal
    ended it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    if name == "SIGKILL":
        return f"signal {name}, which is what the system sends when memory runs out"
    return f"signal {name}"
