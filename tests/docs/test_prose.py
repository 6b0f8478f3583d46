"""How the pages are written: short sentences, few semicolons, and something to type or look at near
every paragraph."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WORDS_PER_SENTENCE = 20
SEMICOLONS_PER_1000_WORDS = 3
WORDS_WITHOUT_A_BLOCK = 150
GUIDES = ("tutorials", "how-to")  # folders with pages that are worked through
LEFT_OUT = (
    "log",
    "evidence",
    "reference/generated",
)  # a record of what was tried; written from the code


def pages() -> list[Path]:
    """README.md and every page in a folder of docs/, apart from those that nobody writes as
    prose."""
    inside = [path for path in DOCS.rglob("*.md") if path.parent != DOCS or path.name == "index.md"]
    written = [
        path for path in inside if not path.relative_to(DOCS).as_posix().startswith(LEFT_OUT)
    ]
    return [ROOT / "README.md", *sorted(written)]


def guides() -> list[Path]:
    return [
        path
        for path in pages()
        if path.relative_to(ROOT).as_posix().startswith(tuple(f"docs/{g}/" for g in GUIDES))
    ]


@dataclass(frozen=True)
class Prose:
    """What a text's paragraphs are made of."""

    words: int
    sentences: int
    semicolons: int

    def __add__(self, other: Prose) -> Prose:
        return Prose(
            self.words + other.words,
            self.sentences + other.sentences,
            self.semicolons + other.semicolons,
        )

    @property
    def words_per_sentence(self) -> float:
        return self.words / max(1, self.sentences)

    @property
    def semicolons_per_1000_words(self) -> float:
        return 1000 * self.semicolons / max(1, self.words)


def paragraphs(text: str) -> list[str]:
    """The prose of a page, without code, tables, headings, markup and addresses. A list's item is a
    paragraph."""
    text = re.sub(r"^---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^(?:    .*|\s*\|.*|#.*|:::.*|[!?]{3}.*|===.*)$", "", text, flags=re.MULTILINE)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)|<[^>]+>|`[^`]*`", "X", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return [
        part
        for part in re.split(r"\n\s*\n|^\s*(?:[-*]|\d+\.)\s", text, flags=re.MULTILINE)
        if part.strip()
    ]


def measured(text: str) -> Prose:
    """Fragments of one or two words, such as a lone name, are no sentences."""
    total = Prose(0, 0, 0)
    for paragraph in paragraphs(text):
        lengths = [len(sentence.split()) for sentence in re.split(r"[.!?](?=\s|$)", paragraph)]
        kept = [length for length in lengths if length > 2]
        total += Prose(sum(kept), len(kept), paragraph.count(";"))
    return total


def longest_stretch(text: str) -> int:
    """Words of prose between one block of code or image and the next, at most; tables count for
    neither."""
    parts = re.split(
        r"^ *```.*?^ *```|^!\[.*$|^<img.*$|^<video.*$", text, flags=re.DOTALL | re.MULTILINE
    )
    return max(measured(part).words for part in parts)


def test_sentences_of_pages_are_short() -> None:
    pages_of = {path: measured(path.read_text(encoding="utf-8")) for path in pages()}
    assert not [
        (path, prose)
        for path, prose in pages_of.items()
        if prose.words_per_sentence > WORDS_PER_SENTENCE
        or prose.semicolons > max(1, SEMICOLONS_PER_1000_WORDS * prose.words / 1000)
    ]


def test_all_pages_are_easy_reading() -> None:
    prose = sum((measured(path.read_text(encoding="utf-8")) for path in pages()), Prose(0, 0, 0))
    assert prose.words_per_sentence <= WORDS_PER_SENTENCE
    assert prose.semicolons_per_1000_words <= SEMICOLONS_PER_1000_WORDS


def test_guides_show_something_every_150_words() -> None:
    stretches = {path: longest_stretch(path.read_text(encoding="utf-8")) for path in guides()}
    assert not {path: words for path, words in stretches.items() if words > WORDS_WITHOUT_A_BLOCK}


def test_the_measure_counts_prose_alone() -> None:
    page = "# A heading\n\nOne two three. Four five `x;y`; six!\n\n"
    page += "```bash\nnot; this\n```\n\n| no | table |\n\n- a list item\n"
    assert measured(page) == Prose(words=3 + 4 + 3, sentences=3, semicolons=1)
    assert longest_stretch(page) == 7
