"""What names say of arrays: the answer to a step is no observation of it."""

from __future__ import annotations

import pytest

from manyparts.data.formats.kinds import leak_by_name, why_no_camera

BESIDE = ("obs", "observations", "hand/state", "image")
FOLLOWS = (
    *(
        "next_obs",
        "next.observation",
        "obs_next",
        "observations_next",
        "nextobs",
        "nextObs",
        "next-state",
        "new_obs",
    ),
    *(
        "s_next",
        "s_prime",
        "obs2",
        "obs_tp1",
        "obs_t+1",
        "observations_tp1",
        "state_next",
        "hand/next/state",
    ),
    *("successor_state", "final_observation", "terminal_observation", "next_action", "hand/state2"),
)
ACTS = (
    "action",
    "actions",
    "expert_action",
    "action_dict/joints",
    "rel_actions",
    "delta_action",
    "policy.action",
)
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
    *(
        "action_mask",
        "distance_to_next_gate",
        "interaction_force",
        "robot1_state",
        "state_2",
        "hand/obs2",
        "context",
    ),
    *("activations", "act", "target_pos", "return_home"),
)


@pytest.mark.parametrize("name", FOLLOWS)
def test_what_follows_gives_the_step_away(name: str) -> None:
    assert "of the step that follows" in leak_by_name(name, (*BESIDE, name))


@pytest.mark.parametrize("name", ACTS)
def test_actions_give_the_step_away(name: str) -> None:
    assert "an action" in leak_by_name(name, (*BESIDE, name))


@pytest.mark.parametrize("name", STATE)
def test_names_known_before_step_are_allowed(name: str) -> None:
    assert (
        leak_by_name(
            name, (*BESIDE, "obs", name) if name != "hand/obs2" else ("hand/obs1", "hand/obs2")
        )
        == ""
    )


def test_counted_objects_are_not_next_step() -> None:
    many = ("obs", "obs1", "obs2", "obs3")
    assert {leak_by_name(name, many) for name in many} == {""}


DISTANCES = (
    "disparity",
    "wrist/disparity0",
    "left_depth",
    "depthmap",
    "depth/left",
    "observation.images.depth",
)
CLASSES = (
    "seg",
    "seg_1",
    "robot0_agentview_segmentation_instance",
    "semantic",
    "objectMask",
    "segmask",
    "masks/left",
)
GREY = (
    "grey",
    "segway_cam",
    "labelled_view",
    "instance_left/front_view",
    "depth_cam/front_view",
    "masked_front",
)


@pytest.mark.parametrize("name", DISTANCES + CLASSES)
def test_single_channel_may_be_no_camera(name: str) -> None:
    wanted = "depth" if name in DISTANCES else "numbers of classes or objects"
    assert why_no_camera(name, 1) == f"{wanted}, by its name" and why_no_camera(name, 3) == ""


@pytest.mark.parametrize("name", GREY)
def test_grey_images_are_a_camera(name: str) -> None:
    assert why_no_camera(name, 1) == ""
