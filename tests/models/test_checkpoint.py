"""Checkpoints: saved and loaded exactly, or refused with a list of what does not fit."""

from __future__ import annotations

import json
import resource
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from factories import make_spec
from torch import nn

from manyparts.core.errors import UserError
from manyparts.core.spec import TaskEntry
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.statistics import FeatureStatistics, Statistics
from manyparts.models import run_files
from manyparts.models.checkpoint import (
    CONFIG,
    WEIGHTS,
    CheckpointInfo,
    load_info,
    load_weights,
    read_weights,
    resolve,
    save_checkpoint,
)
from manyparts.models.run_files import results_folder

EMBODIMENT = Embodiment(
    spec=make_spec(),
    environment={"type": "EnvConfig", "image_size": 16},
    statistics=Statistics(
        {"observation.state": FeatureStatistics(3, (0.0,), (1.0,), (0.1,), (1 / 3,))}
    ),
    tasks=(
        TaskEntry("toy/reach", "reach the ball", ("touch the ball",)),
        TaskEntry("toy/push", "push"),
    ),
)
INFO = CheckpointInfo(
    embodiments=(EMBODIMENT,),
    model={"width": 3},
    objectives={},
    window={"steps": 4},
    provenance={"seed": 1, "commit": None},
)


class Toy(nn.Module):
    def __init__(self, *, width: int = 3, extra: bool = False):
        super().__init__()
        self.body = nn.Linear(2, width)
        self.register_buffer("count", torch.tensor(7))
        self.head = nn.Linear(width, 1) if extra else None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "saved", Toy(), INFO)
    return tmp_path / "saved"


def test_weights_and_info_survive_exactly(tmp_path):
    module, other = Toy(extra=True), Toy(extra=True)
    save_checkpoint(tmp_path / "saved", module, INFO)
    load_weights(other, tmp_path / "saved")
    assert all(
        torch.equal(value, other.state_dict()[name]) for name, value in module.state_dict().items()
    )
    assert load_info(tmp_path / "saved") == INFO
    assert {path.name for path in tmp_path.iterdir()} == {"saved"}


def test_saving_replaces_whole_folder(folder):
    (folder / "left_over").write_text("old")
    save_checkpoint(folder, Toy(), replace(INFO, provenance={"seed": 2}))
    assert load_info(folder).provenance == {"seed": 2}
    assert {path.name for path in folder.iterdir()} == {CONFIG, WEIGHTS}


def test_weights_have_file_mode_of_config(folder):
    assert stat.S_IMODE((folder / WEIGHTS).stat().st_mode) == stat.S_IMODE(
        (folder / CONFIG).stat().st_mode
    )


def test_tied_weights_are_saved_and_loaded(tmp_path):
    module = Toy(width=2)
    module.head = nn.Linear(2, 2)
    module.head.weight = module.body.weight
    save_checkpoint(tmp_path / "tied", module, INFO)
    other = Toy(width=2)
    other.head = nn.Linear(2, 2)
    load_weights(other, tmp_path / "tied")
    assert torch.equal(other.head.weight, module.body.weight)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Toy(extra=True), r"missing: head\.weight, head\.bias$"),
        (nn.Linear(2, 3), r"missing: weight, bias; unexpected: body\.bias, body\.weight, count"),
        (
            Toy(width=5),
            r"of another shape: body\.weight \(3, 2\) for \(5, 2\), body\.bias \(3,\) for \(5,\)",
        ),
    ],
)
def test_unfitting_weights_are_listed_without_changes(folder, module, message):
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(UserError, match=message):
        load_weights(module, folder)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_long_list_of_weights_is_shortened(tmp_path):
    save_checkpoint(tmp_path / "one", nn.Linear(1, 1), INFO)
    with pytest.raises(UserError, match=r"missing: 0\.weight, .* and 9 more; unexpected"):
        load_weights(nn.Sequential(*[nn.Linear(1, 1) for _ in range(7)]), tmp_path / "one")


