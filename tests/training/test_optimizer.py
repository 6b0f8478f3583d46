"""What is trained, what decays, and the flat vector of gradients."""

from __future__ import annotations

import pytest
import torch
from factories import make_system
from torch import nn

from manyparts.core.errors import UserError
from manyparts.models.configs import BinnedActionConfig, ViTConfig
from manyparts.training.config import OptimizerConfig
from manyparts.training.optimizer import (
    build_optimizer,
    decayed,
    gradient_norm,
    set_training_mode,
    train_only,
    trained,
)


def test_only_matrices_have_weight_decay():
    vit = ViTConfig(width=8, patch=8, layers=1, heads=2)
    system = make_system(encoder=vit, action=BinnedActionConfig(bins=8))
    names = decayed(system)
    prefix = "model.embedding.encoders.front"
    for name in (
        "model.blocks.0.attention.query.weight",
        "model.blocks.1.feed_forward.0.weight",
        f"{prefix}.patch_embedding.weight",
        f"{prefix}.blocks.0.attention.output.weight",
        "model.action_embedding.project.weight",
        "objectives.behaviour_cloning.head.layers.0.weight",
    ):
        assert name in names, name
    for name in (
        "model.blocks.0.attention.query.bias",
        "model.blocks.0.attention_norm.weight",
        "model.norm.weight",
        "model.slot_embedding.weight",
        "model.step_embedding.weight",
        "model.action_embedding.tables",
        f"{prefix}.class_token",
        f"{prefix}.position_embedding",
        "model.prompt_encoder.text.word_embedding.weight",
        "objectives.masked_hindsight.hidden_observation",
    ):
        assert name not in names and name in dict(system.named_parameters()), name


def test_groups_hold_every_trained_parameter_once():
    system = make_system()
    optimizer = build_optimizer(system, OptimizerConfig(weight_decay=0.3))
    with_decay, without = optimizer.param_groups
    assert (with_decay["weight_decay"], without["weight_decay"]) == (0.3, 0.0)
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in trained(system).values())


def test_patterns_choose_what_is_trained():
    system = make_system()
    train_only(system, ["objectives.behaviour_cloning.*", "model.blocks.1.*"])
    assert {name.split(".")[0:3:2][-1] for name in trained(system)} == {"1", "head"}
    assert all(
        name.startswith(("objectives.behaviour_cloning.", "model.blocks.1."))
        for name in trained(system)
    )


def test_without_patterns_frozen_modules_stay_frozen():
    system = make_system()
    train_only(system, [])
    frozen = {name for name, parameter in system.named_parameters() if not parameter.requires_grad}
    assert frozen and all(name.startswith("objectives.forward_dynamics.target.") for name in frozen)


def test_patterns_do_not_train_frozen_modules():
    system = make_system()
    train_only(system, ["objectives.forward_dynamics.*"])
    assert not any(".target." in name for name in trained(system))


def test_patterns_without_match_are_named():
    with pytest.raises(
        UserError, match=r"pattern 'model\.vision\.\*' fits no parameter.*model\.blocks"
    ):
        train_only(make_system(), ["model.blocks.*", "model.vision.*"])


def test_frozen_modules_are_in_evaluation_mode():
    system = make_system(dropout=0.5)
    train_only(system, ["model.blocks.1.*"])
    set_training_mode(system)
    assert not system.model.embedding.training and not system.model.blocks[0].dropout.training
    assert system.model.blocks[1].training and system.model.blocks[1].dropout.training


def test_gradient_norm_is_over_all_gradients():
    layers = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    layers(torch.ones(1, 3)).sum().backward()
    joined = torch.cat([parameter.grad.flatten() for parameter in layers.parameters()])
    layers.append(nn.Linear(2, 2))  # takes no part
    torch.testing.assert_close(gradient_norm(list(layers.parameters())), joined.norm())
