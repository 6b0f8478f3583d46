"""What is said of specs: short summaries, and short differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
from embodiments import ARM

from manyparts.core.errors import UserError
from manyparts.core.printing import counted, first_of
from manyparts.core.spec import ActionContract, Spec

JOINTS = tuple(f"joint_{number}" for number in range(39))
HUMANOID = Spec(
    "humanoid",
    {"side": (64, 64)},
    JOINTS,
    ActionContract("torque", "joint", JOINTS, (-1.0,) * 39, (1.0,) * 39, 50.0),
)


def test_summaries_count_one_as_one() -> None:
    lever = replace(HUMANOID.action, names=("pull",), low=(-1.0,), high=(1.0,))
    spec = replace(HUMANOID, state_names=("angle",), action=lever)
    assert spec.summary() == "humanoid, camera side 64x64, 1 state number, 1 action"
    assert "39 state numbers, 39 actions" in HUMANOID.summary()
    assert [counted(number, "try", "tries") for number in (0, 1)] == ["0 tries", "1 try"]


def test_long_bounds_differ_in_words() -> None:
    action = replace(HUMANOID.action, low=(-2.0, *HUMANOID.action.low[1:]), high=(2.0,) * 39)
    assert HUMANOID.differences(replace(HUMANOID, action=action)) == [
        "action.low of joint_0: -1.0, -2.0",
        "action.high of joint_0 and 38 more dimensions: 1.0, 2.0",
    ]


def test_other_dimensions_are_counted() -> None:
    different = HUMANOID.differences(ARM)
    assert all(len(text) < 100 for text in different), different
    assert "state_names: 39 with joint_0, joint_1, joint_2 and 36 more" in "; ".join(different)
    assert not any(text.startswith(("action.low", "action.high")) for text in different)


def test_dimensions_in_another_order_differ() -> None:
    turned = replace(HUMANOID, state_names=JOINTS[::-1])
    assert HUMANOID.differences(turned) == ["state_names: the same names in another order"]


def test_unfitting_fields_are_refused_by_name() -> None:
    with pytest.raises(UserError, match="low has 1 number; expected 39, one for each of its names"):
        replace(HUMANOID.action, low=(-1.0,))
    with pytest.raises(UserError, match="goal_camera is 'goal'; expected one of its cameras, side"):
        replace(HUMANOID, goal_camera="goal")
    with pytest.raises(UserError, match="expected one size for all, since there is a goal_camera"):
        replace(HUMANOID, cameras={"side": (64, 64), "top": (32, 32)}, goal_camera="side")


@pytest.mark.parametrize("separator", [", ", "; "])
def test_first_items_say_what_follows(separator: str) -> None:
    assert first_of("abc", 2, separator=separator) == f"a{separator}b and 1 more"
