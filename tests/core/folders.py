"""Work of a folder that tests run in processes of an executor."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from manyparts.core.errors import UserError


def carry_out(folder: Path, cores: int) -> None:
    """Do what the file `work` says; the file `pid` says that it has begun."""
    work = (folder / "work").read_text()
    (folder / "pid").write_text(f"{os.getpid()}")
    if work == "write":
        (folder / "cores").write_text(f"{cores} {os.environ['OMP_NUM_THREADS']}")
        print("written")
    elif work == "user error":
        raise UserError("unknown task 'moon/walk'")
    elif work == "bug":
        raise ZeroDivisionError("one by nought")
    elif work == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif work == "wait":
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            time.sleep(1)  # nobody may think that it has ended
            (folder / "saved").touch()
            raise
