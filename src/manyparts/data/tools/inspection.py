"""What `check` collects about a dataset while it reads its episodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from manyparts.core.printing import first_of
from manyparts.data.tools.check_numbers import Jumps
from manyparts.data.tools.findings import Finding, Severity
from manyparts.data.tools.outliers import Outliers
from manyparts.embodiment.statistics import RunningStatistics

LEAVES_OUT, RECOMPUTES = "--fix leaves the episode out", "--fix computes it again"
_MAX_SHOWN = 5


@dataclass
class Inspection:
    """Findings, statistics and samples of the episodes read so far."""

    path: str
    """The dataset, as it was typed."""
    findings: list[Finding] = field(default_factory=list)
    """Findings about the whole dataset."""
    unread: list[str] = field(default_factory=list)
    """Names of the episodes that the reader could not read."""
    broken: set[int] = field(default_factory=set)
    """Indices of the episodes that a repaired copy leaves out."""
    name_of: Callable[[int], str] = str
    """Returns the dataset's name of an episode."""
    statistics: dict[str, RunningStatistics] = field(default_factory=dict)
    """Statistics of each column."""
    first_with: dict[bytes, int] = field(default_factory=dict)
    """The hash of an episode's content to the first episode with it."""
    motion: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    """States (T, s) and actions (T, a) of sampled episodes."""
    outliers: dict[str, Outliers] = field(default_factory=dict)
    """Outliers of each column that is looked at number by number."""
    jumps: Jumps = field(default_factory=Jumps)
    """Angles that jump."""
    reports: dict[tuple[str, Severity, str, str], list[str]] = field(default_factory=dict)
    """Check, severity, text and remedy to where that was found."""

    def report(self, check: str, severity: Severity, what: str, remedy: str, where: str) -> None:
        """Report a finding; equal ones of several episodes become one.

        Args:
            check: the check that found it, such as "action bounds".
            severity: "error" or "warning".
            what: what is wrong.
            remedy: what to do.
            where: a file, a feature, or an episode as `where` names it.
        """
        self.reports.setdefault((check, severity, what, remedy), []).append(where)

    def report_broken(self, check: str, what: str, episode: int) -> None:
        """Report an error because of which the episode is left out of a repaired copy.

        Args:
            check: the check that found it.
            what: what is wrong.
            episode: the episode's index.
        """
        self.broken.add(episode)
        self.report(check, "error", what, LEAVES_OUT, self.where(episode))

    def where(self, episode: int) -> str:
        """An episode's name in findings."""
        return f"episode {self.name_of(episode)}"

    def complain(self, what: str, episode: str | None = None) -> None:
        """See `formats.errors.Complain`."""
        if episode is None:
            self.report("metadata", "error", what, "--fix counts again", self.path)
        else:
            self.unread.append(episode)
            self.report("episode", "error", what, LEAVES_OUT, f"episode {episode}")

    def all_findings(self) -> list[Finding]:
        """All findings, errors first."""
        reported = [
            Finding(check, severity, _joined(where), what, remedy)
            for (check, severity, what, remedy), where in self.reports.items()
        ]
        return sorted([*self.findings, *reported], key=lambda finding: finding.severity)


def _joined(where: list[str]) -> str:
    """Where findings were made, as one text: "episodes 1, 2 and 9 more"."""
    names = [each.removeprefix("episode ") for each in where if each.startswith("episode ")]
    if len(names) < 2:
        return ", ".join(where)
    return f"episodes {first_of(names, _MAX_SHOWN)}"
