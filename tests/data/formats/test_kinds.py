"""What names say of arrays: the answer to a step is no observation of it."""

from __future__ import annotations

import pytest

from manyparts.data.formats.kinds import gives_away

BESIDE = ("obs", "observations", "hand/state", "image")
FOLLOWS = (
    *("next_obs", "next.observation", "obs_next", "observations_next", "nextobs", "nextObs", "next-state", "new_obs"),
    *("s_next", "s_prime", "obs2", "obs_tp1", "obs_t+1", "observations_tp1", "state_next", "hand/next/state"),
    *("successor_state", "final_observation", "terminal_observation", "next_action", "hand/state2"),
)
ACTS = ("action", "actions", "expert_action", "action_dict/joints", "rel_actions", "delta_action", "policy.action")
STATE = (
    *(
        "state",
        "obs",
        "observation.state",
        "gripper_states",
        "object_state",
        "last_action",
        "prev_actions",
        "goal_state",
    ),
    *("action_mask", "distance_to_next_gate", "interaction_force", "robot1_state", "state_2", "hand/obs2", "context"),
    *("activations", "act", "target_pos", "return_home"),
)


@pytest.mark.parametrize("name", FOLLOWS)
def test_what_follows_gives_the_step_away(name: str) -> None:
    assert "of the step that follows" in gives_away(name, (*BESIDE, name))


@pytest.mark.parametrize("name", ACTS)
def test_actions_give_the_step_away(name: str) -> None:
    assert "an action" in gives_away(name, (*BESIDE, name))


@pytest.mark.parametrize("name", STATE)
def test_what_is_known_before_the_step_does_not(name: str) -> None:
    assert gives_away(name, (*BESIDE, "obs", name) if name != "hand/obs2" else ("hand/obs1", "hand/obs2")) == ""


def test_bodies_that_are_counted_are_not_what_follows() -> None:
    many = ("obs", "obs1", "obs2", "obs3")
    assert {gives_away(name, many) for name in many} == {""}
