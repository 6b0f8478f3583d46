"""A training process beside rank 0: reads what to train from standard input, and ends when that
closes."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading


def main() -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; rank 0 tells when to stop
    assignment = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_rank_0, daemon=True).start()
    from manyparts.training.train import train_as_worker

    train_as_worker(assignment)


def _end_with_rank_0() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
