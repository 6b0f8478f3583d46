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


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    output, study = tmp_path_factory.mktemp("evidence"), find("dualmind")
    with tarfile.open(DOCS / "evidence" / "dualmind-laptop.tar.xz") as archive:
        archive.extractall(output, filter="data")
    return gather(study, "laptop", study.measurements("laptop", SEEDS), output)


def test_every_measurement_is_in_the_archive(found: StudyResult) -> None:
    measurements = find("dualmind").measurements("laptop", SEEDS)
    assert sum(len(row.seeds) for row in found.rows) == len(measurements)
    assert found.provenance["mismatches"] == []


def test_the_docs_tables_are_those_of_the_archive(found: StudyResult) -> None:
    text = (DOCS / "dualmind.md").read_text()
    same = ("phase II variant 3", "visual tokens 4")  # dual-phase by other names
    few = {row.method for row in found.rows if row.demonstrations}
    rows = [
        row for row in found.rows if row.method not in same and (row.setting == "unseen goals" or row.method in few)
    ]
    assert len(rows) == 19 + 5 * 4
    assert [row for row in rows if told(row) not in text] == []


def told(row: Row) -> str:
    mean, low, high = (f"{value:.3f}".removeprefix("0") for value in (row.mean, row.low, row.high))
    return f"{mean} [{low}, {high}]"


def test_verdicts_say_what_intervals_say(found: StudyResult) -> None:
    told = {(each.better, each.worse): each.verdict for each in found.verdicts if each.setting == "unseen goals"}
    assert told[DUAL, IMITATION] == "does not show"
    assert told[DUAL, HEAD] == told[DUAL, PREFIX] == "the opposite shows"
    for each in found.verdicts:
        compared = found.comparison(each.better, each.worse, each.setting)
        assert (compared is None) == (each.verdict == "not measured")
        if compared is not None:
            low, high = compared.difference.low, compared.difference.high
            assert (low > 0, high < 0) == (each.verdict == "shows", each.verdict == "the opposite shows")
