"""metrics.jsonl holds each step once, whatever was killed; the meter's means survive a
checkpoint."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from manyparts.core.errors import SurroundingsWarning, UserError
from manyparts.training.metrics import Meter, Metrics
from manyparts.training.trackers import require_tracker


def test_resuming_cuts_later_rows_off(tmp_path):
    with Metrics(tmp_path, 0) as metrics:
        for step in (2, 4, 6):
            metrics.write({"step": step, "loss": step / 8})
    with Metrics(tmp_path, 4) as metrics:
        metrics.write({"step": 6, "loss": 1.5})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"step": 2, "loss": 0.25}, {"step": 4, "loss": 0.5}, {"step": 6, "loss": 1.5}]


def test_half_written_rows_are_cut_off(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 2, "loss": 0.5}\n{"step": 4, "lo')
    Metrics(tmp_path, 4).close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 2, "loss": 0.5}\n'


def test_rows_go_to_an_installed_tensorboard(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with Metrics(tmp_path, 0) as metrics:
        metrics.write({"step": 2, "loss/cloning": 0.5})
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss/cloning")] == [(2, 0.5)]


class BrokenModule(ModuleType):
    """Installed, but its versions do not fit together: no ImportError."""

    def __getattr__(self, name: str) -> object:
        raise TypeError("Descriptors cannot be created directly.\nIf this call came from ...")


class BrokenWriter:
    def __init__(self, folder: str, **options: object) -> None:
        pass

    def add_scalar(self, *values: object) -> None:
        raise AttributeError("module 'numpy' has no attribute 'bool'")


@pytest.mark.parametrize(
    "broken", [BrokenModule("tensorboard"), SimpleNamespace(SummaryWriter=BrokenWriter)]
)
def test_a_broken_tensorboard_stops_nothing(tmp_path, monkeypatch, broken):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", broken)
    says = pytest.warns(
        SurroundingsWarning, match=r"TensorBoard .* does not work \(\w+Error: [^\n]*\)"
    )
    with says as warned, Metrics(tmp_path, 0) as metrics:
        for step in (1, 2):
            metrics.write({"step": step, "loss": 0.5})
    assert len(warned) == 1 and len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow  # `make test-slow` installs it, with the twenty packages that it needs
def test_wandb_gets_rows_without_network(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    (tmp_path / "config.json").write_text('{"steps": 4}')
    with Metrics(tmp_path, 0, "wandb") as metrics:
        for step in (2, 4):
            metrics.write({"step": step, "loss/cloning": step / 8})
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    deadline = time.monotonic() + 60  # its own process writes the file, after a run is finished
    while b"loss/cloning" not in file.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert b"loss/cloning" in file.read_bytes() and b"steps" in file.read_bytes()


class RecordingWandb(ModuleType):
    """Keeps what it is given, and fails from step 6 on."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.rows, self.started, self.finished = [], {}, 0

    def Settings(self, **settings: object) -> dict[str, object]:
        return settings

    def init(self, **settings: object) -> RecordingWandb:
        self.started = settings
        return self

    def log(self, numbers: dict[str, float], step: int) -> None:
        if step >= 6:
            raise RuntimeError("the service has ended")
        self.rows.append((step, numbers))

    def finish(self) -> None:
        self.finished += 1


def test_wandb_is_offline_unless_asked(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", wandb := RecordingWandb())
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with Metrics(tmp_path, 0, "wandb") as metrics:
        metrics.write({"step": 2, "loss": 0.5})
    assert wandb.rows == [(2, {"loss": 0.5})] and wandb.finished == 1
    assert wandb.started["mode"] == "offline" and wandb.started["dir"] == str(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "online")
    Metrics(tmp_path, 0, "wandb").close()
    assert wandb.started["mode"] == "online"


def test_a_broken_wandb_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", RecordingWandb())
    with (
        pytest.warns(SurroundingsWarning, match=r"wandb .* does not work \(RuntimeError: "),
        Metrics(tmp_path, 0, "wandb") as metrics,
    ):
        for step in (4, 6, 8):
            metrics.write({"step": step, "loss": 0.5})
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_tracker_that_lost_its_connection_stops_nothing(tmp_path, monkeypatch):
    """It is an OSError, and no error of the disk."""

    def lost(*_):
        raise BrokenPipeError("the service is gone")

    monkeypatch.setattr("manyparts.training.trackers.begin", lost)
    with (
        pytest.warns(SurroundingsWarning, match=r"does not work \(BrokenPipeError: "),
        Metrics(tmp_path, 0, "wandb") as metrics,
    ):
        metrics.write({"step": 4, "loss": 0.5})
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


def test_a_missing_tracker_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"^track needs wandb.*: pip install .*wandb"):
        require_tracker("wandb")
    with pytest.raises(UserError, match=r"^track is 'comet'; choices: tensorboard, wandb, mlflow"):
        require_tracker("comet")
    require_tracker(None)


@pytest.mark.skipif(
    not Path("/dev/full").is_char_device(), reason="needs a device that is always full"
)
def test_a_full_disk_is_one_line(tmp_path):
    metrics = Metrics(tmp_path, 0)
    metrics._file.close()
    metrics._file = Path("/dev/full").open("a", encoding="utf-8")  # noqa: SIM115
    with (
        pytest.raises(UserError, match=r"cannot write .*metrics\.jsonl: No space left on device"),
        metrics,
    ):
        metrics.write({"step": 1})


def test_meters_average_and_start_again():
    meter = Meter()
    meter.add({"loss": 1.0, "norm": 2.0})
    meter = Meter(meter.sums)
    meter.add({"loss": 2.0})
    assert meter.take() == {"loss": 1.5, "norm": 2.0}
    assert meter.take() == {}
