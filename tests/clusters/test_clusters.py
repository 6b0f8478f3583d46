"""Commands on two nodes of Ray and on one of Slurm, all on this machine: the bytes of a local run,
a node that dies, Ctrl-C that saves, and nobody left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters.commands import Commands, wait_until
from clusters.ray_nodes import Ray
from clusters.slurm_node import Slurm
from evaluation.evaluating import make_run
from rollout.collecting import TASKS, digest
from studies.engine.declared import MANIFEST, imitation

from manyparts.models.checkpoint import load_info, resolve
from manyparts.models.run_files import WEIGHTS
from manyparts.studies.engine.stages import DONE, SPENT, product

pytestmark = pytest.mark.slow
STUDY = ("study", "dualmind", "--preset", "debug", "--seeds", "1")
STUDY += ("--only", "visual tokens 4", "visual tokens 8")
ENDLESS = Path(__file__).parents[1] / "studies" / "engine" / "declared.py"


@pytest.fixture(scope="module", params=[Ray, Slurm])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Commands]:
    started = request.param(tmp_path_factory.mktemp("cluster"))
    yield started
    started.close()


def products(output: Path) -> dict[str, bytes]:
    """The data, weights and episodes of a study, by their paths."""
    files = [
        *output.glob("stages/*/data/**/*.parquet"),
        *output.glob(f"stages/*/run/checkpoints/*/{WEIGHTS}"),
        *output.glob("stages/*/evaluation/episodes.jsonl"),
    ]
    return {str(path.relative_to(output)): path.read_bytes() for path in files}


def test_collected_and_evaluated_bytes_are_equal(cluster: Commands, tmp_path: Path) -> None:
    collect = ("collect", *TASKS, "--episodes", "4", "--image-size", "16")
    run = make_run(tmp_path / "run")
    evaluate = ("evaluate", run, "--episodes", "4", "--seed", "3", "--videos", "1")
    for name, where in (("here", ()), ("there", cluster.where)):
        cluster.command(*collect, *where, "--output", tmp_path / name / "data")
        cluster.command(*evaluate, *where, "--output", tmp_path / name / "evaluation")
    here, there = (digest(tmp_path / name) for name in ("here", "there"))
    assert "evaluation/episodes.jsonl" in here and any(name.endswith(".mp4") for name in here)
    assert there == here


def test_a_study_survives_the_death_of_a_node(cluster: Commands, tmp_path: Path) -> None:
    cluster.command(*STUDY, "--workers", "2", "--output", tmp_path / "here")
    output = tmp_path / "there"
    runner = cluster.start("-m", "manyparts", *STUDY, *cluster.where, "--output", output)
    lost: list[Path] = []

    def node_is_killed() -> bool:
        """Kill a node while it trains; return whether there was one that may die."""
        assert runner.poll() is None, "it is too late"
        for lease in output.glob("stages/train-*/.stage-lease"):
            with contextlib.suppress(ValueError, OSError):
                if cluster.lose(json.loads(lease.read_text())["process"]):
                    lost.append(lease.parent)
                    return True
        return False

    wait_until(node_is_killed)
    assert not (lost[0] / DONE).exists(), "it is too late"
    cluster.restore()
    _, errors = runner.communicate(timeout=900)
    assert runner.returncode == 0, errors[-3000:]
    assert (lost[0] / DONE).exists()
    assert products(output) == products(tmp_path / "here") and len(products(output)) == 15


def test_ctrl_c_saves_and_the_same_command_continues(cluster: Commands, tmp_path: Path) -> None:
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


def test_no_process_outlives_its_runner(cluster: Commands, tmp_path: Path) -> None:
    run = product(imitation(steps=1_000_000), tmp_path)
    runner = cluster.start(ENDLESS, "endless", tmp_path, cluster.address)
    wait_until(lambda: (run / "metrics.jsonl").exists())
    process = json.loads((run.parent / ".stage-lease").read_text())["process"]
    runner.kill()
    runner.communicate()
    wait_until(lambda: not os.path.exists(f"/proc/{process}"), seconds=120)
