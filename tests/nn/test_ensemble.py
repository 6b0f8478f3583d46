"""A batched ensemble equals its members one by one."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from manyparts.nn.ensemble import EnsembleMlp


def test_batched_product_equals_each_members_network() -> None:
    torch.manual_seed(0)
    network, x = EnsembleMlp(3, (4, 8, 8, 2)), torch.randn(3, 5, 4)
    together = network(x)
    for member in range(3):
        alone = x[member]
        for number, layer in enumerate(network.layers):
            alone = F.silu(alone) if number else alone
            alone = alone @ layer.weight[member] + layer.bias[member, 0]
        torch.testing.assert_close(together[member], alone)


def test_chosen_members_keep_requested_order() -> None:
    torch.manual_seed(0)
    network, x = EnsembleMlp(3, (4, 8, 2)), torch.randn(1, 5, 4)
    whole, chosen = network(x.expand(3, -1, -1)), torch.tensor([2, 0])
    torch.testing.assert_close(network(x.expand(2, -1, -1), chosen), whole[chosen])


def test_initial_weights_differ_within_two_stds() -> None:
    torch.manual_seed(0)
    weight = EnsembleMlp(2, (16, 64)).layers[0].weight
    assert not torch.allclose(weight[0], weight[1])
    assert weight.abs().max() <= 0.25 and 0.1 < weight.std() < 0.13
