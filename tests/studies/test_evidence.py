"""What the docs say that a study found is what its archived stages still give."""

from __future__ import annotations

import importlib.util
import re
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest

from manyparts.evaluation.statistics import Difference
from manyparts.studies import find_study
from manyparts.studies.engine.results import Row, StudyResult, gather
from manyparts.studies.library.dualmind import DUAL, HEAD, IMITATION, PREFIX
from manyparts.studies.library.dynamics_generalist import ALONE, PLANNING, POLICY, SCRATCH
from manyparts.studies.library.dynamics_specialist import ENSEMBLE, PERCEPTRON, TRANSFORMER
from manyparts.studies.library.embodiments import BOTH, HALF, MANIPULATION, NAVIGATION, specialist
from manyparts.studies.library.new_embodiment import SCRATCH as FRESH
from manyparts.studies.library.new_embodiment import TRUNK
from manyparts.studies.library.representations import INVERSE, METHODS, STATES, Choice
from manyparts.studies.library.representations import study as representations
from manyparts.studies.library.settings import (
    UNSEEN,
    ZERO_SHOT,
    ZERO_SHOT_EMBODIMENTS,
    few_shot,
    few_shot_embodiments,
)

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SEEDS, SEEDS_OF_WALKERS = 3, 5
NAMED = {"dual-phase (variant 3, 4 visual tokens)": DUAL}


