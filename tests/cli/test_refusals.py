"""Bad input, missing packages and full disks end in one line, and write nothing."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
from cli.running import command, one_line, run

from manyparts.cli import quickstart
from manyparts.envs.suites import metaworld

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
    "no environment of this id": (
        ["evaluate", "random", "--tasks", "gym:CartPole-v7", "--output", "x"],
        ["no environment is called 'CartPole-v7'", "did you mean CartPole-v"],
    ),
    "no expert": (
        ["collect", "gym:CartPole-v1", "--output", "x"],
        ["gym:CartPole-v1 has no expert; choices: --policy random, or --policy RUN"],
    ),
    "noise of no expert": (
        ["collect", "pointmass/reach", "--output", "x", "--policy", "random", "--noise-std", "0.2"],
        ["noise is added to experts' actions; policy 'random' acts without"],
    ),
    "no such policy": (
        ["collect", "pointmass/reach", "--output", "x", "--policy", "randum"],
        ["policy: no run or checkpoint at randum; choices: expert, random, or a run's folder"],
    ),
    "no suite to check": (
        ["doctor", "--suite", "poinmass"],
        ["unknown suite 'poinmass'", "did you mean pointmass"],
    ),
    "not a number": (
        ["collect", "pointmass/reach", "--output", "x", "--episodes", "ten"],
        ["--episodes", "'ten'"],
    ),
    "not whole": (
        ["train", "dualmind/phase1-debug", "--data", "data", "--output", "x", "--steps", "1.5"],
        ["--steps is '1.5'; expected a whole number"],
    ),
    "patterns without a value": (
        ["train", "dualmind/phase1-debug", "--train-only", "--data", "data", "--output", "x"],
        ["--train-only has no value; expected text, or several; see manyparts train dualmind"],
    ),
    "number without a value": (
        ["collect", "pointmass/reach", "--output", "x", "--episodes"],
        ["--episodes has no value; expected a whole number"],
    ),
    "path without a value": (
        ["evaluate", "phase1", "--output"],
        ["--output has no value; expected a path"],
    ),
    "choice without a value": (
        ["evaluate", "phase1", "--planner"],
        ["--planner has no value; expected one of random-shooting"],
    ),
    "one of two values": (
        ["evaluate", "--compare", "phase1"],
        ["--compare is 'phase1'; expected 2 values"],
    ),
    "switch with a value": (
        ["train", "dualmind/phase1-debug", "--data", "data", "--output", "x", "--resume", "yes"],
        ["--resume takes no value, and 'yes' follows it; see manyparts train dualmind"],
    ),
    "word of no flag": (
        ["evaluate", "phase1", "phase2"],
        ["'phase2' belongs to no flag", "manyparts evaluate --help"],
    ),
    "flag before the command": (
        ["--episodes", "5", "collect", "pointmass/reach"],
        ["--episodes stands before the command", "manyparts help"],
    ),
    "task without its suite": (
        ["collect", "reach", "--output", "x"],
        ["did you mean metaworld/reach or pointmass/reach?"],
    ),
    "no kind of list": (["list"], ["missing KIND", "presets, tasks"]),
    "page that cannot be made": (
        ["data", "view", "data", "--output", "/proc/x/page.html"],
        ["cannot write /proc/x"],
    ),
    "negative number at the end": (
        ["quickstart", "--output", "x", "--episodes", "-3"],
        ["episodes is -3; expected at least 1"],
    ),
    "negative number": (
        ["collect", "pointmass/reach", "--output", "x", "--workers", "-2"],
        ["workers is -2; expected at least 1"],
    ),
    "output that cannot be made": (
        ["collect", "pointmass/reach", "--output", "/proc/x", "--workers", "1"],
        ["cannot write /proc/x"],
    ),
    "output below a file": (
        ["evaluate", "expert", "--tasks", "pointmass/reach", "--output", "data/meta/info.json/x"],
        ["cannot write data/meta/info.json/x"],
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
def test_bad_input_ends_in_one_line(
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


def test_unwritable_caches_leave_nothing_behind(
    broken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MANYPARTS_CACHE", "/dev/null/caches")
    own = tmp_path / "own"
    own.mkdir()
    for output in (own, tmp_path / "new" / "run"):
        words = ["--data", broken / "data", "--output", output]
        assert run("train", "dualmind/phase1-debug", *words) == 2
        assert "export MANYPARTS_CACHE=FOLDER" in capsys.readouterr().err
        assert list(tmp_path.rglob("*")) == [own]


def test_missing_simulator_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = replace(metaworld.SUITE, packages=("no_such_simulator",))
    monkeypatch.setattr(metaworld, "SUITE", lacking)
    assert run("collect", "metaworld/reach", "--output", tmp_path / "x") == 2
    assert "pip install metaworld==3.1.1 mujoco==3.3.0 packaging 'numpy<2.4'" in one_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_variable_that_hides_a_renderer(tmp_path: Path) -> None:
    arguments = ["collect", "metaworld/reach", "--episodes", "1", "--output", "x"]
    result = command(arguments, tmp_path, PYOPENGL_PLATFORM="glx", MUJOCO_GL="")
    assert result.returncode == 2
    assert "PYOPENGL_PLATFORM is 'glx'; unset PYOPENGL_PLATFORM (egl works here)" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_full_disk_ends_in_one_line(tmp_path: Path) -> None:
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


def test_interrupt_ends_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(quickstart, "main", interrupted)
    assert run("quickstart") == 130
    assert capsys.readouterr().err.split() == ["interrupted"]


@pytest.fixture(scope="module")
def broken(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with a torn dataset and a checkpoint that lacks a tensor, next to whole ones."""
    folder = tmp_path_factory.mktemp("broken")
    for name in ("data", "other", "phase1"):
        shutil.copytree(folders / name, folder / name, symlinks=True)
    shutil.copytree(folders / "data", folder / "torn")
    parquet = next((folder / "torn" / "data").rglob("*.parquet"))
    parquet.write_bytes(parquet.read_bytes()[:-1000])
    shutil.copytree((folders / "phase2" / "checkpoints" / "last").resolve(), folder / "maimed")
    weights = safetensors.torch.load_file(folder / "maimed" / "model.safetensors")
    weights.pop(sorted(weights)[0])
    safetensors.torch.save_file(weights, folder / "maimed" / "model.safetensors")
    return folder


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file below a folder."""
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    states = {str(path): path.lstat() for path in files}
    return {path: (state.st_size, state.st_mtime_ns) for path, state in states.items()}
