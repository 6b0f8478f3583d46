"""Links of a built site that lead nowhere: `python scripts/docs/links.py site`. Exit code 1 if
there are any.

Builders look at links between pages. This looks at what a reader's browser gets: pages, anchors,
images, style sheets and scripts, and nothing of these from a network.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {
    ("script", "src"),
    ("img", "src"),
    ("source", "src"),
    ("video", "src"),
    ("iframe", "src"),
    ("link", "href"),
}
FOLLOWED = {("a", "href")}
NOT_LOADED = {"canonical", "next", "prev", "alternate", "edit"}
LEFT_OUT = {"404.html"}  # its links are those of a site at the root of a server


class _Page(HTMLParser):
    """The anchors of a page, and its links: each is the attribute's value and whether the browser
    loads it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = {"", "top"}
        self.links: list[tuple[str, bool]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        for name, value in values.items():
            if (tag, name) in FOLLOWED:
                self.links.append((value, False))
            elif (tag, name) in LOADED:
                self.links.append((value, values.get("rel") not in NOT_LOADED))


def broken(site: Path) -> Iterator[str]:
    """Every link that leads nowhere, as a line that names its page."""
    paths = [
        path
        for path in sorted(site.rglob("*.html"))
        if path.relative_to(site).as_posix() not in LEFT_OUT
    ]
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in paths}
    for path, page in pages.items():
        for link, is_loaded in page.links:
            if problem := _problem(link, is_loaded, path, pages, site):
                yield f"{path.relative_to(site)}: {link}: {problem}"


def _problem(link: str, is_loaded: bool, path: Path, pages: dict[Path, _Page], site: Path) -> str:
    """What is wrong with a link; empty if nothing is."""
    parts = urlsplit(link)
    if parts.scheme in ("http", "https") or parts.netloc:
        return "is loaded from a network" if is_loaded else ""
    if parts.scheme:  # mailto:, data:
        return ""
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_relative_to(site):
        return "leaves the site"
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return "no such file"
    if target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "no such anchor"
    return ""


def main() -> int:
    site = Path(sys.argv[1]).resolve()
    lines = list(broken(site))
    for line in lines:
        print(f"broken link: {line}", file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