def test_weights_that_may_miss_keep_values(folder):
    module = Toy(extra=True)
    fresh = module.head.weight.clone()
    load_weights(module, folder, may_miss=["head.*"])
    assert torch.equal(module.head.weight, fresh)
    assert torch.equal(module.body.weight, read_weights(folder / WEIGHTS)["body.weight"])
    with pytest.raises(UserError, match=r"missing: head\.bias$"):
        load_weights(module, folder, may_miss=["head.weight"])


def test_weights_that_may_miss_are_loaded(tmp_path):
    saved, module = Toy(extra=True), Toy(extra=True)
    save_checkpoint(tmp_path / "saved", saved, INFO)
    load_weights(module, tmp_path / "saved", may_miss=["head.*"])
    assert torch.equal(module.head.weight, saved.head.weight)


def test_ignored_weights_may_be_present(tmp_path):
    saved, module = Toy(extra=True), Toy()
    save_checkpoint(tmp_path / "saved", saved, INFO)
    with pytest.raises(UserError, match=r"unexpected: head\.bias, head\.weight"):
        load_weights(module, tmp_path / "saved")
    load_weights(module, tmp_path / "saved", ignore=["head.*"])
    assert torch.equal(module.body.weight, saved.body.weight)


@pytest.mark.parametrize("kept_bytes", [0, 5, 100, -1])
def test_damaged_weights_error_names_file(folder, kept_bytes):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:kept_bytes])
    with pytest.raises(UserError, match=r"saved/model\.safetensors cannot be read"):
        load_weights(Toy(), folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"spec": {}}', '{"spec": 3}'])
def test_damaged_description_error_names_file(folder, text):
    (folder / CONFIG).write_text(text)
    with pytest.raises(UserError, match=r"saved/config\.json is not a checkpoint's description"):
        load_info(folder)


@pytest.mark.parametrize("key", sorted(INFO.to_dict()))
def test_incomplete_description_error_names_key(folder, key):
    values = json.loads((folder / CONFIG).read_text())
    del values[key]
    (folder / CONFIG).write_text(json.dumps(values))
    with pytest.raises(UserError, match=key):
        load_info(folder)


def test_missing_files_are_named_in_errors(folder):
    (folder / WEIGHTS).unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        load_weights(Toy(), folder)
    (folder / CONFIG).unlink()
    with pytest.raises(UserError, match=r"config\.json is missing"):
        load_info(folder)


def test_run_path_means_last_checkpoint(folder, tmp_path):
    assert resolve(folder) == folder
    checkpoints = tmp_path / "run" / "checkpoints"
    save_checkpoint(checkpoints / "000010", Toy(), INFO)
    with pytest.raises(UserError, match=r"no checkpoint in "):
        resolve(tmp_path)
    (checkpoints / "last").symlink_to("000010")
    assert resolve(tmp_path / "run") == checkpoints / "000010"
    assert resolve(checkpoints / "last") in (checkpoints / "last", checkpoints / "000010")
    with pytest.raises(UserError, match=r"no run or checkpoint at .*nowhere"):
        resolve(tmp_path / "nowhere")


def test_shipped_checkpoint_is_resolved_by_name(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(run_files, "SHIPPED", folder.parent)
    monkeypatch.chdir(tmp_path)
    name = f"manyparts/{folder.name}"
    assert (resolve(name), results_folder(name, "evaluation")) == (
        folder,
        Path("runs") / folder.name / "evaluation",
    )
    with pytest.raises(UserError, match=f"no checkpoint manyparts/nobody .*choices: {folder.name}"):
        resolve("manyparts/nobody")
    save_checkpoint(Path(name), Toy(), INFO)
    resolved = (resolve(name), results_folder(name, "evaluation"))
    assert resolved == (Path(name), Path(name) / "evaluation"), "a folder of the user's comes first"


def test_failed_write_keeps_old_checkpoint(folder, tmp_path):
    """A limit on the size of files stands for a full disk: the operating system refuses in the
    middle of a write."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(folder, nn.Linear(1000, 10), INFO)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
