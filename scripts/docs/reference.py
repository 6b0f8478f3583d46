"""Write the pages of the reference that are generated from the code: `python
scripts/docs/reference.py`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import command_line
import configuration
import presets
import python_api
import studies
import tasks

OUTPUT = Path(__file__).parents[2] / "docs" / "reference" / "generated"
PAGES: Mapping[str, Callable[[], str]] = {
    "command-line": command_line.render,
    "python-api": python_api.render,
    "presets": presets.render,
    "configuration": configuration.render,
    "studies": studies.render,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the pages")
    parser.add_argument("--no-images", action="store_true", help="draw no task")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name, render in PAGES.items():
        _write(options.output / f"{name}.md", render())
    _write(options.output / "tasks.md", tasks.render(images=not options.no_images))


def _write(path: Path, text: str) -> None:
    """Leave a page alone that is the same, so that builders need not read it again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