def script(name: str) -> ModuleType:
    """The module of a file in scripts/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


draw_results = script("draw_results")
claims = script("claims")
Gather = Callable[..., StudyResult]


@pytest.fixture(scope="module")
def of_archive(tmp_path_factory: pytest.TempPathFactory) -> Gather:
    """From a study's name, and its seeds where these are not three, to what its archived stages
    give."""

    @cache
    def gathered(name: str, seeds: int = SEEDS) -> StudyResult:
        return draw_results.of_archive(name, seeds, tmp_path_factory.mktemp(name))

    return gathered


@pytest.fixture
def dualmind(of_archive: Gather) -> StudyResult:
    return of_archive("dualmind")


@pytest.fixture
def embodiments(of_archive: Gather) -> StudyResult:
    return of_archive("embodiments")


def test_every_measurement_is_in_the_archives(
    dualmind: StudyResult, embodiments: StudyResult
) -> None:
    for name, result in (("dualmind", dualmind), ("embodiments", embodiments)):
        assert sum(len(row.seeds) for row in result.rows) == len(
            find_study(name).measurements("laptop", SEEDS)
        )
        assert result.provenance["mismatches"] == []


def test_dualmind_tables_equal_the_archive(dualmind: StudyResult) -> None:
    goals, held_out = (
        table("dualmind.md", "unseen goals"),
        table("dualmind.md", "instruction alone"),
    )
    methods = {NAMED.get(name, name): name for name in goals.rows}
    same = {"phase II variant 3", "visual tokens 4"}  # dual-phase by other names
    rows = {row.method: row for row in dualmind.in_setting(UNSEEN) if row.method not in same}
    assert (
        goals.heads == ("unseen goals", "dual-phase minus this", "core hours")
        and methods.keys() == rows.keys()
    )
    for method, row in rows.items():
        less = dualmind.comparison(DUAL, method, UNSEEN)
        assert goals.rows[methods[method]] == (
            as_cell(row),
            "" if less is None else as_cell(less.difference, sign="+"),
            number(row.core_hours, 2),
        )
    settings = {
        "instruction alone": ZERO_SHOT,
        "1 demonstration": few_shot(1),
        "5": few_shot(5),
        "10": few_shot(10),
    }
    few = {row.method for row in dualmind.rows if row.demonstrations}
    holds(held_out, dualmind, {name: name for name in few}, settings)


def test_embodiments_table_equals_the_archive(embodiments: StudyResult) -> None:
    page = table("embodiments.md", MANIPULATION)
    assert page.heads == (MANIPULATION, NAVIGATION, "steps", "core hours")
    by = {(row.method, row.setting): row for row in embodiments.rows}
    special = [by[specialist(setting), setting] for setting in (MANIPULATION, NAVIGATION)]
    joint, half = (
        [by[method, setting] for setting in (MANIPULATION, NAVIGATION)] for method in (BOTH, HALF)
    )
    lines = {BOTH: joint, "its specialist": special, HALF: half}
    assert page.rows.keys() == {*lines, "one agent for both minus the specialist"}
    for name, rows in lines.items():
        steps = dict.fromkeys(f"{row.training_steps}" for row in rows)
        hours = dict.fromkeys(number(row.core_hours, 2) for row in rows)
        each = " each" if name == "its specialist" else ""
        assert page.rows[name] == (
            *map(as_cell, rows),
            ", ".join(steps) + each,
            ", ".join(hours),
        ), name
    less = [embodiments.comparison(BOTH, row.method, row.setting) for row in special]
    differences = [as_cell(each.difference, sign="+") for each in less if each is not None]
    assert page.rows["one agent for both minus the specialist"] == (*differences, "", "")


def test_representations_table_equals_the_archive(of_archive: Gather) -> None:
    result = of_archive("representations")
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
    scores = table("representations.md", "point mass, 2 demonstrations")
    holds(scores, result, {method: f"`{method}`" for method in METHODS}, settings, decimals=2)
    less = table("representations.md", "point mass after 2")
    assert less.heads == ("point mass after 2", "pick-place after 5", "doors after 10")
    for name, cells in less.rows.items():
        compared = [
            result.comparison(INVERSE, name.strip("`"), f"{setting} demonstrations")
            for setting in ("pointmass, 2", "pick-place, 5", "doors, 10")
        ]
        assert cells == tuple(
            as_cell(each.difference, decimals=2, sign="+") for each in compared if each is not None
        ), name


def test_planning_table_equals_the_archive(of_archive: Gather) -> None:
    result = of_archive("dynamics-specialist")
    assert sum(len(row.seeds) for row in result.rows) == len(
        find_study("dynamics-specialist").measurements("laptop", SEEDS)
    )
    page = table("dynamics.md", "cartpole-swingup")
    less = {f"{TRANSFORMER} minus {rival}": rival for rival in (PERCEPTRON, ENSEMBLE)}
    scores = Table(
        page.heads, {name: cells for name, cells in page.rows.items() if name not in less}
    )
    methods = {row.method: row.method for row in result.rows}
    holds(scores, result, methods, {task: task for task in result.settings}, decimals=2)
    for name, rival in less.items():
        compared = [result.comparison(TRANSFORMER, rival, task) for task in result.settings]
        cells = tuple(
            as_cell(each.difference, decimals=2, sign="+") for each in compared if each is not None
        )
        assert page.rows[name] == cells, name


def test_walkers_table_equals_the_archive(of_archive: Gather) -> None:
    result, seeds = of_archive("dynamics-generalist", SEEDS_OF_WALKERS), SEEDS_OF_WALKERS
    assert sum(len(row.seeds) for row in result.rows) == len(
        find_study("dynamics-generalist").measurements("laptop", seeds)
    )
    assert result.provenance["mismatches"] == []
    page = table("dynamics.md", "zero-shot")
    settings = {"zero-shot": ZERO_SHOT_EMBODIMENTS, "1 episode": few_shot_embodiments(1)}
    settings |= {f"{shots} episodes": few_shot_embodiments(shots) for shots in (5, 20)}
    expected = {(row.method, row.setting): as_cell(row, decimals=2) for row in result.rows}
    for rival in (ALONE, POLICY, SCRATCH):
        for setting in settings.values():
            compared = result.comparison(PLANNING, rival, setting)
            if compared is not None:
                less = as_cell(compared.difference, decimals=2, sign="+")
                expected[f"{PLANNING} minus {rival}", setting] = less
    assert page.heads == tuple(settings)
    cells = {name: zip(settings.values(), cells, strict=True) for name, cells in page.rows.items()}
    assert {
        (name, setting): cell for name, row in cells.items() for setting, cell in row if cell
    } == expected


def test_new_embodiment_tables_equal_the_archive(of_archive: Gather) -> None:
    result = of_archive("new-embodiment")
    assert sum(len(row.seeds) for row in result.rows) == len(
        find_study("new-embodiment").measurements("laptop", SEEDS)
    )
    assert result.provenance["mismatches"] == []
    page, rows = table("new-embodiment.md", TRUNK), result.rows
    assert page.heads == (TRUNK, FRESH, "core hours")
    by = {(row.method, row.setting): row for row in rows}
    assert page.rows == {
        setting: (
            *(as_cell(by[method, setting]) for method in (TRUNK, FRESH)),
            ", ".join(number(by[method, setting].core_hours, 2) for method in (TRUNK, FRESH)),
        )
        for setting in result.settings
    }
    verdicts = table("new-embodiment.md", "difference")
    expected = {}
    for each in result.verdicts:
        compared = result.comparison(each.better, each.worse, each.setting)
        assert compared is not None
        expected[each.setting] = (as_cell(compared.difference, sign="+"), each.verdict)
    assert verdicts.rows == expected


def test_papers_size_equals_its_archive(tmp_path: Path) -> None:
    with tarfile.open(DOCS / "evidence" / "representations-paper.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    expected = {}
    for choice in (
        Choice(("pointmass",), (INVERSE,), (1000,), (1, 2, 5, 10), 27_000),
        Choice(("pick-place",), (INVERSE,), (1000,), (5,), 22_000),
        Choice(("pointmass",), (STATES,), (), (2,)),
        Choice(("pick-place",), (STATES,), (), (5,)),
    ):
        chosen = representations(choice)
        result = gather(chosen, "paper", chosen.measurements("paper", 1), tmp_path)
        expected |= {
            (row.method, row.setting.removesuffix("s")): as_cell(row, decimals=2)
            for row in result.rows
        }
    cells = {}
    for name, (_, here) in table("representations.md", "the paper").rows.items():
        named = re.fullmatch(r"`(.*)`, (.*), (\d+)(?: demonstrations?)?", name)
        assert named is not None, name
        method, environment, shots = named.groups()
        cells[
            method, f"{environment.replace('point mass', 'pointmass')}, {shots} demonstration"
        ] = here
    assert cells == expected


@dataclass(frozen=True)
class Table:
    """heads: of the columns but the first; rows: the first cell of a line to the others."""

    heads: tuple[str, ...]
    rows: Mapping[str, tuple[str, ...]]


def table(page: str, head: str) -> Table:
    """The table of a page of docs/results/ with this head of its second column."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", (DOCS / "results" / page).read_text(), re.MULTILINE)
    lines = [
        [tuple(cell.strip() for cell in line[1:-1].split("|")) for line in block.splitlines()]
        for block in blocks
    ]
    ((heads, _, *rows),) = [rows_of_table for rows_of_table in lines if rows_of_table[0][1] == head]
    assert len({row[0] for row in rows}) == len(rows) and len(set(heads)) == len(heads)
    assert all(len(row) == len(heads) for row in rows)
    return Table(heads[1:], {row[0]: row[1:] for row in rows})


