"""What the docs say that a study found is what its archived stages still give."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from understudy.studies import find
from understudy.studies.dualmind import DUAL, HEAD, IMITATION, PREFIX
from understudy.studies.results import Row, StudyResult, gather

DOCS = Path(__file__).parents[2] / "docs"
SEEDS = 3


def of_archive(name: str, output: Path, *, seeds: int = SEEDS) -> StudyResult:
    study = find(name)
    with tarfile.open(DOCS / "evidence" / f"{name}-laptop.tar.xz") as archive:
        archive.extractall(output, filter="data")
    return gather(study, "laptop", study.measurements("laptop", seeds), output)


@pytest.fixture(scope="module")
def dualmind(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return of_archive("dualmind", tmp_path_factory.mktemp("dualmind"))


@pytest.fixture(scope="module")
def embodiments(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return of_archive("embodiments", tmp_path_factory.mktemp("embodiments"))


def test_every_measurement_is_in_the_archives(dualmind: StudyResult, embodiments: StudyResult) -> None:
    for name, found in (("dualmind", dualmind), ("embodiments", embodiments)):
        assert sum(len(row.seeds) for row in found.rows) == len(find(name).measurements("laptop", SEEDS))
        assert found.provenance["mismatches"] == []


def test_dualminds_tables_are_those_of_the_archive(dualmind: StudyResult) -> None:
    text = (DOCS / "dualmind.md").read_text()
    same = ("phase II variant 3", "visual tokens 4")  # dual-phase by other names
    few = {row.method for row in dualmind.rows if row.demonstrations}
    rows = [row for row in dualmind.rows if row.method not in same]
    rows = [row for row in rows if row.setting == "unseen goals" or row.method in few]
    assert len(rows) == 19 + 5 * 4
    assert [row for row in rows if told(row) not in text] == []


def test_the_table_of_bodies_is_that_of_the_archive(embodiments: StudyResult) -> None:
    text = (DOCS / "embodiments.md").read_text()
    assert [row for row in embodiments.rows if told(row) not in text] == []


def test_the_table_of_representations_is_that_of_its_first_seed(tmp_path: Path) -> None:
    text = (DOCS / "representations.md").read_text()
    rows = [row for row in of_archive("representations", tmp_path, seeds=1).rows if "pretrained on" not in row.setting]
    assert len(rows) == 12 * 6
    assert [row for row in rows if told(row, places=2) not in text] == []


def told(row: Row, *, places: int = 3) -> str:
    mean, low, high = (f"{value:.{places}f}".removeprefix("0") for value in (row.mean, row.low, row.high))
    return f"{mean} [{low}, {high}]"


def test_verdicts_say_what_intervals_say(dualmind: StudyResult) -> None:
    verdicts = {(each.better, each.worse): each.verdict for each in dualmind.verdicts if each.setting == "unseen goals"}
    assert verdicts[DUAL, IMITATION] == "does not show"
    assert verdicts[DUAL, HEAD] == verdicts[DUAL, PREFIX] == "the opposite shows"
    for each in dualmind.verdicts:
        compared = dualmind.comparison(each.better, each.worse, each.setting)
        assert (compared is None) == (each.verdict == "not measured")
        if compared is not None:
            low, high = compared.difference.low, compared.difference.high
            assert (low > 0, high < 0) == (each.verdict == "shows", each.verdict == "the opposite shows")
