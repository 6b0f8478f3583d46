"""Build the documentation's site into `site/`: `python scripts/docs/build.py`. Exit code 1 on a
broken link.

Zensical builds it; `--builder mkdocs` takes MkDocs, where Zensical does not run. The reference's
pages have to be there (`python scripts/docs/reference.py`).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import links

ROOT = Path(__file__).parents[2]
SITE = ROOT / "site"
# The theme loads this from a network, so that the search works in pages that are opened as files.
# We bring our own.
SHIM_ADDRESS, SHIM = "https://unpkg.com/iframe-worker/shim", SITE / "assets" / "iframe-worker.js"
# What Zensical draws around a line of a page that it warns of: the kind of problem, the place, and
# the line itself.
_WARNING = re.compile(
    r"^Warning: (?P<what>.*)\n.*?\[ (?P<where>\S+) \]\n(?:.*[│╰─].*\n)*", re.MULTILINE
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--builder", choices=("zensical", "mkdocs"), default="zensical")
    builder = parser.parse_args().builder
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", builder, "build", "--strict", "--clean"]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        print(plain(done.stdout + done.stderr), file=sys.stderr)
        return 1
    bring_shim()
    broken = list(links.broken(SITE))
    for line in broken:
        print(f"broken link: {line}", file=sys.stderr)
    print(f"{len(broken)} broken links" if broken else f"open {SITE / 'index.html'}")
    return 1 if broken else 0


def bring_shim() -> None:
    """Let every page load the shim from the site itself."""
    for path in SITE.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        path.write_text(
            text.replace(SHIM_ADDRESS, os.path.relpath(SHIM, path.parent)), encoding="utf-8"
        )


def plain(output: str) -> str:
    """A builder's output without colours, drawings and a traceback that tells nothing."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", output)
    text = _WARNING.sub(lambda match: f"{match['where']}: {match['what']}\n", text)
    return re.sub(
        r"Traceback \(most recent call last\):\n(?:  .*\n)*RuntimeError: (?=Aborted)", "", text
    ).strip()


if __name__ == "__main__":
    sys.exit(main())
