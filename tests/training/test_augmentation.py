"""Augmenting a batch: what is asked for changes, real steps alone, all steps of a window alike."""

from __future__ import annotations

import torch
from factories import generator, make_batch

from manyparts.training.augmentation import augment
from manyparts.training.config import AugmentationConfig


def test_states_of_a_window_move_by_one_offset_and_nothing_else_moves():
    batch = make_batch(200)
    moved = augment(batch, AugmentationConfig(state_noise=0.5), generator())
    offset = moved.state - batch.state
    assert not offset[~batch.mask].any()
    first, real = offset[:, :1].expand_as(offset), batch.mask[..., None]
    assert torch.allclose(offset * real, first * real, atol=1e-6)
    assert 0.4 < float(offset[:, 0].std()) < 0.6
    assert all(torch.equal(moved.images[name], batch.images[name]) for name in batch.images)
    assert torch.equal(moved.expert_action, batch.expert_action)


def test_no_augmentation_changes_nothing():
    batch = make_batch()
    same = augment(batch, AugmentationConfig(), generator())
    assert torch.equal(same.state, batch.state)
    assert all(torch.equal(same.images[name], batch.images[name]) for name in batch.images)
