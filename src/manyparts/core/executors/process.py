"""A process that an executor started: it does what a folder says, and ends with its starter."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import NoReturn

from manyparts.core.errors import UserError
from manyparts.core.printing import say
from manyparts.core.storage.leases import leased

# Exit codes, besides 0 and minus the number of a signal:
FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
LEASE = ".stage-lease"


def run(module: str, folder: Path, cores: int, log: Path, starter: int) -> NoReturn:
    """Do what a folder says, and exit; see `Executor.start`.

    Args:
        module: Its function `carry_out(folder, cores)` does it.
        folder: The folder.
        cores: How many cores it may use.
        log: The file that the output is appended to.
        starter: The reading end of a pipe that nobody writes to. It is closed when the process that
            started this one ends, and then this one does.
    """
    code = FAILED
    try:
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        threading.Thread(target=_exit_with_starter, args=(starter,), daemon=True).start()
        code = _carry_out(module, folder, cores)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _carry_out(module: str, folder: Path, cores: int) -> int:
    """Do it; return the exit code."""
    try:
        # Whoever started this process may have ignored or blocked it, until there is a handler.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        # The process of a starter that was killed may still be at work, and that of a node that a
        # cluster has given up.
        with leased(folder / LEASE):
            importlib.import_module(module).carry_out(folder, cores)
    except UserError as error:
        say(f"error: {error}", error=True)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _exit_with_starter(starter: int) -> None:
    os.read(starter, 1)  # returns only when the pipe is closed
    os._exit(FAILED)


if __name__ == "__main__":
    _module, _folder, _cores, _log, _starter = sys.argv[1:]
    run(_module, Path(_folder), int(_cores), Path(_log), int(_starter))
