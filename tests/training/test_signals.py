"""Signals that end a run with a checkpoint: Ctrl-C, a scheduler's end, and Slurm's warning before
it."""

from __future__ import annotations

import os
import signal

import pytest

from manyparts.training.loop import interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_asks_the_run_to_end(number: signal.Signals) -> None:
    second: list[int] = []
    before = signal.signal(number, lambda *given: second.append(1))
    try:
        with interruption() as asked:
            assert not asked()
            os.kill(os.getpid(), number)
            assert asked() and not second
            os.kill(os.getpid(), number)
            assert second, "a second one acts as without us"
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(("number", "counts"), [(signal.SIGHUP, False), (signal.SIGINT, True)])
def test_of_what_a_shell_has_ignored_only_a_closed_terminal_stays_so(
    number: signal.Signals, counts: bool
) -> None:
    """nohup ignores SIGHUP on purpose; a script's `&` ignores SIGINT for want of a terminal."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with interruption() as asked:
            os.kill(os.getpid(), number)
            assert asked() == counts
    finally:
        signal.signal(number, before)
