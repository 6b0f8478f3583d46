"""What the documents say runs: the Python example, every command line with its flags, every
link."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

import manyparts
from manyparts import cli
from manyparts.cli.help_page import flags_on
from manyparts.rollout.collect import collect

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks" / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    ROOT / "CODE_OF_CONDUCT.md",
]


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At debug size and on the point mass; all else is to the letter."""
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    changes = {
        "-laptop": "-debug",
        "metaworld/door-open": "pointmass/reach-red",
        "episodes=20": "episodes=2",
    }
    for word, smaller in changes.items():
        assert word in example
        example = example.replace(word, smaller)
    assert len([line for line in example.splitlines() if line.strip()]) <= 14
    monkeypatch.chdir(tmp_path)
    collect(["pointmass/reach-red"], episodes=3, output=tmp_path / "data" / "mw3")
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
    assert (tmp_path / "runs" / "phase2" / "evaluation" / "results.json").exists()
    assert "Interval(mean=" in capsys.readouterr().out


def test_citation_and_changelog_name_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == manyparts.__version__ and citation["license"] == "Apache-2.0"
    assert f"\n## {manyparts.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_workflow_installs_extras_that_there_are() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    rows = workflow["jobs"]["test"]["strategy"]["matrix"]["include"]
    assert [row["python"] for row in rows] == ["3.11", "3.12", "3.13"]
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {
        extra for row in rows for extra in row.get("extras", "").split(",") if extra
    } <= known.keys()
    for form in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        assert yaml.safe_load(form.read_text())["body"]


def command_lines() -> list[str]:
    texts = (path.read_text().replace("\\\n", " ") for path in DOCUMENTS)
    lines = (line.partition("#")[0].strip() for text in texts for line in text.splitlines())
    return sorted({line for line in lines if re.match(r"manyparts [a-z]+( |$)", line)})


@pytest.mark.parametrize("line", command_lines())
def test_every_command_line_has_a_command_and_flags_that_exist(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, name, *words = shlex.split(line.replace("[", "").replace("]", ""))
    assert name in cli.COMMANDS
    action = words[:1] if name in ("data", "train") else []
    try:
        cli.main([name, *action, "--help"])
    except SystemExit as stop:
        assert stop.code == 0
    flags = flags_on(capsys.readouterr().out)
    assert {word for word in words if word.startswith("--")} <= set(flags)


def test_links_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            assert link.startswith("https://") or (path.parent / link).exists(), (
                f"{path.name}: {link}"
            )


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join(path.read_text() for path in DOCUMENTS)
    assert set(re.findall(r"(?:^    |`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
