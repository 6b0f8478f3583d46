"""What a person would say to have each Meta-World task done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from manyparts.envs.base import Instructions


def _of(instruction: str, *others: str) -> Instructions:
    """The standard instruction and others, the last two of which are held out for evaluation."""
    return Instructions(instruction, others[:-2], others[-2:])


_TEXTS = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
INSTRUCTIONS: Mapping[str, Instructions] = {task: _of(*texts) for task, texts in _TEXTS.items()}
