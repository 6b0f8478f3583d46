"""TokenLearner: a token is the mean of patches, weighted by its attention maps."""

from __future__ import annotations

import pytest
import torch

from manyparts.nn.token_learner import TokenLearner


def test_token_is_attention_weighted_patch_mean():
    torch.manual_seed(0)
    learner, patches = TokenLearner(8, 3, maps=2), torch.randn(2, 9, 8)
    attention = learner.attention(patches)
    assert attention.shape == (2, 3, 2, 9)
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(2, 3, 2))
    halves = [attention[:, :, part] @ patches[..., 4 * part : 4 * part + 4] for part in range(2)]
    torch.testing.assert_close(learner(patches), torch.cat(halves, dim=-1))


def test_maps_must_divide_token_width():
    with pytest.raises(ValueError, match="width 8 is not a multiple of maps 3"):
        TokenLearner(8, 2, maps=3)
