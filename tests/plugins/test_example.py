"""examples/plugin, installed by pip into a folder, works from recording to evaluation. Without it,
a run that needs it says so."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from plugins.installing import manyparts_in_process, pip_install

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"
ORIGIN = "manyparts-dial 0.1.0"
USED = {
    "suites/dial": ORIGIN,
    "objectives/StateChangeConfig": ORIGIN,
    "methods/state-change": ORIGIN,
}
TRAIN = ["train", "state-change/debug", "--data", "data", "--output", "run"]
EVALUATE = ["evaluate", "run", "--episodes", "2", "--max-steps", "5", "--workers", "1"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pip_install(EXAMPLE, tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="module")
def trained(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a run, made by the command line."""
    folder = tmp_path_factory.mktemp("work")
    collect = ["collect", "dial/turn", "--episodes", "3", "--image-size", "32", "--workers", "1"]
    succeeds([*collect, "--output", "data"], folder, installed)
    succeeds(TRAIN, folder, installed)
    return folder


def succeeds(words: list[str], folder: Path, installed: Path) -> str:
    done = manyparts_in_process(words, folder, path=[installed])
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr, done.stderr
    return done.stdout


def fails(words: list[str], folder: Path) -> str:
    """The one line of a command that runs without the plug-in."""
    done = manyparts_in_process(words, folder, path=[])
    assert done.returncode == 2, done.stdout
    (line,) = done.stderr.splitlines()
    return line


def provenance(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())["provenance"]


@pytest.mark.slow
def test_run_records_and_needs_the_plugin(installed: Path, trained: Path) -> None:
    """The whole in short: list, collect, train, evaluate, then without the plug-in."""
    listed = succeeds(["list", "plugins"], trained, installed)
    assert all(key in listed for key in USED) and ORIGIN in listed
    assert provenance(trained / "run" / "config.json")["plugins"] == USED
    collection = json.loads((trained / "data" / "meta" / "collection.json").read_text())
    assert collection["versions"]["dial"]["plugin"] == ORIGIN
    succeeds(EVALUATE, trained, installed)
    before = {path: path.read_bytes() for path in (trained / "run").rglob("*.json*")}
    line = fails([*TRAIN, "--resume"], trained)
    assert line == (
        f"error: run needs plug-in methods/state-change of {ORIGIN}, which is not installed here; "
        "install it, if you trust who made it"
    )
    assert f"run needs plug-in objectives/StateChangeConfig of {ORIGIN}" in fails(EVALUATE, trained)
    assert before == {path: path.read_bytes() for path in (trained / "run").rglob("*.json*")}


@pytest.mark.slow
def test_plugin_is_listed_with_its_version(installed: Path, trained: Path) -> None:
    for kind, name in (("tasks", "dial/"), ("presets", "state-change/laptop"), ("methods", "")):
        words = ["list", kind, *filter(None, [name])]
        assert f"[{ORIGIN}]" in " ".join(succeeds(words, trained, installed).split())
    done = manyparts_in_process(["doctor", "--no-pace", "--json"], trained, path=[installed])
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    for key in USED:
        assert checks[f"plug-in {key}"]["works"] and ORIGIN in checks[f"plug-in {key}"]["detail"]
    assert "all is as declared" in succeeds(["doctor", "--suite", "dial"], trained, installed)


@pytest.mark.slow
def test_run_resumes_and_is_evaluated(installed: Path, trained: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(trained, work, symlinks=True)
    # As a kill left it: the first checkpoint is there, the last one is not.
    shutil.rmtree(work / "run" / "checkpoints" / "000008")
    last = work / "run" / "checkpoints" / "last"
    last.unlink()
    last.symlink_to("000004")
    succeeds([*TRAIN, "--resume"], work, installed)
    weights = "checkpoints/000008/model.safetensors"
    assert (work / "run" / weights).read_bytes() == (trained / "run" / weights).read_bytes()
    succeeds([*EVALUATE, "--overwrite"], work, installed)
    recorded = provenance(work / "run" / "evaluation" / "results.json")
    assert recorded["plugins"] == {"suites/dial": ORIGIN}
    assert recorded["training"]["plugins"] == USED
    assert recorded["simulators"]["dial"]["plugin"] == ORIGIN
    succeeds(["report", "run"], work, installed)
    page = (work / "run" / "report.html").read_text()
    assert f"# with plug-in suites/dial of {ORIGIN}" in page


@pytest.mark.slow
def test_missing_suite_is_named(installed: Path, trained: Path, tmp_path: Path) -> None:
    """An agent that another method trained on the plug-in's data needs the suite alone."""
    other = [
        "train",
        "dualmind/phase1-debug",
        "--data",
        "data",
        "--output",
        str(tmp_path / "other"),
    ]
    succeeds([*other, "--steps", "2"], trained, installed)
    run = str(tmp_path / "other")
    assert provenance(tmp_path / "other" / "config.json")["plugins"] == {"suites/dial": ORIGIN}
    for tasks in ([], ["--tasks", "dial/turn"]):
        line = fails(["evaluate", run, *tasks, "--episodes", "1"], tmp_path)
        assert f"needs plug-in suites/dial of {ORIGIN}, which is not installed here" in line


@pytest.mark.slow
def test_other_version_is_said(installed: Path, trained: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"
    shutil.copytree(installed, later)
    (metadata,) = later.glob("*.dist-info/METADATA")
    metadata.write_text(metadata.read_text().replace("Version: 0.1.0", "Version: 0.2.0"))
    os.rename(metadata.parent, later / "manyparts_dial-0.2.0.dist-info")
    done = manyparts_in_process([*TRAIN, "--resume"], trained, path=[later])
    assert done.returncode == 0, done.stderr
    said = "run was made with plug-in objectives/StateChangeConfig of manyparts-dial 0.1.0; here is"
    assert f"warning: {said} manyparts-dial 0.2.0" in done.stderr
