"""What stands in files and paths reaches a terminal as text, and no table cuts it."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.formats import foreign
from data.synthetic import FPS, make_episode, make_spec, write
from evaluation.evaluating import TASKS, make_run

from manyparts.agents.loading import load
from manyparts.cli import main
from manyparts.cli.console import print_facts, print_table
from manyparts.core.errors import DatasetWarning, UserError
from manyparts.core.printing import html_table, printable, short
from manyparts.core.records import Prompt
from manyparts.core.spec import TaskEntry
from manyparts.data.dataset import DatasetWriter, EpisodeDataset
from manyparts.data.locations import short_name
from manyparts.evaluation.results import EpisodeRecord, Result, compare
from manyparts.methods import preset
from manyparts.models.checkpoint import load_info, resolve

HOSTILE = "esc\x1b[31m\nname [red] [/b] :smile: \u202e\x9b"
SHOWN = r"esc\x1b[31m\nname [red] [/b] :smile: \u202e\x9b"
HEADS = ("task", "instruction", "episodes", "mean length")
ROWS = [
    ("metaworld/button-press-topdown-wall", "press the button behind the wall", "12", "42.08")
] * 2


@pytest.fixture(params=[40, 80])
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The width of a terminal."""
    for name, value in (
        ("TTY_COMPATIBLE", "1"),
        ("TERM", "xterm"),
        ("NO_COLOR", "1"),
        ("COLUMNS", str(request.param)),
    ):
        monkeypatch.setenv(name, value)
    return request.param


def printed_text(capsys: pytest.CaptureFixture[str]) -> str:
    """What a terminal shows, without the console's own bold and italics."""
    return re.sub(r"\x1b\[[013]m", "", capsys.readouterr().out)


def joined(text: str) -> str:
    """Printed lines as one text without spaces, as whoever folds them reads on."""
    return "".join(text.split())


def test_control_characters_become_escapes() -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable("a\tb\u2028\x7f\udcff") == r"a\tb\u2028\x7f\udcff"
    assert printable("открой 打开 é 🤖 [red]") == "открой 打开 é 🤖 [red]"
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


@pytest.mark.parametrize("kind", [UserError, DatasetWarning])
def test_errors_and_warnings_show_control_characters(kind: Any) -> None:
    assert str(kind(f"no {HOSTILE}")) == f"no {SHOWN}".replace(r"\n", "\n")


