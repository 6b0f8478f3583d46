"""Presets that tune a trained agent on a few demonstrations of a new task."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from manyparts import methods
from manyparts.cli import main
from manyparts.core.errors import UserError
from manyparts.envs.base import EnvConfig
from manyparts.models.checkpoint import load_info, read_weights, resolve
from manyparts.rollout.collect import collect
from manyparts.training.train import train


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("agent")
    collect(["pointmass/reach-red"], episodes=3, output=folder / "data")
    collect(["pointmass/reach-blue"], episodes=2, output=folder / "new")
    data = ["--data", str(folder / "data")]
    assert main(["train", "dualmind/phase1-debug", *data, "--output", str(folder / "phase1")]) == 0
    start = ["--from", str(folder / "phase1"), "--output", str(folder / "phase2")]
    assert main(["train", "dualmind/phase2-debug", *data, *start]) == 0
    return folder


@pytest.mark.slow
def test_tuning_trains_all_but_the_encoder(agent: Path, tmp_path: Path) -> None:
    start = ["--from", str(agent / "phase2"), "--output", str(tmp_path / "tuned")]
    assert main(["train", "dualmind/tune-debug", "--data", str(agent / "new"), *start]) == 0
    before, after = (
        read_weights(resolve(run) / "model.safetensors")
        for run in (agent / "phase2", tmp_path / "tuned")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and not any("encoder" in name and "prompt" not in name for name in changed)
    assert [task.name for task in load_info(resolve(tmp_path / "tuned")).tasks] == [
        "pointmass/reach-blue"
    ]


@pytest.mark.parametrize("size", ["debug", "laptop", "metaworld45"])
def test_tuning_fits_agents_of_its_size(size: str) -> None:
    tuned, trained = (methods.preset(f"dualmind/{phase}-{size}") for phase in ("tune", "phase2"))
    assert tuned.model == trained.model and tuned.window == trained.window
    assert tuned.validation_fraction == 0.0 and tuned.new_parameters == ()


def test_different_cameras_are_named_with_flags(agent: Path, tmp_path: Path) -> None:
    collect(
        ["pointmass/reach-red"],
        episodes=2,
        output=tmp_path / "small",
        config=EnvConfig(image_size=32),
    )
    start = {
        "data": tmp_path / "small",
        "output": tmp_path / "tuned",
        "start_from": agent / "phase2",
    }
    with pytest.raises(
        UserError,
        match=r"cameras: .*`manyparts collect` records the cameras of .* with --image-size 64",
    ):
        train(methods.preset("dualmind/tune-debug"), **start)
