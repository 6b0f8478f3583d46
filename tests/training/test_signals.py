"""Signals that end a run with a checkpoint: Ctrl-C, a scheduler's end, and Slurm's warning before
it."""

from __future__ import annotations

import os
import signal

import pytest

from manyparts.training.loop import interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_signals_ask_a_run_to_end(number: signal.Signals) -> None:
    second: list[int] = []
    before = signal.signal(number, lambda *arguments: second.append(1))
    try:
        with interruption() as is_interrupted:
            assert not is_interrupted()
            os.kill(os.getpid(), number)
            assert is_interrupted() and not second
            os.kill(os.getpid(), number)
            assert second, "a second signal is handled as before"
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(("number", "counts"), [(signal.SIGHUP, False), (signal.SIGINT, True)])
def test_ignored_hangups_alone_stay_ignored(number: signal.Signals, counts: bool) -> None:
    """nohup ignores SIGHUP on purpose; a script's `&` ignores SIGINT since it has no terminal."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with interruption() as is_interrupted:
            os.kill(os.getpid(), number)
            assert is_interrupted() == counts
    finally:
        signal.signal(number, before)
