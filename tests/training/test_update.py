"""One optimiser step: sums, averages, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from factories import OBJECTIVES, generator, make_batch, make_system
from training.runs import first

from manyparts.core.records import Batch
from manyparts.objectives.configs import BehaviourCloningConfig
from manyparts.training import precision
from manyparts.training.config import OptimizerConfig, TrainConfig
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.update import Learner, NonFiniteError

CPU = torch.device("cpu")
CLONING = {"behaviour_cloning": BehaviourCloningConfig(hidden=16)}


def make_config(**changes) -> TrainConfig:
    optimizer = OptimizerConfig(learning_rate=1e-2, warmup_steps=0, weight_decay=0.1)
    return replace(first(), **{"objectives": CLONING, "optimizer": optimizer} | changes)


def make_learner(config: TrainConfig, **changes) -> Learner:
    return Learner(make_system(objectives=config.objectives, **changes), config, Ranks(), CPU)


def part(batch: Batch, rows: slice) -> Batch:
    """Some rows of a batch."""
    changes = {
        name: getattr(batch, name)[rows]
        for name in ("state", "action", "expert_action", "reward", "timestep", "mask", "chunk_mask")
    }
    changes |= {
        name: getattr(batch, name)[rows]
        for name in ("state_mask", "action_mask", "prompt", "window")
    }
    return Batch(
        images={name: value[rows] for name, value in batch.images.items()}, features={}, **changes
    )


def weights_of(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in learner.system.state_dict().items()}


def test_loss_is_the_weighted_sum():
    objectives = OBJECTIVES | {
        "inverse_dynamics": replace(OBJECTIVES["inverse_dynamics"], weight=0.25)
    }
    learner = make_learner(make_config(objectives=objectives))
    report = learner.step(0, {0: make_batch()})
    assert {f"loss/{name}" for name in objectives} | {"loss"} == report.losses.keys()
    expected = sum(
        config.weight * report.losses[f"loss/{name}"] for name, config in objectives.items()
    )
    assert report.losses["loss"] == pytest.approx(expected)


def test_logged_losses_are_means_over_elements():
    learner = make_learner(make_config())
    batch = make_batch(
        mask=torch.tensor([[True] * 4, [True, True, False, False], [True, False, False, False]])
    )
    expected = {
        name: float(loss.mean().detach())
        for name, loss in learner.system.losses(batch, generator()).items()
    }
    report = learner.step(0, {0: batch})
    assert report.losses["loss/behaviour_cloning"] == pytest.approx(expected["behaviour_cloning"])


def test_accumulated_parts_equal_whole_batches():
    config = make_config()
    whole, parts = make_learner(config), make_learner(config)
    batch = make_batch(4)
    for step in range(3):
        whole_report = whole.step(step, {0: batch})
        parts_report = parts.step(step, {0: part(batch, slice(0, 2)), 1: part(batch, slice(2, 4))})
        assert parts_report.losses["loss"] == pytest.approx(whole_report.losses["loss"], rel=1e-4)
        assert parts_report.gradient_norm == pytest.approx(whole_report.gradient_norm, rel=1e-3)


def test_what_is_frozen_keeps_its_bits():
    config = make_config(train_only=("objectives.behaviour_cloning.*", "model.blocks.1.*"))
    learner = make_learner(config, dropout=0.3)
    before = weights_of(learner)
    for step in range(3):
        learner.step(step, {0: make_batch(seed=step)})
    moved = {
        name for name, value in weights_of(learner).items() if not torch.equal(value, before[name])
    }
    assert moved
    assert all(
        name.startswith(("objectives.behaviour_cloning.", "model.blocks.1.")) for name in moved
    )


def test_dropout_is_a_function_of_step():
    config = make_config()
    one, two, other = make_learner(config, dropout=0.5), make_learner(config, dropout=0.5), None
    torch.manual_seed(1)
    first_report = one.step(3, {0: make_batch()})
    torch.manual_seed(2)
    assert two.step(3, {0: make_batch()}) == first_report
    other = make_learner(config, dropout=0.5)
    assert other.step(4, {0: make_batch()}).losses != first_report.losses


def test_averaged_weights_follow_with_their_decay():
    learner = make_learner(make_config(ema_decay=0.15))
    name = "objectives.behaviour_cloning.head.layers.0.weight"
    start = learner.system.state_dict()[name].clone()
    learner.step(0, {0: make_batch()})
    one = learner.system.state_dict()[name].clone()
    expected = 0.1 * start + 0.9 * one  # the decay is (1 + 0) / (10 + 0) at first
    torch.testing.assert_close(learner.averages.values[name], expected)
    learner.step(1, {0: make_batch()})
    expected = 0.15 * expected + 0.85 * learner.system.state_dict()[name]
    torch.testing.assert_close(learner.averages.values[name], expected)
    raw = learner.system.state_dict()[name].clone()
    with learner.averages.applied():
        torch.testing.assert_close(learner.system.state_dict()[name], expected)
    assert torch.equal(learner.system.state_dict()[name], raw)


def test_losses_not_finite_name_their_windows():
    learner = make_learner(make_config())
    learner.step(0, {0: make_batch(5)})
    before = weights_of(learner)
    action = make_batch(5).expert_action.clone()
    action[3, 0, 1, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="behaviour_cloning") as caught:
        learner.step(1, {0: make_batch(5, expert_action=action, window=torch.arange(5) * 10)})
    assert caught.value.windows == (30,)
    assert all(torch.equal(value, before[name]) for name, value in weights_of(learner).items())


def test_gradients_not_finite_move_nothing():
    learner = make_learner(make_config())
    with torch.no_grad():  # a loss of 0, its gradient 0 * inf
        learner.system.objectives["behaviour_cloning"].head.layers[0].weight[:] = 0
        learner.system.model.norm.weight[:] = 1e38
        learner.system.model.norm.bias[:] = 1e38
    before = weights_of(learner)
    with pytest.raises(NonFiniteError) as caught:
        learner.step(0, {0: make_batch(2, window=torch.tensor([7, 8]))})
    assert caught.value.names == ("the gradient",) and caught.value.windows == (7, 8)
    assert all(torch.equal(value, before[name]) for name, value in weights_of(learner).items())


@pytest.mark.parametrize("supported", [True, False])
def test_bf16_keeps_weights_in_float32(supported, monkeypatch):
    monkeypatch.setattr(precision, "_supports_bf16", lambda device: supported)
    learner = make_learner(make_config(precision="bf16"))
    exact = make_learner(make_config()).step(0, {0: make_batch()})
    report = learner.step(0, {0: make_batch()})
    assert report.losses["loss"] == pytest.approx(exact.losses["loss"], rel=0.05)
    assert (report.losses["loss"] != exact.losses["loss"]) == supported
    assert all(value.dtype == torch.float32 for value in learner.system.parameters())


def test_denormals_are_zero_only_in_training():
    small = torch.tensor([1e-39])
    with precision.flushed_denormals(CPU):
        assert (small * 0.5).item() == 0.0
    assert (small * 0.5).item() > 0


def test_flushed_numbers_give_no_numpy_warning() -> None:
    program = """
import numpy, torch
from manyparts.training.precision import flushed_denormals
with flushed_denormals(torch.device("cpu")):
    print(numpy.finfo(numpy.float32), numpy.finfo(numpy.float64))
"""
    subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program], check=True, capture_output=True
    )


def test_validation_has_no_effect_or_dropout():
    learner = make_learner(make_config(), dropout=0.5)
    before = weights_of(learner)
    one, two = (learner.evaluate(0, make_batch())["behaviour_cloning"].mean() for _ in range(2))
    assert torch.equal(one, two) and not one.requires_grad
    assert learner.system.model.blocks[0].dropout.training
    assert all(torch.equal(value, before[name]) for name, value in weights_of(learner).items())
