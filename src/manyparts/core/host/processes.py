"""Other processes: whether one is alive, and how one ended, in words."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def alive(process: int) -> bool:
    """Return whether this machine has a process of that number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def machine() -> str:
    """Name this machine since it started, and its container's list of processes; empty on macOS,
    which has no such name, and where a part of it cannot be read."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
    own = namespace()
    return f"{boot} {own}" if own else ""


def namespace() -> str:
    """Name the list of processes that numbers of processes are of: each container has its own."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def started(process: int) -> str:
    """Return when a process started, in the system's clock; empty on macOS, which does not say.

    It tells a process from a later one of the same number.
    """
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name, in parentheses, may hold spaces. The start is field 22 of all, which is the 20th
    # after the name (proc_pid_stat(5)).
    return text.rpartition(")")[2].split()[19]


def ending(code: int) -> str:
    """Say how a process ended.

    Args:
        code: Its exit code; minus the signal's number if a signal ended it.
    """
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    if name == "SIGKILL":
        return f"signal {name}, which is what the system sends when memory runs out"
    return f"signal {name}"
