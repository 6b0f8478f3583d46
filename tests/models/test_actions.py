"""Discrete actions: an index on disk, a bin's centre for the model, and the index again for the
simulator."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from factories import generator, make_discrete_spec
from torch.nn import functional as F

from manyparts.agents.random import RandomAgent
from manyparts.core.spec import ActionContract
from manyparts.models.actions import ActionEmbedding, ActionHead, fitted
from manyparts.models.configs import BinnedActionConfig, ContinuousActionConfig

NAMES = tuple("abcdefg")


def contract(choices: int) -> ActionContract:
    return ActionContract.discrete(NAMES[:choices], frame="body", control_rate_hz=1.0)


@pytest.mark.parametrize("choices", [2, 3, 4, 7])
def test_every_choice_survives_bins(choices: int) -> None:
    indices = np.arange(choices, dtype=np.float32)[:, None]
    scaled = contract(choices).normalise(indices)
    head = ActionHead(
        fitted(ContinuousActionConfig(), contract(choices)), 8, hidden=8, chunk=1, dimension=1
    )
    assert head.bins is not None
    encoded = head.bins.encode(torch.from_numpy(scaled))
    assert encoded.flatten().tolist() == list(range(choices))
    np.testing.assert_array_equal(contract(choices).denormalise(scaled), indices)
    np.testing.assert_array_equal(
        contract(choices).denormalise(head.bins.decode(encoded).numpy()), indices
    )


def test_executed_action_is_a_choice() -> None:
    out_of_range = np.array([[-9.0], [-0.5], [0.4], [1.6], [2.5], [9.0]], np.float32)
    assert contract(3).executed(out_of_range).flatten().tolist() == [0, 0, 0, 2, 2, 2]
    assert contract(4).executed(np.array([3.5])).tolist() == [3]


def test_contract_survives_json_with_default_choices() -> None:
    own = contract(3)
    assert ActionContract.from_dict(own.to_dict()) == own
    old = {key: value for key, value in own.to_dict().items() if key != "choices"}
    assert ActionContract.from_dict(old).choices == ()


def test_random_agent_draws_choices_uniformly() -> None:
    agent, carry, taken = RandomAgent(make_discrete_spec(), seed=0), None, Counter()
    for _ in range(1500):
        action, carry = agent.act(carry, None, None, explore=True)
        taken[float(action[0])] += 1
    assert taken.keys() == {0.0, 1.0, 2.0} and min(taken.values()) > 420


def test_loss_is_cross_entropy_over_choices() -> None:
    config = fitted(BinnedActionConfig(bins=256), contract(4))
    head = ActionHead(config, 8, hidden=8, chunk=2, dimension=1)
    parameters = head(torch.randn(3, 5, 8, generator=generator()))
    index = torch.randint(0, 4, (3, 5, 2, 1), generator=generator(1))
    action = torch.from_numpy(contract(4).normalise(index.numpy()))
    expected = F.cross_entropy(parameters.flatten(0, -2), index.flatten(), reduction="none")
    torch.testing.assert_close(head.loss(parameters, action).flatten(), expected)


def test_exploring_draws_choices_by_probability() -> None:
    head = ActionHead(
        fitted(ContinuousActionConfig(), contract(3)), 8, hidden=8, chunk=1, dimension=1
    )
    logits = torch.tensor([0.2, 0.7, 0.1]).log().expand(4000, 1, 1, 1, 3)
    best, drawn = (
        contract(3).denormalise(head.decode(logits, draw).numpy()) for draw in (None, generator())
    )
    assert set(best.flatten().tolist()) == {1.0}
    fractions = np.bincount(drawn.astype(int).flatten(), minlength=3) / drawn.size
    np.testing.assert_allclose(fractions, [0.2, 0.7, 0.1], atol=0.03)


def test_choices_have_distinct_embeddings() -> None:
    embedding = ActionEmbedding(
        fitted(ContinuousActionConfig(), contract(3)), 16, chunk=1, dimension=1
    )
    assert embedding.tables.shape[:2] == (1, 3)
    action = torch.from_numpy(contract(3).normalise(np.arange(3.0).reshape(3, 1, 1, 1)))
    tokens = embedding(action, torch.ones_like(action, dtype=torch.bool))
    assert torch.cdist(tokens[:, 0], tokens[:, 0])[~torch.eye(3, dtype=torch.bool)].min() > 0
