"""The runner: each stage once, done ones skipped, failures alone, one runner per folder, interrupts
saved."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from studies.engine.declared import DATA, MANIFEST, evaluated, imitation, start

from manyparts.core.errors import UserError
from manyparts.core.executors.local import LocalExecutor
from manyparts.core.storage.atomic import write_atomically
from manyparts.core.storage.locked_folder import locked_folder
from manyparts.models.checkpoint import load_info, resolve
from manyparts.studies.engine.execution import carry_out
from manyparts.studies.engine.report import write_report
from manyparts.studies.engine.results import gather
from manyparts.studies.engine.runner import _Pool, run_stages
from manyparts.studies.engine.stages import (
    DONE,
    DONE_BEFORE,
    LOG,
    SPENT,
    Collect,
    Evaluate,
    Stage,
    Train,
    facts,
    folder,
    is_done,
    label,
    left_to_do,
    product,
    write_description,
)
from manyparts.studies.engine.study import Measurement, Study
from manyparts.studies.engine.worker import MODULE, PRELOADED


def wait_until(holds: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.02)


def test_stages_run_once_in_order(tmp_path: Path) -> None:
    run = imitation()
    stages = [DATA, run, evaluated(run)]
    assert run_stages(stages, tmp_path, manifest=MANIFEST, workers=2).done == stages
    assert facts(run, tmp_path)["parameters"] == facts(run, tmp_path)["trained_parameters"] > 0
    assert facts(run, tmp_path)["train_seconds"] > 0 and facts(run, tmp_path)["core_seconds"] > 0
    assert [
        path.name for path in resolve(product(run, tmp_path)).iterdir() if path.suffix == ".pt"
    ] == []
    assert (
        json.loads((product(stages[2], tmp_path) / "results.json").read_text())["aggregate"][
            "episodes"
        ]
        == 1
    )
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob(DONE)}
    assert len(before) == 3
    assert run_stages(stages, tmp_path, manifest=MANIFEST).done == stages
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob(DONE)} == before


@pytest.mark.slow
def test_archives_without_weights_can_continue(tmp_path: Path) -> None:
    first, second = imitation(), imitation(seed=1)
    whole, more = (
        [DATA, first, evaluated(first)],
        [DATA, first, evaluated(first), second, evaluated(second)],
    )
    run_stages(whole, tmp_path, manifest=MANIFEST, workers=2)
    shutil.rmtree(product(DATA, tmp_path))
    shutil.rmtree(product(first, tmp_path) / "checkpoints")
    assert (
        left_to_do(whole, tmp_path) == []
        and run_stages(whole, tmp_path, manifest=MANIFEST).done == whole
    )
    assert not product(DATA, tmp_path).exists(), "nobody needs it any more"
    assert left_to_do(more, tmp_path) == [DATA, second, evaluated(second)]
    kept = (product(whole[2], tmp_path) / "results.json").read_bytes()
    assert len(run_stages(more, tmp_path, manifest=MANIFEST, workers=2).done) == len(more)
    assert (product(whole[2], tmp_path) / "results.json").read_bytes() == kept
    assert not (product(first, tmp_path) / "checkpoints").exists()
    other = Evaluate(first, DATA.tasks, episodes=2, max_steps=8)
    assert left_to_do([*more, other], tmp_path) == [first, other]
    assert len(run_stages([*more, other], tmp_path, manifest=MANIFEST, workers=2).done) == 6


@pytest.mark.slow
def test_redone_stages_count_their_time_once(
    tmp_path: Path,
) -> None:
    run = imitation()
    measurements = [Measurement("imitation", "here", 0, (evaluated(run),))]
    study = Study("toy", "", ("debug",), "imitation", lambda preset, seeds: measurements)
    stages = [DATA, run, evaluated(run)]
    run_stages(stages, tmp_path, manifest=MANIFEST, workers=2)
    for stage in (DATA, run):  # as if it had been done on a slow machine
        hour = facts(stage, tmp_path) | {"seconds": 3600.0, "core_seconds": 3600.0}
        write_atomically(folder(stage, tmp_path) / DONE, json.dumps(hour).encode())
        write_atomically(
            folder(stage, tmp_path) / SPENT,
            json.dumps({"seconds": 3600, "core_seconds": 3600}).encode(),
        )
    whole = gather(study, "debug", measurements, tmp_path)
    assert whole.rows[0].hours == 2
    shutil.rmtree(product(DATA, tmp_path))
    shutil.rmtree(product(run, tmp_path) / "checkpoints")
    other = Evaluate(run, DATA.tasks, episodes=2, max_steps=8)
    with contextlib.closing(LocalExecutor(os.environ)) as executor:
        _Pool([*stages, other], tmp_path, 1, executor)  # it is killed before it does anything
        assert not is_done(run, tmp_path)
        _Pool([*stages, other], tmp_path, 1, executor)
    assert gather(study, "debug", measurements, tmp_path) == whole
    write_report(study, measurements, whole, tmp_path)
    assert left_to_do(stages, tmp_path) == [], "nobody needs it any more"
    assert left_to_do([*stages, other], tmp_path) == [DATA, run, other]
    assert len(run_stages([*stages, other], tmp_path, manifest=MANIFEST, workers=2).done) == 4
    assert gather(study, "debug", measurements, tmp_path).rows[0].hours < 1
    assert not list(tmp_path.rglob(DONE_BEFORE)) and left_to_do([*stages, other], tmp_path) == []


def test_a_single_stage_gets_all_cores(tmp_path: Path) -> None:
    together = imitation(processes=2)
    other = Collect(DATA.tasks, 3, environment=DATA.environment)
    with contextlib.closing(LocalExecutor(os.environ)) as executor:

        def first(*stages: Stage, workers: int) -> tuple[Stage, int] | None:
            return _Pool(list(stages), tmp_path, workers, executor)._next()

        assert first(DATA, together, workers=3) == (DATA, 3)
        assert first(DATA, other, together, workers=3) == (DATA, 1)
        write_description(DATA, tmp_path)
        write_atomically(folder(DATA, tmp_path) / DONE, b"{}")
        product(DATA, tmp_path).mkdir()
        # It waits for no core that does not exist.
        assert first(DATA, together, workers=1) == (together, 2)
        assert first(DATA, together, evaluated(together), workers=3) == (together, 2)


@pytest.mark.slow
def test_a_failed_stage_stops_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = Collect(("pointmass/nowhere",), 1)
    blocked = Train(imitation().config, bad)
    outcome = run_stages(
        [bad, blocked, evaluated(blocked), DATA], tmp_path, manifest=MANIFEST, workers=1
    )
    assert (outcome.done, outcome.failed) == ([DATA], [bad])
    assert outcome.blocked == [blocked, evaluated(blocked)]
    log = folder(bad, tmp_path) / LOG
    assert "unknown task 'pointmass/nowhere'" in log.read_text()
    printed = capsys.readouterr().err
    assert f"failed: {label(bad)}" in printed and str(log) in printed and "unknown task" in printed
    assert "1 failed, 2 not started" in printed


def test_time_before_a_kill_counts(tmp_path: Path) -> None:
    write_description(DATA, tmp_path)
    write_atomically(
        folder(DATA, tmp_path) / SPENT,
        json.dumps({"seconds": 1000.0, "core_seconds": 3000.0}).encode(),
    )
    carry_out(DATA, tmp_path)
    assert (
        1000 < facts(DATA, tmp_path)["seconds"] < 2000
        and 3000 < facts(DATA, tmp_path)["core_seconds"] < 4000
    )


def test_second_runner_in_folder_refused(tmp_path: Path) -> None:
    with (
        locked_folder(tmp_path, MANIFEST),
        pytest.raises(UserError, match="in use by another process"),
    ):
        run_stages([DATA], tmp_path, manifest=MANIFEST)


def test_folder_of_other_study_refused(tmp_path: Path) -> None:
    with locked_folder(tmp_path, MANIFEST):
        (tmp_path / "stages").mkdir()
    with pytest.raises(UserError, match="study was toy, is other"):
        run_stages([DATA], tmp_path, manifest={"study": "other"})


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_a_stop_reaches_the_stages(tmp_path: Path, number: signal.Signals) -> None:
    runner = start("endless", str(tmp_path))
    run = product(imitation(steps=1_000_000), tmp_path)
    wait_until(
        lambda: (
            (run / "metrics.jsonl").exists()
            and len((run / "metrics.jsonl").read_text().splitlines()) > 3
        )
    )
    runner.send_signal(number)
    _, printed = runner.communicate(timeout=60)
    if number == signal.SIGINT:
        assert "stopping 1 stages" in printed
        assert load_info(resolve(run))  # the checkpoint of the step under way
        wait_until((run.parent / SPENT).exists, seconds=20)
    with open(run / ".lock") as lock:
        wait_until(lambda: _is_free(lock), seconds=20)


@pytest.mark.slow
def test_stages_end_with_their_server(
    tmp_path: Path,
) -> None:
    run_stages([DATA], tmp_path, manifest=MANIFEST, workers=1)
    endless = imitation(steps=1_000_000)
    stage_folder, run = write_description(endless, tmp_path), product(endless, tmp_path)
    with contextlib.closing(LocalExecutor(os.environ, PRELOADED)) as workers:
        number = workers.start(MODULE, stage_folder, stage_folder / LOG, cores=1)
        wait_until((run / "metrics.jsonl").exists)
        assert workers.exit_code(number) is None
        workers._server.kill()
        wait_until(lambda: workers.exit_code(number) is not None, seconds=20)
        assert workers.exit_code(number) == -signal.SIGKILL
        with open(run / ".lock") as lock:
            wait_until(lambda: _is_free(lock), seconds=20)
        again = workers.start(MODULE, stage_folder, stage_folder / LOG, cores=1)  # by another one
        workers.interrupt(again)
        wait_until(lambda: workers.exit_code(again) is not None, seconds=60)
        assert workers.exit_code(again) == 130


def _is_free(lock) -> bool:
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_no_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="workers is 0"):
        run_stages([DATA], tmp_path, manifest=MANIFEST, workers=0)
