"""Augmenting a batch: real steps change as configured, all steps of a window equally."""

from __future__ import annotations

import torch
from factories import generator, make_batch

from manyparts.training.augmentation import augment
from manyparts.training.config import AugmentationConfig


def test_state_noise_offsets_whole_windows():
    batch = make_batch(200)
    augmented = augment(batch, AugmentationConfig(state_noise=0.5), generator())
    offset = augmented.state - batch.state
    assert not offset[~batch.mask].any()
    first, real = offset[:, :1].expand_as(offset), batch.mask[..., None]
    assert torch.allclose(offset * real, first * real, atol=1e-6)
    assert 0.4 < float(offset[:, 0].std()) < 0.6
    assert all(torch.equal(augmented.images[name], batch.images[name]) for name in batch.images)
    assert torch.equal(augmented.expert_action, batch.expert_action)


def test_no_augmentation_changes_nothing():
    batch = make_batch()
    same = augment(batch, AugmentationConfig(), generator())
    assert torch.equal(same.state, batch.state)
    assert all(torch.equal(same.images[name], batch.images[name]) for name in batch.images)
