"""A hand's actions: what keys and pointers do in each kind of action, and what rests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from factories import make_discrete_spec, make_spec
from hypothesis import given
from hypothesis import strategies as st

from manyparts.core.spec import ActionContract, Spec
from manyparts.playing.hand import Hand, Wish

STATE = np.array([0.5, 0.25], np.float32)


def spec(representation: str, *names: str, low: float = -2.0, high: float = 2.0) -> Spec:
    contract = ActionContract(
        representation, "world", names, (low,) * len(names), (high,) * len(names), 10.0
    )
    return replace(make_spec(), state_names=("x", "y"), action=contract)


def acted(hand: Hand, before: Any = None, **wish: Any) -> list[float]:
    action = hand.action(Wish(**wish), STATE, before)
    assert action is not None and action.dtype == np.float32
    return action.tolist()


@pytest.mark.parametrize("representation", ["force", "velocity", "delta_position", "unknown"])
def test_a_push_ends_when_the_key_is_released(representation: str) -> None:
    hand = Hand(spec(representation, "x", "y"))
    assert hand.style == "push"
    assert acted(hand, deflection={0: 1, 1: -0.5}) == [2.0, -1.0]
    assert acted(hand, np.float32([2, -1])) == [0.0, 0.0]


def test_a_target_moves_while_the_key_is_held_and_then_stays() -> None:
    hand = Hand(spec("position", "x", "y", low=0.0, high=4.0))
    assert hand.style == "move"
    assert acted(hand) == [0.5, 0.25]  # where the robot is, since names are those of its state
    moved = acted(hand, np.float32([1, 1]), deflection={0: 1})
    assert moved == pytest.approx([1 + 4.0 / 10 / 2, 1])  # from end to end in two seconds
    assert acted(hand, np.float32(moved)) == pytest.approx(moved)
    assert acted(hand, np.float32([3.9, 1]), deflection={0: 1}) == pytest.approx([4.0, 1.0])


def test_a_target_of_unknown_meaning_starts_in_the_middle() -> None:
    hand = Hand(spec("unknown", "action_0", "action_1", low=0.0, high=512.0))
    assert hand.style == "move"
    assert acted(hand) == [256.0, 256.0]
    assert acted(hand, pointed={0: -1, 1: 0.5}) == [0.0, 384.0]


def test_a_gripper_keeps_what_it_was_last_told() -> None:
    hand = Hand(spec("delta_position", "x", "gripper"))
    closed = acted(hand, deflection={1: 1})
    assert closed == [0.0, 2.0]
    assert acted(hand, np.float32(closed), deflection={0: 1}) == [2.0, 2.0]
    assert acted(hand, np.float32([2, 2]), deflection={1: -1}) == [0.0, -2.0]


def test_a_person_may_say_that_keys_push() -> None:
    hand = Hand(spec("position", "x", "y", low=0.0, high=4.0))
    hand.style = "push"
    assert acted(hand, np.float32([4, 4])) == [2.0, 2.0]
    assert acted(hand, np.float32([4, 4]), deflection={0: -1}) == [0.0, 2.0]


def test_choices_wait_for_a_person() -> None:
    hand = Hand(make_discrete_spec())
    assert hand.action(Wish(), STATE, None) is None
    action = hand.action(Wish(choice=1), STATE, None)
    assert action is not None and action.tolist() == [1.0]


@given(
    st.sampled_from(["force", "position", "unknown", "velocity"]),
    st.floats(-3, 2.9),
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.booleans(),
)
def test_actions_are_always_within_their_bounds(
    representation: str, low: float, deflection: float, point: float, begun: bool
) -> None:
    hand = Hand(spec(representation, "x", "y", low=low, high=3.0))
    before = np.float32([low, 3.0]) if begun else None
    action = hand.action(Wish({0: deflection}, {1: point}), STATE, before)
    assert action is not None and np.isfinite(action).all()
    assert (action >= np.float32(low) - 1e-6).all() and (action <= 3.0).all()
