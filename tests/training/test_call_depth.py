"""From the command line to the optimiser there are few calls, so that a reader can follow them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import manyparts
from manyparts.cli import main

PACKAGE = Path(manyparts.__file__).parent
MAX_CALLS = 12


class FirstStepReached(Exception):
    """Ends the run at its first optimiser step."""


def test_few_calls_lead_to_the_optimizer(data, tmp_path, monkeypatch):
    calls: list[str] = []

    def record_calls(self, closure=None):
        frame = sys._getframe()
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(PACKAGE):
                calls.append(f"{path.relative_to(PACKAGE)}: {frame.f_code.co_qualname}")
            frame = frame.f_back
        raise FirstStepReached

    monkeypatch.setattr(torch.optim.AdamW, "step", record_calls)
    arguments = ["--data", str(data), "--output", str(tmp_path / "run"), "--device", "cpu"]
    with pytest.raises(FirstStepReached):
        main(["train", "dualmind/phase1-debug", *arguments])
    assert 0 < len(calls) <= MAX_CALLS, "\n".join(reversed(calls))
