"""Write the figure of the last `make coverage` into CONTRIBUTING.md, with its commit and date.

.venv/bin/python scripts/coverage_figure.py    # after tests with --cov; `make coverage` runs it
"""

from __future__ import annotations

import contextlib
import datetime
import io
import re
import subprocess
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
LINE = re.compile(r"^Covered by the fast tests: .*$", re.MULTILINE)


def main() -> None:
    line = line_of(total(), commit(), datetime.datetime.now(datetime.UTC).date())
    text, count = LINE.subn(line, PAGE.read_text())
    if count != 1:
        raise SystemExit(f"{PAGE.name} has {count} lines like {LINE.pattern}; expected one")
    PAGE.write_text(text)
    print(f"{line}\nThe report: {ROOT / 'htmlcov' / 'index.html'}")


def line_of(percent: float, commit: str, date: datetime.date) -> str:
    """Return the line that CONTRIBUTING.md has."""
    return (
        f"Covered by the fast tests: **{percent:.1f} %** of lines and branches of `src/manyparts` "
        f"({date:%Y-%m-%d}, commit {commit})."
    )


def total() -> float:
    """Return the percentage that the last tests with --cov covered."""
    measured = Coverage(config_file=str(ROOT / "pyproject.toml"))
    measured.load()
    with contextlib.redirect_stdout(io.StringIO()):
        return measured.report()


def commit() -> str:
    """Return the commit's short hash; "+changes" follows if the package differs from it."""
    changed = _git("status", "--porcelain", "--", "src", "tests")
    return _git("rev-parse", "--short", "HEAD") + ("+changes" if changed else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
