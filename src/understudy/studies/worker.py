"""A process that does one stage of a study, and ends when the study's runner does: `python -m ... FOLDER CORES`."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from pathlib import Path

from understudy.types import UserError


def main(place: Path, cores: int) -> int:
    """Do the stage that `place` describes. Returns an exit code: 0 done, 2 bad input, 130 interrupted."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell would have it ignored
    threading.Thread(target=_end_with_the_runner, daemon=True).start()
    try:
        with open(place / ".stage-lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the worker of a runner that was killed may not be gone yet
            from understudy.studies.stages import carry_out, read_description

            carry_out(read_description(place), place.parents[1], cores=cores)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _end_with_the_runner() -> None:
    """The runner never writes: standard input ends when it does."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
