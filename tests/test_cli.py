"""The command line: the main job on the point mass from end to end; refusals are one line and write
nothing."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch

from manyparts import cli
from manyparts.cli import quickstart
from manyparts.envs.suites import metaworld
from manyparts.evaluation.results import Result

TASKS = ["pointmass/reach-red", "pointmass/reach-blue"]


def run(*arguments: str | Path) -> int:
    return cli.main([str(word) for word in arguments])


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, both phases and an evaluation, each made by its command."""
    folder = tmp_path_factory.mktemp("cli")
    collect = ["--image-size", "32", "--workers", "2"]
    assert run("collect", *TASKS, "--episodes", "3", *collect, "--output", folder / "data") == 0
    assert (
        run(
            "collect",
            TASKS[0],
            "--episodes",
            "1",
            "--image-size",
            "24",
            "--output",
            folder / "other",
        )
        == 0
    )
    first, second = folder / "phase1", folder / "phase2"
    assert run("train", "dualmind/phase1-debug", "--data", folder / "data", "--output", first) == 0
    later = [
        "--from",
        first,
        "--output",
        second,
        "--optimizer.learning-rate",
        "2e-3",
        "--steps",
        "6",
    ]
    assert run("train", "dualmind/phase2-debug", "--data", folder / "data", *later) == 0
    assert (
        run(
            "evaluate",
            second,
            "--episodes",
            "2",
            "--videos",
            "1",
            "--max-steps",
            "12",
            "--workers",
            "2",
        )
        == 0
    )
    return folder


LISTED = {
    "presets": "dualmind/tune-metaworld45",
    "tasks": "metaworld/door-open",
    "studies": "embodiments",
    "methods": "inverse_dynamics",
    "planners": "mppi",
    "benchmarks": "open-formats",
}


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    page = capsys.readouterr().out
    assert all(re.search(rf"^  {name} ", page, re.MULTILINE) for name in cli.COMMANDS)


