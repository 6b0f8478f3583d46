"""The figures of studies in docs/ are those that the archived stages give."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from manyparts.evaluation.statistics import Difference
from manyparts.studies import find_study
from manyparts.studies.engine.results import Row, StudyResult, gather
from manyparts.studies.library.dualmind import DUAL, HEAD, IMITATION, PREFIX
from manyparts.studies.library.dynamics_generalist import ALONE, PLANNING, POLICY, SCRATCH
from manyparts.studies.library.dynamics_specialist import ENSEMBLE, PERCEPTRON, TRANSFORMER
from manyparts.studies.library.embodiments import BOTH, HALF, MANIPULATION, NAVIGATION, specialist
from manyparts.studies.library.representations import INVERSE, METHODS, STATES, Choice
from manyparts.studies.library.representations import study as representations
from manyparts.studies.library.settings import (
    UNSEEN,
    ZERO_SHOT,
    ZERO_SHOT_EMBODIMENTS,
    few_shot,
    few_shot_embodiments,
)

DOCS = Path(__file__).parents[2] / "docs"
SEEDS, GENERALIST_SEEDS = 3, 5
NAMED = {"dual-phase (variant 3, 4 visual tokens)": DUAL}


def of_archive(name: str, output: Path, seeds: int = SEEDS) -> StudyResult:
    study = find_study(name)
    with tarfile.open(DOCS / "evidence" / f"{name}-laptop.tar.xz") as archive:
        archive.extractall(output, filter="data")
    return gather(study, "laptop", study.measurements("laptop", seeds), output)


@pytest.fixture(scope="module")
def dualmind(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return of_archive("dualmind", tmp_path_factory.mktemp("dualmind"))


@pytest.fixture(scope="module")
def embodiments(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return of_archive("embodiments", tmp_path_factory.mktemp("embodiments"))


def test_every_measurement_is_in_the_archives(
    dualmind: StudyResult, embodiments: StudyResult
) -> None:
    for name, result in (("dualmind", dualmind), ("embodiments", embodiments)):
        assert sum(len(row.seeds) for row in result.rows) == len(
            find_study(name).measurements("laptop", SEEDS)
        )
        assert result.provenance["mismatches"] == []


def test_dualmind_tables_match_the_archive(dualmind: StudyResult) -> None:
    goals, held_out = table("dualmind.md", "unseen goals"), table("dualmind.md", "1 demonstration")
    methods = {NAMED.get(name, name): name for name in goals.rows}
    same = {"phase II variant 3", "visual tokens 4"}  # dual-phase by other names
    measured = {row.method: row for row in dualmind.in_setting(UNSEEN) if row.method not in same}
    assert goals.heads == ("unseen goals", "dual-phase less this", "core hours")
    assert methods.keys() == measured.keys()
    for method, row in measured.items():
        less = dualmind.comparison(DUAL, method, UNSEEN)
        assert goals.rows[methods[method]] == (
            interval_text(row),
            "" if less is None else interval_text(less.difference, sign="+"),
            number(row.core_hours, 2),
        )
    settings = {
        held_out.heads[0]: ZERO_SHOT,
        "1 demonstration": few_shot(1),
        "5": few_shot(5),
        "10": few_shot(10),
    }
    few = {row.method for row in dualmind.rows if row.demonstrations}
    holds(held_out, dualmind, {name: name for name in few}, settings)


def test_embodiments_table_matches_the_archive(embodiments: StudyResult) -> None:
    documented = table("embodiments.md", MANIPULATION)
    assert documented.heads == (MANIPULATION, NAVIGATION, "steps", "core hours")
    rows = {(row.method, row.setting): row for row in embodiments.rows}
    domains = (MANIPULATION, NAVIGATION)
    specialists = [rows[specialist(domain), domain] for domain in domains]
    lines = {
        BOTH: [rows[BOTH, domain] for domain in domains],
        "its specialist": specialists,
        HALF: [rows[HALF, domain] for domain in domains],
    }
    assert documented.rows.keys() == {*lines, "one agent for both, less the specialist"}
    for name, row_per_domain in lines.items():
        steps = dict.fromkeys(f"{row.training_steps}" for row in row_per_domain)
        hours = dict.fromkeys(number(row.core_hours, 2) for row in row_per_domain)
        suffix = " each" if name == "its specialist" else ""
        scores = map(interval_text, row_per_domain)
        expected = (*scores, ", ".join(steps) + suffix, ", ".join(hours))
        assert documented.rows[name] == expected, name
    less = [embodiments.comparison(BOTH, row.method, row.setting) for row in specialists]
    differences = [interval_text(each.difference, sign="+") for each in less if each is not None]
    assert documented.rows["one agent for both, less the specialist"] == (*differences, "", "")


def test_representations_tables_match_the_archive(tmp_path: Path) -> None:
    result = of_archive("representations", tmp_path)
    assert sum(len(row.seeds) for row in result.rows) == len(
        find_study("representations").measurements("laptop", SEEDS)
    )
    settings = {
        "point mass, 2 demonstrations": "pointmass, 2 demonstrations",
        "point mass, 10": "pointmass, 10 demonstrations",
        "pick-place, 5": "pick-place, 5 demonstrations",
        "doors, 10": "doors, 10 demonstrations",
    }
    assert {row.setting for row in result.rows if "pretrained on" not in row.setting} == set(
        settings.values()
    )
    documented = table("representations.md", "point mass, 2 demonstrations")
    holds(documented, result, {method: f"`{method}`" for method in METHODS}, settings, digits=2)
    less = table("representations.md", "point mass after 2")
    assert less.heads == ("point mass after 2", "pick-place after 5", "doors after 10")
    for name, cells in less.rows.items():
        compared = [
            result.comparison(INVERSE, name.strip("`"), f"{setting} demonstrations")
            for setting in ("pointmass, 2", "pick-place, 5", "doors, 10")
        ]
        assert cells == tuple(
            interval_text(each.difference, digits=2, sign="+")
            for each in compared
            if each is not None
        ), name


def test_specialist_table_matches_the_archive(tmp_path: Path) -> None:
    result = of_archive("dynamics-specialist", tmp_path)
    assert sum(len(row.seeds) for row in result.rows) == len(
        find_study("dynamics-specialist").measurements("laptop", SEEDS)
    )
    documented = table("dynamics.md", "cartpole-swingup")
    less = {f"{TRANSFORMER} less {rival}": rival for rival in (PERCEPTRON, ENSEMBLE)}
    scores = Table(
        documented.heads,
        {name: cells for name, cells in documented.rows.items() if name not in less},
    )
    methods = {row.method: row.method for row in result.rows}
    holds(scores, result, methods, {task: task for task in result.settings}, digits=2)
    for name, rival in less.items():
        compared = [result.comparison(TRANSFORMER, rival, task) for task in result.settings]
        cells = tuple(
            interval_text(each.difference, digits=2, sign="+")
            for each in compared
            if each is not None
        )
        assert documented.rows[name] == cells, name


def test_generalist_table_matches_the_archive(tmp_path: Path) -> None:
    result, seeds = of_archive("dynamics-generalist", tmp_path, GENERALIST_SEEDS), GENERALIST_SEEDS
    assert sum(len(row.seeds) for row in result.rows) == len(
        find_study("dynamics-generalist").measurements("laptop", seeds)
    )
    assert result.provenance["mismatches"] == []
    documented = table("dynamics.md", "zero-shot")
    settings = {"zero-shot": ZERO_SHOT_EMBODIMENTS, "1 episode": few_shot_embodiments(1)}
    settings |= {f"{shots} episodes": few_shot_embodiments(shots) for shots in (5, 20)}
    expected = {(row.method, row.setting): interval_text(row, digits=2) for row in result.rows}
    for rival in (ALONE, POLICY, SCRATCH):
        for setting in settings.values():
            compared = result.comparison(PLANNING, rival, setting)
            if compared is not None:
                less = interval_text(compared.difference, digits=2, sign="+")
                expected[f"{PLANNING} less {rival}", setting] = less
    assert documented.heads == tuple(settings)
    cells = {
        name: zip(settings.values(), cells, strict=True) for name, cells in documented.rows.items()
    }
    assert {
        (name, setting): cell for name, row in cells.items() for setting, cell in row if cell
    } == expected


def test_paper_size_table_matches_the_archive(tmp_path: Path) -> None:
    with tarfile.open(DOCS / "evidence" / "representations-paper.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    measured = {}
    for choice in (
        Choice(("pointmass",), (INVERSE,), (1000,), (1, 2, 5, 10), 27_000),
        Choice(("pick-place",), (INVERSE,), (1000,), (5,), 22_000),
        Choice(("pointmass",), (STATES,), (), (2,)),
        Choice(("pick-place",), (STATES,), (), (5,)),
    ):
        chosen = representations(choice)
        result = gather(chosen, "paper", chosen.measurements("paper", 1), tmp_path)
        measured |= {
            (row.method, row.setting.removesuffix("s")): interval_text(row, digits=2)
            for row in result.rows
        }
    cells = {}
    for name, (_, here) in table("representations.md", "the paper").rows.items():
        match = re.fullmatch(r"`(.*)`, (.*), (\d+)(?: demonstrations?)?", name)
        assert match is not None, name
        method, environment, shots = match.groups()
        environment = environment.replace("point mass", "pointmass")
        cells[method, f"{environment}, {shots} demonstration"] = here
    assert cells == measured


@dataclass(frozen=True)
class Table:
    """A table of a page of docs/."""

    heads: tuple[str, ...]
    """Names of the columns but the first."""
    rows: Mapping[str, tuple[str, ...]]
    """The first cell of a line to its other cells."""


def table(page: str, head: str) -> Table:
    """Return the table of a page of docs/ that has a column of this name.

    Its numbers get a leading zero if they have none.
    """
    blocks = re.findall(r"(?:^\|.*\|\n)+", (DOCS / page).read_text(), re.MULTILINE)
    tables = [[_cells(line) for line in block.splitlines()] for block in blocks]
    ((heads, _, *rows),) = [lines for lines in tables if head in lines[0][1:]]
    assert len({row[0] for row in rows}) == len(rows) and len(set(heads)) == len(heads)
    assert all(len(row) == len(heads) for row in rows)
    return Table(heads[1:], {row[0]: row[1:] for row in rows})


def _cells(line: str) -> tuple[str, ...]:
    cells = (cell.strip() for cell in line[1:-1].split("|"))
    return tuple(re.sub(r"(?<![\d.\w])\.(?=\d)", "0.", cell) for cell in cells)


def holds(
    documented: Table,
    result: StudyResult,
    methods: Mapping[str, str],
    settings: Mapping[str, str],
    *,
    digits: int = 3,
) -> None:
    """Require that a table has exactly the scores of these methods in these settings.

    Args:
        documented: The table.
        result: What was measured.
        methods: Method to the name of its line.
        settings: Name of a column to its setting.
        digits: After the point.
    """
    assert documented.heads == tuple(settings)
    assert documented.rows.keys() == set(methods.values())
    rows = {(row.method, row.setting): row for row in result.rows}
    for method, name in methods.items():
        expected = tuple(
            interval_text(rows[method, setting], digits=digits) for setting in settings.values()
        )
        assert documented.rows[name] == expected, name


def interval_text(
    interval: Row | Difference, *, digits: int = 3, sign: Literal["", "+"] = ""
) -> str:
    """Return "mean [low, high]"."""
    values = (interval.mean, interval.low, interval.high)
    mean, low, high = (number(value, digits, sign) for value in values)
    return f"{mean} [{low}, {high}]"


def number(value: float, digits: int, sign: Literal["", "+"] = "") -> str:
    """Return a number as "0.12"; with a sign as "+0.12"."""
    return f"{value:{sign}.{digits}f}"


def test_verdicts_agree_with_intervals(dualmind: StudyResult) -> None:
    verdicts = {
        (each.better, each.worse): each.verdict
        for each in dualmind.verdicts
        if each.setting == "unseen goals"
    }
    assert verdicts[DUAL, IMITATION] == "does not show"
    assert verdicts[DUAL, HEAD] == verdicts[DUAL, PREFIX] == "the opposite shows"
    for each in dualmind.verdicts:
        compared = dualmind.comparison(each.better, each.worse, each.setting)
        assert (compared is None) == (each.verdict == "not measured")
        if compared is not None:
            low, high = compared.difference.low, compared.difference.high
            assert (low > 0, high < 0) == (
                each.verdict == "shows",
                each.verdict == "the opposite shows",
            )
