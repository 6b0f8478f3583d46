"""A process with a mailbox: it does the jobs that are appended to a file, and appends results to
another."""

from __future__ import annotations

import importlib
import json
import os
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.naming import NAME
from manyparts.core.plugins import PluginWarning

MODULE = __name__
# Files of a mailbox:
WORK, JOBS, RESULTS = "work.json", "jobs.jsonl", "results.jsonl"
END = "end"  # instead of a job
_SECONDS_BETWEEN_LOOKS = 0.01
_MOST_SECONDS_BETWEEN_LOOKS = 0.2  # after a while without a job


def carry_out(folder: Path, cores: int) -> None:
    """Do the jobs of a mailbox until it says that there are no more.

    Jobs that have a result already, of a process before this one, are left out.

    Args:
        folder: The mailbox.
        cores: How many cores may be used: one.
    """
    warnings.simplefilter("ignore", PluginWarning)  # whoever started this has said it
    work = json.loads((folder / WORK).read_text())
    function = _function(work["function"])
    results = folder / RESULTS
    _drop_torn_line(results)
    done = {answer["job"] for answer in Lines(results).new()}
    jobs, pause = Lines(folder / JOBS), _SECONDS_BETWEEN_LOOKS
    while True:
        for job in jobs.new():
            if job["value"] == END:
                return
            if job["job"] not in done:
                answer = _answer(function, work["shared"], job["value"])
                append(results, {"job": job["job"], **answer})
            pause = _SECONDS_BETWEEN_LOOKS
        time.sleep(pause)
        pause = min(1.1 * pause, _MOST_SECONDS_BETWEEN_LOOKS)


class Lines:
    """The lines of JSON that are appended to a file."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def new(self) -> list[Any]:
        """Return what the whole lines hold that were appended since the last call."""
        # Opened each time: that is when a network file system looks for what other machines wrote.
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return [json.loads(line) for line in whole.split(b"\n") if line]


def append(path: Path, value: Any) -> None:
    """Add a line of JSON to a file, in one write.

    Args:
        path: The file.
        value: JSON values.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        file.write(json.dumps(value).encode() + b"\n")


def _drop_torn_line(path: Path) -> None:
    """Cut a file after its last whole line: a machine may have died within a line."""
    content = path.read_bytes()
    os.truncate(path, content.rfind(b"\n") + 1)


def _function(name: str) -> Callable[[Any, Any], Any]:
    """Return the function of a name such as "module:function", which must be of this package."""
    module, _, attribute = name.partition(":")
    if module.partition(".")[0] != NAME:
        raise UserError(f"{name!r} is no function of {NAME}")
    return getattr(importlib.import_module(module), attribute)


def _answer(function: Callable[[Any, Any], Any], shared: Any, job: Any) -> dict[str, Any]:
    try:
        return {"kind": "result", "value": function(shared, job)}
    except UserError as error:
        return {"kind": "user error", "value": str(error)}
    except Exception:
        return {"kind": "error", "value": traceback.format_exc()}
