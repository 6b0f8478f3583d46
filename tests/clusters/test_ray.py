"""Two nodes of Ray on this machine: the bytes of a local run, a node that dies, Ctrl-C that saves,
and nodes that do not fit."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from clusters.ray_nodes import ROOT, Cluster, cluster, runs_on, wait_until
from evaluation.evaluating import make_run
from rollout.collecting import TASKS, digest
from studies.engine.declared import MANIFEST, imitation

from manyparts.models.checkpoint import load_info, resolve
from manyparts.models.run_files import WEIGHTS
from manyparts.studies.engine.stages import DONE, SPENT, product

pytestmark = pytest.mark.slow
__all__ = ["cluster"]

STUDY = ("study", "dualmind", "--preset", "debug", "--seeds", "1")
STUDY += ("--only", "visual tokens 4", "visual tokens 8")
ENDLESS = Path(__file__).parents[1] / "studies" / "engine" / "declared.py"


def products(output: Path) -> dict[str, bytes]:
    """The data, weights and episodes of a study, by their paths."""
    files = [
        *output.glob("stages/*/data/**/*.parquet"),
        *output.glob(f"stages/*/run/checkpoints/*/{WEIGHTS}"),
        *output.glob("stages/*/evaluation/episodes.jsonl"),
    ]
    return {str(path.relative_to(output)): path.read_bytes() for path in files}


def test_collected_and_evaluated_bytes_are_equal(cluster: Cluster, tmp_path: Path) -> None:
    collect = ("collect", *TASKS, "--episodes", "4", "--image-size", "16")
    run = make_run(tmp_path / "run")
    evaluate = ("evaluate", run, "--episodes", "4", "--seed", "3", "--videos", "1")
    for name, where in (("here", ()), ("there", ("--executor", cluster.address))):
        cluster.command(*collect, *where, "--output", tmp_path / name / "data")
        cluster.command(*evaluate, *where, "--output", tmp_path / name / "evaluation")
    here, there = (digest(tmp_path / name) for name in ("here", "there"))
    assert "evaluation/episodes.jsonl" in here and any(name.endswith(".mp4") for name in here)
    assert there == here


def test_a_study_survives_the_death_of_a_node(cluster: Cluster, tmp_path: Path) -> None:
    cluster.command(*STUDY, "--workers", "2", "--output", tmp_path / "here")
    output, doomed = tmp_path / "there", cluster.nodes[-1]
    runner = cluster.start(
        "-m", "manyparts", *STUDY, "--executor", cluster.address, "--output", output
    )

    lost: list[Path] = []

    def is_at_work() -> bool:
        """Whether a training is on the node that is to die."""
        assert runner.poll() is None, "it is too late"
        for lease in output.glob("stages/train-*/.stage-lease"):
            with contextlib.suppress(ValueError, OSError):
                if runs_on(json.loads(lease.read_text())["process"], doomed):
                    lost.append(lease.parent)
        return bool(lost)

    wait_until(is_at_work)
    cluster.kill(doomed)
    assert not (lost[0] / DONE).exists(), "it is too late"
    _, errors = runner.communicate(timeout=900)
    assert runner.returncode == 0, errors[-3000:]
    assert (lost[0] / DONE).exists()
    assert products(output) == products(tmp_path / "here") and len(products(output)) == 11
    cluster.add()


def test_ctrl_c_saves_and_the_same_command_continues(cluster: Cluster, tmp_path: Path) -> None:
    run = product(imitation(steps=1_000_000), tmp_path)

    def steps() -> list[int]:
        """Those of the whole rows."""
        metrics = run / "metrics.jsonl"
        text = metrics.read_text() if metrics.exists() else ""
        return [json.loads(row)["step"] for row in text.splitlines(True) if row.endswith("\n")]

    last = 0
    for _ in range(2):
        runner = cluster.start(ENDLESS, "endless", tmp_path, cluster.address)
        wait_until(lambda before=last: max(steps(), default=0) > before + 3)
        runner.send_signal(signal.SIGINT)
        _, errors = runner.communicate(timeout=300)
        assert "stopping 1 stages" in errors and "KeyboardInterrupt" in errors
        assert (run.parent / SPENT).exists(), "it is there when the command ends"
        assert load_info(resolve(run)) and int(resolve(run).name) > last
        last = int(resolve(run).name)
    assert steps() == sorted(set(steps())), "no step was trained twice"
    assert json.loads((tmp_path / "manifest.json").read_text()) == MANIFEST


def test_unfit_clusters_are_refused_in_one_line(cluster: Cluster, tmp_path: Path) -> None:
    output = ("--output", tmp_path / "study")

    def refusal(address: str, *more: object) -> str:
        printed = cluster.command(*STUDY, "--executor", address, *(more or output), code=2)
        [line] = printed.splitlines()
        return line

    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = f"127.0.0.1:{free.getsockname()[1]}"
    assert f"nobody answers at ray://{closed} (Connection refused)" in refusal(f"ray://{closed}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        other = f"127.0.0.1:{silent.getsockname()[1]}"
        assert f"ray://{other} is no Ray cluster that this" in refusal(f"ray://{other}")
    crowded = refusal(cluster.address, "--workers", "5", *output)
    assert f"workers is 5, and the 2 nodes of {cluster.address} have 2 cores" in crowded
    assert not (tmp_path / "study").exists()


def test_nodes_without_files_or_code_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    hidden, source = tmp_path / "hidden", tmp_path / "source"
    hidden.mkdir()
    shutil.copytree(ROOT / "src" / "manyparts", source / "manyparts")
    (source / "manyparts" / "core" / "spec.py").open("a").write("# another commit\n")
    mount = f'mount -t tmpfs none \'{hidden}\' && exec "$0" "$@"'
    before = ("unshare", "--mount", "sh", "-c", mount)
    if subprocess.run([*before, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this user may mount nothing, not even for a process alone")
    node = cluster.add(source=source, before=before)
    collect = ("collect", TASKS[0], "--episodes", "1", "--executor", cluster.address)
    try:
        refused = cluster.command(*collect, "--output", hidden / "data", code=2)
        assert f"does not see {hidden}" in refused and len(refused.splitlines()) == 1
        assert "choose an --output on a disk that all nodes share" in refused
        refused = cluster.command(*collect, "--output", tmp_path / "data", code=2)
        assert "has other code of manyparts" in refused and len(refused.splitlines()) == 1
        assert not list(hidden.iterdir()) and not (tmp_path / "data.partial").exists()
    finally:
        cluster.kill(node)


def test_no_process_outlives_its_runner(cluster: Cluster, tmp_path: Path) -> None:
    run = product(imitation(steps=1_000_000), tmp_path)
    runner = cluster.start(ENDLESS, "endless", tmp_path, cluster.address)
    wait_until(lambda: (run / "metrics.jsonl").exists())
    process = json.loads((run.parent / ".stage-lease").read_text())["process"]
    runner.kill()
    runner.communicate()
    wait_until(lambda: not os.path.exists(f"/proc/{process}"), seconds=120)
