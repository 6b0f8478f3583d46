"""Results lie where nothing deletes them, and give way to new ones only when these are whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evaluation.evaluating import make_run

from manyparts import cli
from manyparts.core.errors import UserError
from manyparts.core.storage.links import point_at
from manyparts.evaluation import running as module
from manyparts.evaluation.protocol import evaluate
from manyparts.evaluation.results import Result

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two checkpoints that differ."""
    runs = [make_run(tmp_path_factory.mktemp("agent") / "run", seed=seed) for seed in (3, 4)]
    return [run / "checkpoints/last" for run in runs]


@pytest.fixture
def train_on(agents: list[Path], tmp_path: Path) -> Callable[[], Path]:
    """Let the run have one more checkpoint, after which an older one is deleted, as training
    does."""
    done: list[str] = []

    def step() -> Path:
        name = f"{len(done) + 1:06d}"
        checkpoints = tmp_path / "run/checkpoints"
        shutil.copytree(agents[len(done)], checkpoints / name)
        point_at(checkpoints / "last", name)
        for old in done:
            shutil.rmtree(checkpoints / old)
        done.append(name)
        return tmp_path / "run"

    return step


def small(path: Path, **options: Any) -> Result:
    return evaluate(path, episodes=1, max_steps=3, workers=1, **options)


def test_results_outlive_their_checkpoint(train_on: Callable[[], Path], capsys) -> None:
    run = train_on()
    small(run / "checkpoints/000001")
    train_on()
    assert not (run / "checkpoints/000001").exists()
    assert (
        Result.load(run / "evaluation-000001")
        .provenance["checkpoint"]
        .endswith("checkpoints/000001")
    )
    assert cli.main(["report", str(run)]) == 0, "the results of a checkpoint are all that it has"
    assert "results of step 1, and the run is now at step 2" in capsys.readouterr().err
    assert (
        cli.main(["report", str(run / "checkpoints/000001")]) == 0
        and (run / "report-000001.html").exists()
    )
    former = run / "checkpoints/last/evaluation"  # where they lay once
    (run / "evaluation-000001").rename(former)
    assert (
        cli.main(["report", str(run / "checkpoints/last")]) == 0
        and (run / "report-000002.html").exists()
    )
    former.rename(run / "evaluation-000002")
    assert len(Result.load(run / "checkpoints/last").episodes) == 2


def test_run_trained_further_is_evaluated_again(train_on: Callable[[], Path], capsys) -> None:
    run = train_on()
    before = small(run)
    (run / "evaluation/notes.txt").write_text("precious")
    assert cli.main(["report", str(run)]) == 0 and "--overwrite" not in capsys.readouterr().err
    train_on()
    assert cli.main(["report", str(run)]) == 0
    assert "results of step 1, and the run is now at step 2" in capsys.readouterr().err
    command = ["evaluate", str(run), "--episodes", "1", "--max-steps", "3", "--workers", "1"]
    assert cli.main(command) == 2
    assert (
        "--overwrite evaluates again and then replaces the old results" in capsys.readouterr().err
    )
    assert cli.main([*command, "--overwrite"]) == 0
    after = Result.load(run)
    assert after.provenance["weights"] != before.provenance["weights"]
    assert (run / "evaluation/notes.txt").read_text() == "precious"
    assert {path.name for path in run.iterdir()} == {"checkpoints", "evaluation", "report.html"}
    assert cli.main([*command, "--overwrite"]) == 0, "what is whole stays"


@pytest.mark.slow
def test_old_results_stay_until_replaced(train_on: Callable[[], Path], monkeypatch) -> None:
    run = train_on()
    before = small(run)
    train_on()
    with monkeypatch.context() as patch:
        patch.setattr(
            Result, "save", lambda *arguments: (_ for _ in ()).throw(UserError("the disk is full"))
        )
        with pytest.raises(UserError, match="the disk is full"):
            small(run, overwrite=True)
    assert Result.load(run).to_dict() == before.to_dict()
    episodes = len((run / ".evaluation.next/episodes.jsonl").read_text().splitlines())
    assert episodes == len(before.episodes), "the next call goes on there"
    assert small(run, overwrite=True).provenance["weights"] != before.provenance["weights"]
    assert not (run / ".evaluation.next").exists()


@pytest.mark.slow
def test_checkpoint_deleted_while_it_is_evaluated(
    train_on: Callable[[], Path], monkeypatch
) -> None:
    run, missing = train_on(), module.run_missing

    def after_pruning(*arguments: Any) -> Any:
        train_on()
        return missing(*arguments)

    monkeypatch.setattr(module, "run_missing", after_pruning)
    result = small(run)
    assert result.provenance["checkpoint"].endswith("checkpoints/000001")
    written = {path.name for path in (run / "evaluation").iterdir()}
    assert written == {".lock", "episodes.jsonl", "manifest.json", "results.json"}
