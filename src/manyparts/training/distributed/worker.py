"""A training process next to rank 0: reads what to train from standard input, and ends when that
closes."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading


def main() -> None:
    """Train as rank 0 says, see `distributed.ranks.launch`."""
    # Ctrl-C reaches all processes of a terminal; rank 0 decides when they stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assignment = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_rank_0, daemon=True).start()
    from manyparts.training.train import train_as_worker

    train_as_worker(assignment)


def _end_with_rank_0() -> None:
    """End this process once standard input closes, which it does when rank 0 ends or is killed."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
