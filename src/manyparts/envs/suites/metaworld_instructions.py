"""What a person would say to have each Meta-World task done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from manyparts.envs.base import Instructions


def _of(sentence: str, *others: str) -> Instructions:
    """The sentence, paraphrases to train on, and the last two of them held out for evaluation."""
    return Instructions(sentence, others[:-2], others[-2:])


_SENTENCES = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
INSTRUCTIONS: Mapping[str, Instructions] = {
    task: _of(*sentences) for task, sentences in _SENTENCES.items()
}
