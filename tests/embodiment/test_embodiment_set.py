"""Several embodiments in one set: the slots of their cameras, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from embodiments import ARM, BOTH, CRAWLER

from manyparts.core.errors import UserError
from manyparts.embodiment.embodiment_set import EmbodimentSet


def test_one_embodiment_keeps_its_own_cameras():
    alone = EmbodimentSet((CRAWLER,))
    assert alone.slots == CRAWLER.cameras and alone.slot_of(CRAWLER) == {
        "eye": "eye",
        "goal": "goal",
    }
    assert (alone.state_dimension, alone.action_dimension) == (0, 1)
    assert alone.present.tolist() == [[True, True, True]]


def test_two_embodiments_share_numbered_slots():
    assert BOTH.slots == {"slot0": (16, 16), "slot1": (16, 16)}
    assert BOTH.slot_of(ARM) == {"front": "slot0"} and BOTH.slot_of(CRAWLER) == {
        "eye": "slot0",
        "goal": "slot1",
    }
    assert (BOTH.state_dimension, BOTH.action_dimension) == (3, 2)
    assert BOTH.present.tolist() == [[True, False, True], [True, True, False]]


def test_cameras_of_slots_have_one_size():
    large = replace(CRAWLER, cameras={"eye": (32, 32)})
    with pytest.raises(
        UserError,
        match=r"'front' of arm and camera 'eye' of crawler .* 16x16 pixels and 32x32 pixels",
    ):
        EmbodimentSet((ARM, large))


def test_a_name_stands_for_one_embodiment():
    with pytest.raises(UserError, match="two embodiments have one name among arm, arm"):
        EmbodimentSet((ARM, replace(ARM, state_names=())))


def test_unknown_embodiments_are_refused_with_differences():
    assert [BOTH.index(spec, "x") for spec in (ARM, CRAWLER)] == [0, 1]
    slower = replace(ARM, action=replace(ARM.action, control_rate_hz=5.0))
    with pytest.raises(
        UserError, match=r"^it differs \(action.control_rate_hz: 80.0, 5.0\); known: arm, crawler$"
    ):
        BOTH.index(slower, "it differs")
    with pytest.raises(
        UserError,
        match=r"\(walker\); known: arm \(not the same: embodiment\), crawler \(not the same",
    ):
        BOTH.index(replace(ARM, embodiment="walker"), "it differs")


def test_errors_name_five_differences_at_most():
    agent = EmbodimentSet((ARM,))
    action = replace(
        ARM.action, representation="torque", frame="joint", names=("a",), low=(0.0,), high=(1.0,)
    )
    other = replace(CRAWLER, action=replace(action, control_rate_hz=1.0, gripper="open is 1"))
    with pytest.raises(
        UserError, match=r"^x \(embodiment: arm, crawler; .* and \d more\)"
    ) as caught:
        agent.index(other, "x")
    assert str(caught.value).partition(")")[0].count(";") == 4