def holds(
    page: Table,
    result: StudyResult,
    methods: Mapping[str, str],
    settings: Mapping[str, str],
    *,
    decimals: int = 3,
) -> None:
    """Every cell of a table is the score of the method of its line in the setting of its column,
    and no method that was measured there is left out. methods: to the names of their lines;
    settings: of each column's head."""
    assert page.heads == tuple(settings) and page.rows.keys() == set(methods.values())
    rows = {(row.method, row.setting): row for row in result.rows}
    for method, name in methods.items():
        expected = tuple(
            as_cell(rows[method, setting], decimals=decimals) for setting in settings.values()
        )
        assert page.rows[name] == expected, name


def as_cell(score: Row | Difference, *, decimals: int = 3, sign: Literal["", "+"] = "") -> str:
    mean, low, high = (
        number(value, decimals, sign) for value in (score.mean, score.low, score.high)
    )
    return f"{mean} [{low}, {high}]"


def number(value: float, decimals: int, sign: Literal["", "+"] = "") -> str:
    """ "0.12", "-0.12", "1.00"; with a sign "+0.12"."""
    return f"{value:{sign}.{decimals}f}"


def test_verdicts_say_what_intervals_say(dualmind: StudyResult) -> None:
    verdicts = {
        (each.better, each.worse): each.verdict
        for each in dualmind.verdicts
        if each.setting == "unseen goals"
    }
    assert verdicts[DUAL, IMITATION] == "not told apart"
    assert verdicts[DUAL, HEAD] == verdicts[DUAL, PREFIX] == "opposite"
    for each in dualmind.verdicts:
        compared = dualmind.comparison(each.better, each.worse, each.setting)
        assert (compared is None) == (each.verdict == "not tested")
        if compared is not None:
            low, high = compared.difference.low, compared.difference.high
            assert (low > 0, high < 0) == (
                each.verdict == "shows",
                each.verdict == "opposite",
            )


