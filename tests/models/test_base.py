"""Every model that can be trained has what training and objectives ask of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from factories import STATE, make_model_config, make_spec
from torch import nn

from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.base import ImageModel, TrainableModel
from manyparts.models.configs import (
    ControlTransformerConfig,
    KeypointEncoderConfig,
    RepresentationConfig,
    sees_images,
)
from manyparts.models.dynamics.configs import LatentWorldConfig, TaughtWorldConfig, TeacherConfig
from manyparts.objectives.system import MODELS

SMALL: dict[type, Any] = {
    ControlTransformerConfig: make_model_config(),
    TaughtWorldConfig: TaughtWorldConfig(
        teachers=(
            TeacherConfig(LatentWorldConfig(width=8), ("a",), cameras={}, state=STATE, action=2),
        )
    ),
    RepresentationConfig: RepresentationConfig(KeypointEncoderConfig(8, ((8, 3, 1),)), width=8),
}
EMBODIMENTS = EmbodimentSet((make_spec(),))
every_kind = pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)


def make_model(kind: type) -> Any:
    torch.manual_seed(0)
    return MODELS[kind].model(SMALL.get(kind, kind()), EMBODIMENTS, chunk=1, steps=3)


@every_kind
def test_every_model_is_a_trainable_model(kind: type) -> None:
    model = make_model(kind)
    assert isinstance(model, nn.Module) and isinstance(model, TrainableModel)
    # The protocol is a base class, so `isinstance` alone would not notice what is missing.
    missing = [name for name in TrainableModel.__annotations__ if not hasattr(model, name)]
    assert not missing
    assert type(model.config) is kind and model.embodiments is EMBODIMENTS
    assert (model.chunk, model.steps) == (1, 3)
    assert model.load_pretrained() == () and model.reward_limit > 0


@every_kind
def test_encoder_names_are_parameter_prefixes(kind: type) -> None:
    model = make_model(kind)
    names = [name for name, _ in model.named_parameters()]
    for prefix in model.encoder_names:
        assert any(name.startswith(prefix) for name in names), prefix


@every_kind
def test_models_of_images_have_visual_features(kind: type) -> None:
    model = make_model(kind)
    assert isinstance(model, ImageModel) == sees_images(model.config) == bool(model.encoder_names)
    if isinstance(model, ImageModel):
        frames = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
        assert model.visual_features(frames, "front").shape[0] == 2


def test_prompt_encoder_is_the_models_own() -> None:
    """A value in the protocol would hide the submodule."""
    model = make_model(ControlTransformerConfig)
    assert model.prompt_encoder is model.get_submodule("prompt_encoder")
