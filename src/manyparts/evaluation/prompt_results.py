"""How far an agent's success follows the prompt, as it is saved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.core.naming import prompts_of_today
from manyparts.core.printing import shown_short
from manyparts.core.serialisation import from_jsonable
from manyparts.evaluation.statistics import Interval
from manyparts.models.run_files import results_folder

PROMPTS = "prompts.json"


@shown_short
@dataclass(frozen=True)
class PromptStudy:
    """How far success follows the prompt."""

    episodes: int
    """Episodes per task and prompt."""

    matrix_with: str
    """The kind of prompt in the matrix."""

    kinds: Mapping[str, Interval]
    """Success over all tasks under each kind of prompt."""

    matrix: Mapping[str, Mapping[str, Interval]]
    """Success by the prompt's task, then by the scene's task."""

    seed: int = 0
    """Seed of the goals. Studies of before do not say it."""

    max_steps: int | None = None
    """Steps per episode; None: as in training."""

    @classmethod
    def load(cls, run: Path) -> PromptStudy | None:
        """Read the study of a run folder; None without one.

        Raises:
            UserError: it cannot be read.
        """
        path = results_folder(run, "prompts") / PROMPTS
        if not path.exists():
            return None
        try:
            study = from_jsonable(cls, json.loads(path.read_text(encoding="utf-8")))
            kinds = {prompts_of_today(kind): success for kind, success in study.kinds.items()}
            return replace(study, kinds=kinds)
        except (OSError, ValueError) as error:
            raise UserError(
                f"cannot read {path}: {error}; write it again: manyparts prompts {run}"
            ) from None
