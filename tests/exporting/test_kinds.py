"""Every kind of policy acts equally once it is exported, whatever writes its graphs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from factories import (
    INSTRUCTIONS_ALONE,
    make_discrete_spec,
    make_model_config,
    make_prompt_config,
    make_spec,
    make_system,
)

from manyparts.agents.exported import load_exported
from manyparts.core.errors import UserError
from manyparts.core.serialisation import to_jsonable
from manyparts.core.spec import Spec, TaskEntry
from manyparts.data.sampling.config import WindowConfig
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.embodiment.statistics import FeatureStatistics, Statistics
from manyparts.models.checkpoint import CheckpointInfo, save_checkpoint
from manyparts.models.configs import BinnedActionConfig, KeypointEncoderConfig, ViTConfig
from manyparts.objectives.configs import BehaviourCloningConfig

IMAGES = WindowConfig(steps=3, chunk=2, goal_image=True, demonstration_frames=2)
ALONE = replace(IMAGES, steps=1)
ONE = make_spec()
OTHER = replace(make_spec(cameras=("front", "wrist"), action=3), embodiment="other")
BLIND = replace(ONE, state_names=(), embodiment="blind")
CHOICES = replace(make_discrete_spec(), embodiment="choices")
VIT = {"encoder": ViTConfig(width=8, patch=8, layers=1, heads=2)}
KINDS: dict[str, tuple[tuple[Spec, ...], WindowConfig, dict[str, Any]]] = {
    "plain": ((ONE,), ALONE, {}),
    "no prompt": ((ONE,), INSTRUCTIONS_ALONE, {"prompt": None}),
    "prefix": ((ONE,), IMAGES, {"prompt": make_prompt_config(conditioning="prefix")}),
    "vit": ((ONE,), IMAGES, VIT),
    "keypoints": ((ONE,), ALONE, {"encoder": KeypointEncoderConfig(maps=4, layers=((4, 3, 2),))}),
    "two robots": ((ONE, OTHER), IMAGES, {}),
    "the other of two": ((OTHER, ONE), IMAGES, {}),
    "no state": ((BLIND,), INSTRUCTIONS_ALONE, {}),
    "choices": ((CHOICES,), INSTRUCTIONS_ALONE, {}),
    "bins": ((ONE,), ALONE, {"action": BinnedActionConfig(bins=16)}),
}


def make_run(
    folder: Path, specs: tuple[Spec, ...], window: WindowConfig, changes: dict[str, Any]
) -> Path:
    """A run of random weights, none of which are zero."""
    objectives = {"behaviour_cloning": BehaviourCloningConfig(hidden=16, attention="causal")}
    info = CheckpointInfo(
        embodiments=tuple(_embodiment(spec) for spec in specs),
        model=to_jsonable(make_model_config(**changes)),
        objectives=to_jsonable(objectives),
        window=to_jsonable(window),
        provenance={},
    )
    system = make_system(objectives=objectives, window=window, spec=EmbodimentSet(specs), **changes)
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    save_checkpoint(folder / "checkpoints" / "last", system, info)
    return folder


def _embodiment(spec: Spec) -> Embodiment:
    ones = (1.0,) * len(spec.state_names)
    state = FeatureStatistics(10, min=ones, max=ones, mean=ones, std=ones)
    return Embodiment(
        spec, {}, Statistics({"observation.state": state}), (TaskEntry("task", "go"),)
    )


@pytest.mark.slow
def test_a_chunk_that_is_not_the_graphs_is_refused(tmp_path: Path) -> None:
    export("no prompt", "tracing", tmp_path)
    path = tmp_path / "exported" / "contract.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chunk": 9}))
    with pytest.raises(UserError, match=r"its chunk is 9, and that of policy\.onnx is 2"):
        load_exported(path.parent)


@pytest.mark.parametrize("how", ["torch.export", "tracing", "torch"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_every_kind_is_exported(kind: str, how: str, tmp_path: Path) -> None:
    contract = export(kind, how, tmp_path)
    assert [each["decisions"] for each in contract["parity"]] == [6, 18, 30]
    assert all(each["worst"] < 1e-5 for each in contract["parity"])


def export(kind: str, how: str, tmp_path: Path) -> dict[str, Any]:
    """The contract of an exported policy of random weights."""
    specs, window, changes = KINDS[kind]
    run, output = make_run(tmp_path / "run", specs, window, changes), tmp_path / "exported"
    # Exporters trace with numbers that the tests' checks of types take for wrong ones.
    command = [sys.executable, "-m", "manyparts", "export", str(run), "--output", str(output)]
    command += ["--format", "torch"] if how == "torch" else ["--exporter", how]
    command += ["--embodiment", specs[0].embodiment] if len(specs) > 1 else []
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert not done.stderr
    contract: dict[str, Any] = json.loads((output / "contract.json").read_text())
    return contract
