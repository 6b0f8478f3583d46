"""Values that cannot be are refused in one line that names them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from training.runs import first

from manyparts.core.errors import UserError
from manyparts.core.serialisation import from_jsonable, to_jsonable
from manyparts.methods import preset
from manyparts.training.config import AugmentationConfig, OptimizerConfig, TrainConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps is 0; expected at least 1"),
        ({"batch_size": -1}, "batch_size is -1; expected at least 1"),
        ({"ema_decay": 1.0}, r"ema_decay is 1.0; expected in \[0, 1\)"),
        ({"objectives": {}}, r"objectives is \{\}; expected at least one loss"),
        (
            {"batch_size": 8, "processes": 3},
            "batch_size is 8; expected a multiple of processes x accumulation = 3",
        ),
        ({"checkpoint_every_steps": 0}, "checkpoint_every_steps is 0; expected at least 1"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"),
        ({"log_gradients": True, "sharding": "fsdp"}, "expected False with sharding fsdp"),
    ],
)
def test_bad_values_of_a_run(changes, message):
    with pytest.raises(UserError, match=message):
        first(**changes)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (OptimizerConfig, {"learning_rate": 0.0}, "learning_rate is 0.0; expected above 0"),
        (OptimizerConfig, {"betas": (1.0, 0.95)}, r"betas is \(1.0, 0.95\); expected each in"),
        (OptimizerConfig, {"clip_norm": 0.0}, "clip_norm is 0.0; expected above 0"),
        (OptimizerConfig, {"final_fraction": 1.5}, r"final_fraction is 1.5; expected in \[0, 1\]"),
        (AugmentationConfig, {"resized_crop": (0.0, 1.0)}, r"resized_crop is \(0.0, 1.0\)"),
        (AugmentationConfig, {"brightness": 1.0}, "brightness is 1.0"),
        (AugmentationConfig, {"shift_pixels": -1}, "shift_pixels is -1"),
    ],
)
def test_bad_values_of_parts(kind, changes, message):
    with pytest.raises(UserError, match=message):
        kind(**changes)


@pytest.mark.parametrize("name", ["dreamer/debug", "vid2act/debug", "vid2act/world-debug"])
def test_worlds_of_latent_states_are_not_rounded(name):
    with pytest.raises(UserError, match="precision is 'bf16'; expected fp32 for a world of latent"):
        replace(preset(name), precision="bf16")


def test_a_config_comes_back_from_json():
    config = first(train_only=("model.*",), augmentation=AugmentationConfig(shift_pixels=2))
    assert from_jsonable(TrainConfig, to_jsonable(config)) == config