@pytest.mark.parametrize("command", [*cli.COMMANDS, "data info", "train dualmind/phase2-debug"])
def test_every_command_documents_its_flags(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        assert run(*command.split(), "--help") == 0
    except SystemExit as stop:
        assert stop.code == 0
    page = capsys.readouterr().out
    assert page.startswith("usage: manyparts")
    bare = re.findall(r"^ +(--[\w-]+) *(?:\S+ +)?\(default", page, re.MULTILINE)
    assert not bare, f"flags without a word: {bare}"


@pytest.mark.parametrize(("kind", "name"), LISTED.items())
def test_what_there_is_is_listed(kind: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", kind) == 0
    every = capsys.readouterr().out
    assert run("list", kind, name) == 0
    few = capsys.readouterr().out
    assert name in every and name in few and len(few) < len(every) and "…" not in every


def test_help_of_a_command_is_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    pages = []
    for words in (["help", "collect"], ["collect", "--help"]):
        with pytest.raises(SystemExit):
            run(*words)
        pages.append(capsys.readouterr().out)
    assert pages[0] == pages[1] and "--episodes" in pages[0]


def test_a_preset_may_stand_after_flags(workplace: Path, tmp_path: Path) -> None:
    words = [
        "--data",
        workplace / "data",
        "dualmind/phase1-debug",
        "--steps",
        "1",
        "--output",
        tmp_path / "run",
    ]
    assert run("train", *words) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["phase"] == "phase1"


def test_flags_reach_the_run(workplace: Path) -> None:
    config = json.loads((workplace / "phase2" / "config.json").read_text())
    assert config["optimizer"]["learning_rate"] == 2e-3
    assert config["steps"] == 6
    assert config["start_from"] == str(workplace / "phase1")
    assert config["provenance"]["arguments"][:3] == ["manyparts", "train", "dualmind/phase2-debug"]


def test_data_info_says_what_is_there(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "info", workplace / "data", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["episodes"] == 6
    assert run("data", "info", workplace / "data") == 0
    page = capsys.readouterr().out
    assert all(task in page for task in TASKS)


def test_evaluate_prints_the_result_and_a_second_call_repeats_it(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (workplace / "phase2" / "evaluation" / "results.json").read_bytes()
    assert (
        run(
            "evaluate",
            workplace / "phase2",
            "--episodes",
            "2",
            "--videos",
            "1",
            "--max-steps",
            "12",
        )
        == 0
    )
    page = capsys.readouterr().out
    result = Result.load(workplace / "phase2")
    for task in TASKS:
        assert task in page
        assert f"{result.per_task[task]['success_any'].mean:.2f} [" in page
    assert (workplace / "phase2" / "evaluation" / "results.json").read_bytes() == before


def test_compare_and_report(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", "--compare", workplace / "phase2", workplace / "phase2") == 0
    assert "+0.00 [" in capsys.readouterr().out
    assert run("report", workplace / "phase2") == 0
    assert "report.html" in capsys.readouterr().out
    page = (workplace / "phase2" / "report.html").read_text()
    assert (
        page.count("<video")
        == len(list((workplace / "phase2" / "evaluation" / "videos").glob("*/*.mp4")))
        > 0
    )
    assert "manyparts collect pointmass/reach-red" in page
    assert "manyparts train dualmind/phase1-debug" in page


def test_compare_refuses_other_conditions_without_a_flag(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = workplace / "other-seed"
    arguments = ["--episodes", "2", "--max-steps", "12", "--seed", "5", "--output", other]
    assert run("evaluate", workplace / "phase2", *arguments) == 0
    capsys.readouterr()
    assert run("evaluate", "--compare", workplace / "phase2", other) == 2
    assert "seeds.evaluation" in one_line(capsys)
    assert run("evaluate", "--compare", workplace / "phase2", other, "--allow-mismatch") == 0


def test_quickstart_is_the_commands_and_skips_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = [
        "--tasks",
        TASKS[0],
        "--demonstrations",
        "2",
        "--preset",
        "debug",
        "--episodes",
        "2",
        "--videos",
        "1",
    ]
    assert run("quickstart", *small) == 0
    first = capsys.readouterr()
    report = tmp_path / "runs" / "quickstart" / "phase2" / "report.html"
    assert f"report: {report.relative_to(tmp_path)}" in first.out
    assert "phase II" in first.out.splitlines()[-1]
    results = report.with_name("evaluation") / "results.json"
    before = results.read_bytes()
    assert run("quickstart", *small) == 0
    assert "done before" in capsys.readouterr().err
    assert results.read_bytes() == before
    assert run("quickstart", *small, "--seed", "1") == 2
    assert "seed was 0, is 1" in one_line(capsys)


def test_doctor_finds_what_the_main_job_needs(capsys: pytest.CaptureFixture[str]) -> None:
    code = run("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert {"python", "torch", "metaworld", "renderer", "video encoder"} <= checks.keys()
    assert code == (
        0 if all(check["works"] for check in checks.values() if check["required"]) else 1
    )
    assert all(check["works"] or check["mend"] for check in checks.values())


def test_a_locale_of_few_letters_prints_the_rest_as_numbers(tmp_path: Path) -> None:
    code = "from manyparts import cli; cli._print_any_text(); print('打开')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout == "\\u6253\\u5f00\n", result.stderr


def test_doctor_says_how_to_mend_the_surroundings(tmp_path: Path) -> None:
    found = {"MUJOCO_GL": "glfw", "DISPLAY": "", "WAYLAND_DISPLAY": "", "PYOPENGL_PLATFORM": ""}
    result = command(
        ["doctor"], tmp_path, **found, WORLD_SIZE="2", MANYPARTS_CACHE="/dev/null/caches"
    )
    assert result.returncode == 1
    assert "cannot run: renderer, caches, processes" in result.stdout
    assert "renderer: unset MUJOCO_GL" in result.stdout
    assert (
        "caches: name a folder that you can write: export MANYPARTS_CACHE=FOLDER" in result.stdout
    )
    assert "processes: for one process alone: unset WORLD_SIZE RANK" in result.stdout


REFUSED = {
    "unknown command": (
        ["trian"],
        ["'trian'", "did you mean train?", "`manyparts help` shows all"],
    ),
    "unknown action": (["data", "inof"], ["'inof'", "info"]),
    "unknown flag": (["collect", "pointmass/reach", "--outptu", "x"], ["--outptu", "--output"]),
    "unknown choice": (
        ["collect", "pointmass/reach", "--output", "x", "--goal", "seen"],
        ["seen", "hidden"],
    ),
    "missing flag": (
        ["collect", "pointmass/reach"],
        ["missing --output; see manyparts collect --help"],
    ),
    "missing flags": (
        ["train", "dualmind/phase1-debug"],
        ["missing --data, --output; see manyparts train dualmind"],
    ),
    "missing preset": (
        ["train", "--data", "x"],
        ["missing PRESET", "`manyparts list presets` shows all"],
    ),
    "missing name": (["data", "info"], ["missing PATH; see manyparts data info --help"]),
    "unknown list": (["list", "tusks"], ["'tusks'", "presets, tasks, studies"]),
    "nothing to list": (
        ["list", "presets", "phase9"],
        ["no name has 'phase9' in it", "dualmind/phase"],
    ),
    "not a number": (
        ["collect", "pointmass/reach", "--output", "x", "--episodes", "ten"],
        ["--episodes", "'ten'"],
    ),
    "no task": (["collect", "--output", "x"], ["metaworld/reach"]),
    "unknown suite": (["collect", "nowhere/reach", "--output", "x"], ["nowhere", "pointmass"]),
    "unknown task": (
        ["collect", "metaworld/raech", "--output", "x"],
        ["'metaworld/raech'", "metaworld/reach"],
    ),
    "output in use": (["collect", "pointmass/reach", "--output", "data"], ["data", "exists"]),
    "no dataset": (["data", "info", "nothing"], ["nothing"]),
    "unknown preset": (["train", "dualmind/phase1-lap"], ["phase1-lap", "dualmind/phase1-laptop"]),
    "unknown field": (
        [
            "train",
            "dualmind/phase1-debug",
            "--data",
            "data",
            "--output",
            "x",
            "--optimizer.rate",
            "1",
        ],
        ["--optimizer.rate", "--optimizer.learning-rate"],
    ),
    "bad field": (
        ["train", "dualmind/phase1-debug", "--data", "data", "--output", "x", "--batch-size", "0"],
        ["batch_size", "0"],
    ),
    "run in use": (
        ["train", "dualmind/phase1-debug", "--data", "data", "--output", "phase1"],
        ["phase1", "--resume"],
    ),
    "other embodiment": (
        ["train", "dualmind/phase2-debug", "--data", "other", "--from", "phase1", "--output", "x"],
        ["embodiment", "24"],
    ),
    "unknown device": (
        ["train", "dualmind/phase1-debug", "--data", "data", "--output", "x", "--device", "abacus"],
        ["'abacus'", "cpu"],
    ),
    "torn parquet": (
        ["train", "dualmind/phase1-debug", "--data", "torn", "--output", "x"],
        ["torn", ".parquet"],
    ),
    "missing tensor": (
        ["evaluate", "maimed", "--episodes", "1", "--output", "x"],
        ["maimed", "missing"],
    ),
    "no policy": (
        ["evaluate", "phase1", "--episodes", "1", "--output", "x"],
        ["behaviour_cloning"],
    ),
    "no run": (["evaluate", "nothing"], ["nothing"]),
    "nothing to evaluate": (["evaluate"], ["RUN"]),
    "nothing to report": (["report", "phase1"], ["manyparts evaluate"]),
    "no run to prompt": (["prompts"], ["RUN"]),
    "unknown kind of prompt": (
        ["prompts", "phase1", "--matrix-with", "song"],
        ["song", "instruction"],
    ),
    "unknown study": (["study", "dualmnid"], ["'dualmnid'", "did you mean dualmind?"]),
    "unknown preset of a study": (["study", "dualmind-lap"], ["'lap'", "laptop", "paper"]),
    "two presets of a study": (
        ["study", "dualmind-laptop", "--preset", "debug"],
        ["dualmind-laptop", "debug"],
    ),
    "unknown method of a study": (
        ["study", "dualmind", "--only", "dual"],
        ["'dual'", "dual-phase"],
    ),
    "no seeds": (["study", "dualmind", "--seeds", "0"], ["seeds is 0"]),
    "no study": (["study"], ["NAME"]),
    "unknown benchmark": (["bench", "speed", "--output", "x.jsonl"], ["'speed'", "render"]),
}


@pytest.mark.parametrize("arguments_and_words", REFUSED.values(), ids=REFUSED.keys())
def test_bad_input_is_one_line_and_writes_nothing(
    arguments_and_words: tuple[list[str], list[str]],
    broken: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, words = arguments_and_words
    monkeypatch.chdir(broken)
    before = snapshot(broken)
    assert run(*arguments) == 2
    line = one_line(capsys)
    assert all(word in line for word in words), line
    assert snapshot(broken) == before


def test_a_missing_simulator_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metaworld, "PACKAGES", ("no_such_simulator",))
    assert run("collect", "metaworld/reach", "--output", tmp_path / "x") == 2
    assert "pip install metaworld==3.1.1 mujoco==3.3.0 packaging 'numpy<2.4'" in one_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_renderer_that_a_variable_hides_is_named_with_the_variable(tmp_path: Path) -> None:
    arguments = ["collect", "metaworld/reach", "--episodes", "1", "--output", "x"]
    result = command(arguments, tmp_path, PYOPENGL_PLATFORM="glx", MUJOCO_GL="")
    assert result.returncode == 2
    assert "PYOPENGL_PLATFORM is 'glx'; unset PYOPENGL_PLATFORM (egl works here)" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """On a file system of 300 kB, made in a namespace of its own."""
    script = 'mount -t tmpfs -o size=300k none "$1" && cd "$1" && shift && exec "$@"'
    own = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(tmp_path)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*own, "true"], capture_output=True).returncode
    ):
        pytest.skip("this machine lets nobody mount a small file system")
    manyparts = [
        sys.executable,
        "-c",
        "import sys; from manyparts.cli import main; sys.exit(main())",
    ]
    collect = [
        "collect",
        "pointmass/reach",
        "--episodes",
        "20",
        "--image-size",
        "64",
        "--output",
        "data",
    ]
    result = subprocess.run([*own, *manyparts, *collect], capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    assert os.strerror(errno.ENOSPC) in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_interrupt_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(quickstart, "main", interrupted)
    assert run("quickstart") == 130
    assert capsys.readouterr().err.split() == ["interrupted"]


@pytest.fixture(scope="module")
def broken(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workplace with a torn dataset and a checkpoint that lacks a tensor beside the whole
    ones."""
    folder = tmp_path_factory.mktemp("broken")
    for name in ("data", "other", "phase1"):
        shutil.copytree(workplace / name, folder / name, symlinks=True)
    shutil.copytree(workplace / "data", folder / "torn")
    parquet = next((folder / "torn" / "data").rglob("*.parquet"))
    parquet.write_bytes(parquet.read_bytes()[:-1000])
    shutil.copytree((workplace / "phase2" / "checkpoints" / "last").resolve(), folder / "maimed")
    weights = safetensors.torch.load_file(folder / "maimed" / "model.safetensors")
    weights.pop(sorted(weights)[0])
    safetensors.torch.save_file(weights, folder / "maimed" / "model.safetensors")
    return folder


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {
        str(path): (status.st_size, status.st_mtime_ns)
        for path, status in found.items()
        if not path.is_dir()
    }


def command(
    arguments: list[str], folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    script = [
        sys.executable,
        "-c",
        "import sys; from manyparts.cli import main; sys.exit(main())",
        *arguments,
    ]
    environment = {**os.environ, **variables}
    return subprocess.run(script, cwd=folder, env=environment, capture_output=True, text=True)
