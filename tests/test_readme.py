"""What the documents say runs: the Python example, every command line with its flags, every
link."""

from __future__ import annotations

import contextlib
import datetime
import io
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from PIL import Image

import manyparts
from manyparts import cli
from manyparts.cli.help_page import flags_on

ROOT = Path(__file__).parents[1]
GENERATED = (
    ROOT / "docs" / "reference" / "generated"
)  # written by `make docs`, tested in tests/docs/
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent != GENERATED),
    ROOT / "benchmarks" / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    ROOT / "CODE_OF_CONDUCT.md",
]


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the letter, with the agent that comes with the package."""
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
    assert "success: True, after " in capsys.readouterr().out


def test_the_readme_fits_on_one_screen() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 80


def test_the_animation_is_small_and_moves() -> None:
    path = ROOT / "docs" / "images" / "shipped-agent.webp"
    assert f"]({path.relative_to(ROOT)})" in (ROOT / "README.md").read_text()
    assert path.stat().st_size < 1_000_000
    with Image.open(path) as animation:
        assert animation.n_frames > 20


@pytest.mark.slow
def test_the_animation_can_be_made_again(tmp_path: Path) -> None:
    script, output = ROOT / "scripts" / "docs" / "animation.py", tmp_path / "one.webp"
    options = ["--tasks", "metaworld/drawer-open", "--max-steps", "12", "--output", output]
    subprocess.run([sys.executable, script, *options], cwd=ROOT, check=True)
    with Image.open(output) as animation:
        assert animation.n_frames == 1 + 12 // 4


def test_citation_and_changelog_name_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == manyparts.__version__ and citation["license"] == "Apache-2.0"
    assert f"\n## {manyparts.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_workflow_installs_existing_extras() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    rows = workflow["jobs"]["test"]["strategy"]["matrix"]["include"]
    assert [row["python"] for row in rows] == ["3.11", "3.12", "3.13"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert {
        extra for row in rows for extra in row.get("extras", "").split(",") if extra
    } <= extras.keys()
    for form in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        assert yaml.safe_load(form.read_text())["body"]


def test_every_extra_is_used_and_listed() -> None:
    """An extra that no source names installs packages for nothing."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    page = (ROOT / "docs" / "start" / "install.md").read_text()
    for extra in extras.keys() - {"dev", "docs"}:
        named = (
            rf"(install_command\(|extra=|_loaded\(\"\w+\", |_simulator\(\"\w+\", )[\"']{extra}[\"']"
        )
        assert re.search(rf"{named}|extra\s+`{extra}`", source), extra
        assert f"| `{extra}` |" in page, extra


def test_every_requirement_has_a_pin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"]]
    for requirements in project["optional-dependencies"].values():
        needed += requirements
    lines = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    pinned = {_canonical(line.partition("==")[0]) for line in lines}
    names = {_canonical(re.split(r"[<>=\[ ]", requirement)[0]) for requirement in needed}
    assert names <= pinned, names - pinned


def _canonical(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def test_contributing_says_what_tests_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that `make coverage` replaces stands there once, and what it writes is such a
    line."""
    pytest.importorskip("coverage")
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import coverage_figure

    assert len(coverage_figure.LINE.findall((ROOT / "CONTRIBUTING.md").read_text())) == 1
    written = coverage_figure.line_of(87.04, "abc1234", datetime.date(2026, 11, 29))
    assert coverage_figure.LINE.fullmatch(written) and "87.0 %" in written
    assert "2026-11-29, commit abc1234" in written


def command_lines() -> list[str]:
    texts = (path.read_text().replace("\\\n", " ") for path in DOCUMENTS)
    lines = (line.partition("#")[0].strip() for text in texts for line in text.splitlines())
    lines = {line for line in lines if re.match(r"manyparts [a-z]+( |$)", line)}
    # The example of a plug-in is not installed here; tests/plugins runs its commands.
    return sorted(line for line in lines if "state-change/" not in line)


@cache
def flags_of(*command: str) -> set[str]:
    """The flags on a command's help."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            cli.main([*command, "--help"])
        except SystemExit as stop:
            assert stop.code == 0, command
    return set(flags_on(printed.getvalue()))


def test_every_documented_flag_exists() -> None:
    unknown = []
    for line in command_lines():
        _, name, *words = shlex.split(line.replace("[", "").replace("]", ""))
        assert name in cli.COMMANDS, line
        action = words[:1] if name in ("data", "train") else []
        if "--planner" in words:  # a planner's settings are flags, too
            action = words[words.index("--planner") :][:2]
        if "--model.latent" in words:  # a kind's settings, too
            action += words[words.index("--model.latent") :][:2]
        flags = {word for word in words if word.startswith("--")}
        unknown += [f"{flag} in {line}" for flag in flags - flags_of(name, *action)]
    assert not unknown, "\n".join(unknown)


def test_links_lead_to_existing_pages() -> None:
    """Anchors are looked at by `make docs`, in the built pages."""
    for path in DOCUMENTS:
        text = re.sub(
            r"^```.*?^```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL | re.MULTILINE
        )
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            target = path.parent / link
            exists = (
                link.startswith("https://")
                or target.exists()
                or target.resolve().parent == GENERATED
            )
            assert exists, f"{path.relative_to(ROOT)}: {link}"


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join(path.read_text() for path in DOCUMENTS)
    assert set(re.findall(r"(?:^    |`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
