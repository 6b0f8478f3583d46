"""Progress: a bar on a terminal, plain lines now and then in a log."""

from __future__ import annotations

import io
import sys

import pytest

from manyparts.core import progress
from manyparts.core.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(steps: int = 3) -> None:
    with progress_bar("training", steps) as bar:
        for step in range(steps):
            bar.show(step + 1, f"loss 0.{step}")
        bar.summary = "all steps done"


def test_log_gets_occasional_lines(capsys, monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as many build servers do
    monkeypatch.setattr(progress, "SECONDS_BEFORE_LINES", 0)
    run()
    assert capsys.readouterr().err == "training: 1 of 3, loss 0.0\nall steps done\n"
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    run()
    lines = [f"training: {step + 1} of 3, loss 0.{step}\n" for step in range(3)]
    assert capsys.readouterr().err == "".join(lines) + "all steps done\n"


def test_short_work_needs_no_line(capsys) -> None:
    run()
    assert capsys.readouterr().err == "all steps done\n"


@pytest.mark.parametrize(("kind", "moves"), [("xterm", True), ("dumb", False)])
def test_capable_terminal_gets_a_bar(monkeypatch, kind: str, moves: bool) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", kind)
    run()
    assert ("\x1b[" in shown.getvalue()) == moves and "all steps done" in shown.getvalue()


def test_work_goes_on_without_stderr(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    run()
