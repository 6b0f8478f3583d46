"""`manyparts track` gives a run's rows to a tracker, and refuses what is no run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from manyparts.cli import main
from manyparts.core.errors import UserError
from manyparts.training.tracker_replay import replay

TRACKERS = Path(__file__).parents[2] / ".peers-trackers" / "bin" / "python"
ROWS = [{"step": step, "loss/cloning": step / 8, "note": "x"} for step in (2, 4, 6)]
# Each reads what it was given by its own program.
READ = {
    "mlflow": """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=f"sqlite:///{sys.argv[1]}/mlflow.db")
experiment = client.get_experiment_by_name("manyparts")
runs = client.search_runs([experiment.experiment_id])
points = client.get_metric_history(runs[0].info.run_id, "loss/cloning")
print(json.dumps([len(runs), [[each.step, each.value] for each in points], runs[0].data.params]))
""",
    "trackio": """
import json, sys
from trackio.sqlite_storage import SQLiteStorage
runs = SQLiteStorage.get_runs("manyparts")
points = SQLiteStorage.get_logs("manyparts", runs[0])
points = [[each["step"], each["loss/cloning"]] for each in points]
print(json.dumps([len(runs), points, {"batch.size": "8"}]))
""",
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"steps": 8, "batch": {"size": 8}}))
    rows = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "metrics.jsonl").write_text(rows + '{"step": 8, "lo')  # it was killed
    return folder


def test_rows_reach_tensorboard_once(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert main(["track", str(run), "--to", "tensorboard"]) == 0
    said = capsys.readouterr().out
    assert "3 rows up to step 6 to tensorboard" in said
    assert "it was to have 8 steps" in said and "no numbers: note" in said
    events = accumulator.EventAccumulator(str(run / "tensorboard")).Reload()
    points = [(each.step, each.value) for each in events.Scalars("loss/cloning")]
    assert points == [(row["step"], row["loss/cloning"]) for row in ROWS]
    with pytest.raises(UserError, match=r"has these curves already$"):
        replay(run, "tensorboard")


def test_curves_that_failed_are_not_in_the_way(run: Path) -> None:
    pytest.importorskip("tensorboard")
    whole = (run / "metrics.jsonl").read_text()
    rows = whole.rpartition("\n")[0]
    (run / "metrics.jsonl").write_text(f'{rows}\n{{"step": {2**70}, "loss/cloning": 1}}\n')
    (run / "config.json").write_text("{torn")
    with pytest.raises(UserError, match="tensorboard failed on"):
        replay(run, "tensorboard")
    (run / "metrics.jsonl").write_text(whole)
    assert replay(run, "tensorboard").rows == 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[1, 2]\n", r"line 1 is no row with a step: \[1, 2\]"),
        ('{"loss": 1}\n', "line 1 is no row with a step"),
        ('{"step": true}\n', "line 1 is no row with a step"),
        ("", "has no rows yet"),
        ('{"step": 2', "has no rows yet"),
    ],
)
def test_torn_metrics_are_refused(run: Path, line: str, reason: str) -> None:
    (run / "metrics.jsonl").write_text(line)
    with pytest.raises(UserError, match=reason):
        replay(run, "tensorboard")
    assert not (run / "tensorboard").exists()


def test_refusals_name_the_choices(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown tracker 'wanb'; did you mean wandb"):
        replay(run, "wanb")
    with pytest.raises(UserError, match=r"has no metrics\.jsonl; expected the folder of a run"):
        replay(run.parent, "tensorboard")
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(UserError, match="needs trackio: pip install trackio"):
        replay(run, "trackio")


@pytest.mark.slow
@pytest.mark.parametrize("tracker", READ)
def test_programs_of_others_hold_the_rows(run: Path, tracker: str, tmp_path: Path) -> None:
    if not TRACKERS.exists():
        pytest.skip("scripts/peers/install_trackers.sh installs mlflow and trackio")
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
        "TRACKIO_DIR": str(tmp_path / "trackio"),
    }

    def python(*arguments: str) -> str:
        command = [str(TRACKERS), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
        assert not done.returncode, done.stderr[-3000:]
        return done.stdout

    said = python("-m", "manyparts", "track", str(run), "--to", tracker)
    assert f"3 rows up to step 6 to {tracker}" in said
    runs, points, config = json.loads(python("-c", READ[tracker], str(run)).splitlines()[-1])
    assert runs == 1 and points == [[row["step"], row["loss/cloning"]] for row in ROWS]
    assert config["batch.size"] == "8"
