"""The normalised GRU cell: its bias towards keeping its state, and its limits."""

from __future__ import annotations

import torch

from manyparts.nn.gru import NormGRUCell


def test_a_new_cell_keeps_most_of_its_state() -> None:
    torch.manual_seed(0)
    cell, state = NormGRUCell(3, 64), torch.randn(256, 64)
    moved = cell(torch.randn(256, 3), state)
    kept = (moved * state).sum() / state.square().sum()
    assert 0.6 < kept < 0.8  # sigmoid(-1) of the state is replaced: 0.73 stays


def test_states_stay_bounded() -> None:
    torch.manual_seed(0)
    cell, state = NormGRUCell(3, 16), torch.zeros(8, 16)
    for _ in range(200):
        state = cell(10 * torch.randn(8, 3), state)
    assert state.abs().max() <= 1


def test_gradients_of_a_step_are_exact() -> None:
    """The hand-written backward pass of the gates against finite differences."""
    torch.manual_seed(0)
    cell = NormGRUCell(2, 3).double()
    inputs = torch.randn(4, 2, dtype=torch.double, requires_grad=True)
    state = torch.randn(4, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(cell, (inputs, state))
