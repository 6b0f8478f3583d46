"""How often whole episodes succeeded, with intervals, by task, prompt and who acted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from manyparts.evaluation.statistics import wilson


@dataclass
class Count:
    """The episodes of one task under one prompt."""

    solved: int = 0
    """Those that were solved at any step."""
    episodes: int = 0
    """All that came to their end."""


class Counts:
    """Counts episodes that nobody helped, disturbed or broke off."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], Count] = {}
        self.left_out = 0

    def add(self, who: str, task: str, prompt: str, success: bool) -> None:
        """Count an episode.

        Args:
            who: Who acted in it.
            task: Its name.
            prompt: The prompt in words.
            success: Whether it was solved.
        """
        count = self._counts.setdefault((who, task, prompt), Count())
        count.solved += success
        count.episodes += 1

    def leave_out(self) -> None:
        """Note an episode that does not count."""
        self.left_out += 1

    def rows(self) -> list[dict[str, Any]]:
        """Return JSON values for each task, prompt and actor, the last one first."""
        rows = []
        for (who, task, prompt), count in reversed(self._counts.items()):
            interval = wilson(count.solved, count.episodes)
            rows.append(
                {
                    "who": who,
                    "task": task,
                    "prompt": prompt,
                    "solved": count.solved,
                    "episodes": count.episodes,
                    "rate": interval.mean,
                    "low": interval.low,
                    "high": interval.high,
                }
            )
        return rows
