"""Attention masks, token by token."""

from __future__ import annotations

import pytest
import torch

from manyparts.nn.masks import attention_pattern, sliding_window, with_prefix, with_queries

VISUAL, STATE, ACTION = 0, 2, 3


def sees(pattern: str, query: tuple[int, int], key: tuple[int, int]) -> bool:
    allowed = attention_pattern(pattern, steps=4, visual=2)
    return bool(allowed[query[0] * 4 + query[1], key[0] * 4 + key[1]])


@pytest.mark.parametrize("pattern", ["causal", "inverse", "visual"])
def test_no_pattern_lets_tokens_see_future(pattern):
    allowed = attention_pattern(pattern, steps=4, visual=2)
    step = torch.arange(16) // 4
    assert not allowed[step[:, None] < step[None, :]].any()
    assert allowed.diagonal().all()


@pytest.mark.parametrize("pattern", ["causal", "inverse"])
def test_observation_tokens_see_each_other(pattern):
    assert sees(pattern, (1, VISUAL), (1, STATE)) and sees(pattern, (1, STATE), (1, VISUAL))


def test_inferred_action_is_hidden_from_observations():
    assert sees("causal", (2, STATE), (1, ACTION)) and not sees("causal", (1, STATE), (1, ACTION))
    assert sees("inverse", (2, STATE), (0, ACTION)) and not sees("inverse", (2, STATE), (1, ACTION))
    assert sees("inverse", (2, ACTION), (1, ACTION))


def test_visual_tokens_see_only_pixels():
    assert sees("visual", (2, VISUAL), (1, VISUAL))
    assert not sees("visual", (2, VISUAL), (1, STATE)) and not sees(
        "visual", (2, VISUAL), (0, ACTION)
    )


def test_full_pattern_allows_everything():
    assert attention_pattern("full", steps=3, visual=1).all()


def test_prefix_sees_only_itself():
    real = torch.tensor([[True, True, False], [True, False, False]])
    allowed = with_prefix(attention_pattern("causal", steps=2, visual=1), real)
    assert allowed.shape == (2, 1, 9, 9)
    assert (allowed[:, 0, :, :3] == real[:, None]).all()
    assert not allowed[:, 0, :3, 3:].any()
    assert (allowed[:, 0, 3:, 3:] == attention_pattern("causal", steps=2, visual=1)).all()


def test_sliding_window_hides_old_steps():
    steps = torch.tensor([0, 0, 1, 1, 2, 2])
    allowed = sliding_window(steps, 2)
    assert allowed[5].tolist() == [False, False, True, True, True, True]
    assert allowed[2].tolist() == [True, True, True, False, False, False]


def test_queries_are_hidden_from_all_tokens():
    allowed = with_queries(torch.ones(3, 3, dtype=torch.bool), torch.eye(2, 3, dtype=torch.bool))
    assert allowed[:, 3:].tolist() == [[False] * 2] * 3 + [[True, False], [False, True]]
    assert allowed[3:, :3].tolist() == [[True, False, False], [False, True, False]]
