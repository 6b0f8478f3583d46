"""The site: its navigation, the pages that are written from the code, the examples, and the checker
of links."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import manyparts
from manyparts import cli
from manyparts.core.spec import ActionContract
from manyparts.envs import registry
from manyparts.evaluation.results import EpisodeRecord
from manyparts.methods import preset_names
from manyparts.studies import STUDIES
from manyparts.studies.engine.curves import CurveRow
from manyparts.studies.engine.results import Comparison, Row, Verdict
from manyparts.studies.engine.study import stages_of
from manyparts.training.config import TrainConfig

ROOT = Path(__file__).parents[2]
DOCS, SCRIPTS = ROOT / "docs", ROOT / "scripts" / "docs"
GENERATED = "reference/generated"


def script(name: str) -> ModuleType:
    """A module of scripts/docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of the reference that are written from the code, without images."""
    folder = tmp_path_factory.mktemp("generated")
    command = [
        sys.executable,
        str(SCRIPTS / "reference.py"),
        "--output",
        str(folder),
        "--no-images",
    ]
    subprocess.run(command, check=True, cwd=ROOT)
    return folder


def navigation(entry: Any) -> Iterator[str]:
    """The pages of a part of the navigation, in their order."""
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from navigation(part)


def test_navigation_names_every_page_once(generated: Path) -> None:
    named = list(
        navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    )
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    there = {name for name in written if not name.startswith(GENERATED)}
    there |= {f"{GENERATED}/{path.name}" for path in generated.glob("*.md")}
    assert sorted(named) == sorted(there)


def test_site_loads_nothing_from_a_network() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert config["theme"]["font"] is False and config["use_directory_urls"] is False
    assert not re.search(r"https?://", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def test_every_command_is_on_the_page(generated: Path) -> None:
    text = (generated / "command-line.md").read_text(encoding="utf-8")
    for name in cli.COMMANDS:
        assert f"\n## manyparts {name}\n" in text
    for flag in ("--episodes", "--until-success", "--fix", "--holdout-task"):
        assert f"| `{flag}` |" in text
    assert "| `--output` | `PATH` | required | Folder of the new dataset. |" in text


def test_every_public_name_is_documented(generated: Path) -> None:
    presets = (generated / "presets.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in presets for name in preset_names())
    tasks = (generated / "tasks.md").read_text(encoding="utf-8")
    assert all(
        f"`{name}`" in tasks for suite in registry.suite_names() for name in registry.listed(suite)
    )
    studies = (generated / "studies.md").read_text(encoding="utf-8")
    assert all(f"\n## {name}\n" in studies for name in STUDIES)
    names = re.findall(
        r"^::: manyparts\.(?:[\w.]+\.)?(\w+)$",
        (generated / "python-api.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert sorted(names) == sorted(manyparts.__all__)


def test_presets_have_archived_costs(generated: Path) -> None:
    rows = re.findall(
        r"^\| `(\S+)` \|.*\| ([\d.]+) \|$", (generated / "presets.md").read_text(), re.MULTILINE
    )
    measured = {name: float(minutes) for name, minutes in rows}
    assert 1 < measured["dualmind/phase1-laptop"] < 5
    assert {"dualmind/phase2-laptop", "dynamics/parallel-laptop"} <= measured.keys()


def test_every_run_field_is_documented(generated: Path) -> None:
    text = (generated / "configuration.md").read_text(encoding="utf-8")
    section = text.partition("\n### TrainConfig\n")[2].partition("\n### ")[0]
    assert all(f"| `{item.name}` |" in section for item in fields(TrainConfig))


@pytest.mark.parametrize(
    ("page", "kinds"),
    [
        ("runs-and-results", [EpisodeRecord]),
        ("studies", [Row, Comparison, Verdict, CurveRow]),
        ("dataset-format", [ActionContract]),
    ],
)
def test_reference_names_every_field(page: str, kinds: list[type]) -> None:
    text = (DOCS / "reference" / f"{page}.md").read_text(encoding="utf-8")
    for kind in kinds:
        names = [item.name.rstrip("_") for item in fields(kind)]
        assert [name for name in names if f"`{name}`" not in text] == []


def python_blocks() -> list[tuple[str, str]]:
    paths = [path for path in sorted(DOCS.rglob("*.md")) if GENERATED not in path.as_posix()]
    return [
        (f"{path.relative_to(DOCS).as_posix()}-{number}", block)
        for path in paths
        for number, block in enumerate(
            re.findall(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
        )
    ]


def test_python_examples_are_python() -> None:
    for name, block in python_blocks():
        if name.startswith("tutorials/write-your-own-objective"):
            continue  # it imports the file that the reader has just written
        try:
            ast.parse(block)
        except SyntaxError as error:
            pytest.fail(f"{name}: {error}")


def test_names_that_examples_import_exist() -> None:
    for name, block in python_blocks():
        if name.startswith("tutorials/write-your-own-objective"):
            continue  # it imports the file that the reader has just written
        for node in ast.walk(ast.parse(block)):
            if (
                isinstance(node, ast.ImportFrom)
                and (node.module or "").partition(".")[0] == "manyparts"
            ):
                module = importlib.import_module(node.module or "")
                assert [
                    alias.name for alias in node.names if not hasattr(module, alias.name)
                ] == [], name


def test_declared_study_can_be_planned() -> None:
    block = dict(python_blocks())["how-to/declare-a-study.md-0"]
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(block, "declare-a-study.md", "exec"), names)
    measurements = names["STUDY"].measurements("laptop", 2)
    assert len(measurements) == 4 and len(stages_of(measurements)) == 9


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<h1 id="top-of-it">x</h1><a href="other.html#there">1</a><a href="other.html#gone">2</a>'
        '<a href="lost.html">3</a><a href="#top-of-it">4</a><a href="../out.html">5</a>'
        '<img src="no.png"><a href="https://example.org">6</a>'
        '<script src="https://example.org/x.js"></script><a href="mailto:a@example.org">7</a>'
    )
    (tmp_path / "other.html").write_text('<h2 id="there">y</h2>')
    (tmp_path / "404.html").write_text('<a href="/nowhere/">z</a>')
    assert list(script("links").broken(tmp_path.resolve())) == [
        "index.html: other.html#gone: no such anchor",
        "index.html: lost.html: no such file",
        "index.html: ../out.html: leaves the site",
        "index.html: no.png: no such file",
        "index.html: https://example.org/x.js: is loaded from a network",
    ]
