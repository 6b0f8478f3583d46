"""Attention patterns, token by token, for two visual tokens."""

from __future__ import annotations

import pytest
import torch

from manyparts.nn.masks import attention_pattern, with_prefix

VISUAL, STATE, ACTION = 0, 2, 3


def sees(pattern: str, query: tuple[int, int], key: tuple[int, int]) -> bool:
    allowed = attention_pattern(pattern, steps=4, visual=2)
    return bool(allowed[query[0] * 4 + query[1], key[0] * 4 + key[1]])


@pytest.mark.parametrize("pattern", ["causal", "inverse", "visual"])
def test_nothing_sees_the_future_and_everything_sees_itself(pattern):
    allowed = attention_pattern(pattern, steps=4, visual=2)
    step = torch.arange(16) // 4
    assert not allowed[step[:, None] < step[None, :]].any()
    assert allowed.diagonal().all()


@pytest.mark.parametrize("pattern", ["causal", "inverse"])
def test_observation_tokens_of_a_step_see_each_other_both_ways(pattern):
    assert sees(pattern, (1, VISUAL), (1, STATE)) and sees(pattern, (1, STATE), (1, VISUAL))


def test_observations_see_past_actions_but_not_the_one_to_be_inferred():
    assert sees("causal", (2, STATE), (1, ACTION)) and not sees("causal", (1, STATE), (1, ACTION))
    assert sees("inverse", (2, STATE), (0, ACTION)) and not sees("inverse", (2, STATE), (1, ACTION))
    assert sees("inverse", (2, ACTION), (1, ACTION))


def test_visual_tokens_see_pixels_alone():
    assert sees("visual", (2, VISUAL), (1, VISUAL))
    assert not sees("visual", (2, VISUAL), (1, STATE)) and not sees(
        "visual", (2, VISUAL), (0, ACTION)
    )


def test_full_sees_everything():
    assert attention_pattern("full", steps=3, visual=1).all()


def test_a_prefix_is_seen_where_it_is_real_and_sees_itself_alone():
    real = torch.tensor([[True, True, False], [True, False, False]])
    allowed = with_prefix(attention_pattern("causal", steps=2, visual=1), real)
    assert allowed.shape == (2, 1, 9, 9)
    assert (allowed[:, 0, :, :3] == real[:, None]).all()
    assert not allowed[:, 0, :3, 3:].any()
    assert (allowed[:, 0, 3:, 3:] == attention_pattern("causal", steps=2, visual=1)).all()