def test_narrow_tables_cut_no_word(columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(HEADS, ROWS, title="a title", summary=("mean", "", "12", "42.08"))
    printed = printed_text(capsys)
    assert max(map(len, printed.splitlines())) <= columns and "…" not in printed
    for word in (*" ".join(HEADS[1:]).split(), "button", "mean", "12", "42.08"):
        assert word in printed
    assert joined(printed).count("metaworld/button-press-topdown-wall") == 2


def test_files_hold_names_in_one_piece(capsys: pytest.CaptureFixture[str]) -> None:
    name = f"suite/{'long-' * 40}name"
    print_table(HEADS, [(name, "push it", "1", "2")])
    assert name in capsys.readouterr().out


def test_facts_fit_narrow_terminals(columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    facts = [
        ("spec.action.representation", "delta_position"),
        ("fingerprint", "0123456789abcdef" * 4),
    ]
    print_facts(facts)
    printed = printed_text(capsys)
    assert max(map(len, printed.splitlines())) <= columns
    for name, value in facts:
        assert name in printed and value in joined(printed)


def test_tables_print_markup_as_text(columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", HOSTILE), [(HOSTILE, HOSTILE)], title=HOSTILE)
    print_facts([(HOSTILE, HOSTILE)])
    printed = printed_text(capsys)
    assert "\x1b" not in printed and "\x9b" not in printed and "\u202e" not in printed
    for word in SHOWN.split():
        assert joined(printed).count(word) == 6, word


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset in a folder that markup and a terminal would take for something else."""
    folder = tmp_path_factory.mktemp("odd") / "a[" / "b" / "c] [red] :smile:\x1b[31m"
    folder.parent.mkdir(parents=True)
    return write(folder, [make_episode(seed, 5) for seed in range(2)]).path


@pytest.mark.parametrize("action", ["info", "check", "view", "convert", "check --fix"])
def test_odd_paths_print_unchanged(
    action: str,
    odd: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    target = str(tmp_path / "[/copy]\x1b")
    command = {
        "convert": ["convert", str(odd), target],
        "check --fix": ["check", str(odd), "--fix", target],
        "view": ["view", str(odd), "--output", target],
    }.get(action, [action, str(odd)])
    assert main(["data", *command]) == 0
    printed = "".join(capsys.readouterr())
    assert "\x1b" not in printed and (
        action == "convert" or "[/copy]" in printed or "[red] :smile:" in printed
    )


@pytest.mark.parametrize("action", ["info", "check"])
def test_narrow_terminals_show_whole_names(
    action: str, columns: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = TaskEntry(f"suite/{'long-' * 8}name", "push the block that stands behind the wall")
    episode = replace(
        make_episode(0, 6),
        task=task.name,
        instruction=task.instruction,
        action=9 * np.ones((6, 2), np.float32),
    )
    with DatasetWriter(
        tmp_path / "set", make_spec(), fps=FPS, tasks=[task], environment={}
    ) as writer:
        writer.add(episode)
    main(["data", action, str(tmp_path / "set")])
    printed = printed_text(capsys)
    assert max(map(len, printed.splitlines())) <= columns and "…" not in printed
    for word in {"info": [task.name, "delta_position"], "check": ["bounds", "clips", "contract"]}[
        action
    ]:
        assert word in joined(printed)


def test_names_in_files_reach_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = foreign.lerobot_v2(tmp_path / "set", "v2.1")
    info = json.loads((folder / "meta/info.json").read_text())
    info["robot_type"] = HOSTILE
    (folder / "meta/info.json").write_text(json.dumps(info))
    for name in ("tasks.jsonl", "episodes.jsonl"):
        file = folder / "meta" / name
        file.write_text(file.read_text().replace("lift the cube", json.dumps(HOSTILE)[1:-1]))
    for action in ("info", "check"):
        main(["data", action, str(folder)])
    info["features"] = {}
    (folder / "meta/info.json").write_text(json.dumps(info | {"codebase_version": HOSTILE}))
    assert main(["data", "info", str(folder)]) == 2
    printed = "".join(capsys.readouterr())
    assert SHOWN.split()[0] in printed and "\x1b" not in printed and "\x9b" not in printed


@pytest.mark.slow
def test_evaluations_of_odd_paths_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "[/run] [red]")
    settings = ["--tasks", TASKS[0], "--episodes", "1", "--max-steps", "2", "--workers", "1"]
    assert main(["evaluate", str(run), *settings]) == 0
    assert main(["evaluate", "--compare", str(run), str(run)]) == 0
    assert f"({run})" in capsys.readouterr().out
    assert main(["report", str(run)]) == 0
    assert str(run) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("location", "name"),
    [
        (".", "my.set.v2"),
        ("..", "above"),
        ("./", "my.set.v2"),
        ("/", "dataset"),
        ("../.hidden", "hidden"),
        ("../new\nline\x1b", "new_line_"),
        ("file.hdf5", "file"),
        ("hf://owner/name@main", "name"),
        ("hf://datasets/owner/name/folder", "name"),
        ("s3://bucket/folder/set/", "set"),
    ],
)
def test_pages_are_called_after_their_dataset(
    location: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "above" / "my.set.v2"
    here.mkdir(parents=True)
    (here / "file.hdf5").touch()
    monkeypatch.chdir(here)
    assert short_name(location) == name


def test_pages_of_dot_have_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(write(tmp_path / "set", [make_episode(0, 4)]).path)
    assert main(["data", "view", "."]) == 0
    assert "open set.html in a browser" in capsys.readouterr().out
    assert "<title>set</title>" in Path("set.html").read_text()


def test_ascii_terminals_show_escapes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    folder = write(tmp_path / "打开", [make_episode(0, 4)]).path
    assert main(["data", "info", str(folder)]) == 0
    stdout.flush()
    assert rb"\u6253\u5f00" in stdout.buffer.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def record(task: str, index: int, success: bool) -> EpisodeRecord:
    return EpisodeRecord(task, index, index, None, success, success, 1.5, 20)


def test_records_have_short_reprs(tmp_path: Path, odd: Path) -> None:
    run = make_run(tmp_path / "run")
    result = Result(
        tuple(record(task, index, index > 1) for task in ("a/b", "a/c") for index in range(4)), {}
    )
    dataset = EpisodeDataset.open(odd)
    shown = {
        "EpisodeDataset": dataset,
        "Episode": dataset[0],
        "Contents": dataset.reader.contents,
        "Statistics": dataset.statistics,
        "PolicyAgent": load(run),
        "CheckpointInfo": load_info(resolve(run)),
        "TrainConfig": preset("dualmind/phase1-laptop"),
        "Result": result,
        "Comparison": compare(result, result),
        "Prompt": Prompt("go", goal={"front": np.zeros((64, 64, 3), np.uint8)}),
    }
    for kind, value in shown.items():
        text = repr(value)
        assert (
            text.startswith(f"{kind}(")
            and len(text) < 1000
            and "array(" not in text
            and "\x1b" not in text
        ), text
    assert repr(result) == "Result(2 tasks, 8 episodes: success 0.50 [0.12, 0.88])"
    assert "2 episodes, 10 frames at 80 Hz, 2 tasks; toy, camera front 16x16" in repr(dataset)
    assert "state=float32 (5, 3)" in repr(dataset[0]) and repr(load(run)).startswith(
        "PolicyAgent('"
    )


def test_long_values_are_shortened() -> None:
    assert short(np.zeros((2, 3), np.float32)) == "float32 (2, 3)"
    assert short(tuple(range(9))) == "(0, 1, 2, 3, 4, 5, ... 3 more)"
    assert short({"a": [1]}) == "{'a': [1]}" and len(short("x" * 500)) <= 80
    assert short(make_spec()).startswith("Spec(embodiment='toy', cameras=")


def test_notebooks_show_tables_that_are_escaped(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>&"
    result = Result(tuple(record(name, index, True) for index in range(2)), {})
    folder = Path(
        shutil.copytree(write(tmp_path / "set", [make_episode(0, 4)]).path, tmp_path / "<b>")
    )
    for value in (result, compare(result, result), EpisodeDataset.open(folder)):
        page = value._repr_html_()
        assert "<table>" in page and "<script>" not in page and "<b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in result._repr_html_()
    assert html_table("\x1b", ["a"], [["\x1b"]]).count(r"\x1b") == 2