def test_dualmind_verdicts_equal_the_archive(dualmind: StudyResult) -> None:
    page = table("dualmind.md", "difference on unseen goals")
    expected: dict[str, tuple[str, ...]] = {}
    for setting in (UNSEEN, few_shot(10)):
        for each in (verdict for verdict in dualmind.verdicts if verdict.setting == setting):
            compared = dualmind.comparison(each.better, each.worse, setting)
            less = "" if compared is None else as_cell(compared.difference, sign="+")
            expected[each.words] = (*expected.get(each.words, ()), less, each.verdict)
    assert page.rows == expected


def test_representations_verdicts_equal_the_archive(of_archive: Gather) -> None:
    result = of_archive("representations")
    settings = {"point mass, 2": "pointmass, 2", "point mass, 10": "pointmass, 10"}
    settings |= {head: head for head in ("pick-place, 5", "doors, 10")}
    verdicts = {(each.words, each.setting): each.verdict for each in result.verdicts}
    page = table("representations.md", "point mass, 2")
    assert page.heads == tuple(settings)
    claims = {
        words.removeprefix("inverse dynamics ").removeprefix("is ")
        for words, _ in verdicts
        if "10" in words
    }
    assert {name.replace("`", "") for name in page.rows} == claims
    for name, cells in page.rows.items():
        words = f"inverse dynamics {'is ' * name.startswith('within')}{name.replace('`', '')}"
        assert cells == tuple(
            verdicts[words, f"{setting} demonstrations"] for setting in settings.values()
        ), name


@pytest.mark.parametrize("number", range(len(draw_results.CHARTS)))
def test_charts_are_drawn_from_the_archives(number: int, of_archive: Gather) -> None:
    chart = draw_results.CHARTS[number]
    arguments = (chart.study,) if chart.seeds == SEEDS else (chart.study, chart.seeds)
    drawn = draw_results.draw(chart, of_archive(*arguments))
    assert drawn == (DOCS / "images" / f"results-{chart.study}.svg").read_text()


def test_claims_page_is_written_from_the_archives(of_archive: Gather) -> None:
    def results(name: str, seeds: int) -> StudyResult:
        return of_archive(name) if seeds == SEEDS else of_archive(name, seeds)

    assert claims.PAGE.read_text(encoding="utf-8") == claims.page(results, claims.spent)


def test_the_claims_page_asks_what_the_studies_declare() -> None:
    for paper in claims.PAPERS:
        for asked in (each for each in paper.claims if isinstance(each, claims.Asked)):
            declared = {
                (claim.better, claim.worse, claim.margin)
                for claim in find_study(asked.regime.study).claims
            }
            assert (asked.better, asked.worse, asked.margin) in declared, asked
