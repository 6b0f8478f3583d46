"""LIBERO's files among robomimic's: pictures from the bottom row, and the instruction in the file's
name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from manyparts.data.formats.hdf5 import Group, Hdf5File

BY_ATTRIBUTES, BY_NAMES = (
    "LIBERO's, or opengl",
    "LIBERO's, by the names of the arrays: no attribute tells",
)
_ATTRIBUTES = {"problem_info", "bddl_file_name", "bddl_file_content"}
_CAMERAS = {"agentview_rgb", "eye_in_hand_rgb"}
_STATES = {"ee_ori", "ee_pos", "ee_states", "gripper_states", "joint_states"}
_FILE = re.compile(r"(?:(?:[A-Z]+_)+SCENE\d+_)?(?P<sentence>[^_]+(?:_[^_]+)+)_demo")


def bottom_first(
    file: Hdf5File, data: Group, environment: Mapping[str, Any], names: Collection[str]
) -> str:
    """Whether pictures are stored from their bottom row, as robosuite renders them and LIBERO keeps
    them.

    Args:
        file: the file. data: its group of demonstrations. environment: what its attribute env_args
        holds. names: the observations that are read. They decide where no attribute tells, as in
        what OpenVLA makes of LIBERO.

    Returns:
        What says so: BY_ATTRIBUTES or BY_NAMES; empty if nothing does.
    """
    convention = file.attribute(data, "macros_image_convention")
    if isinstance(convention, str):
        return BY_ATTRIBUTES if convention.strip().lower() == "opengl" else ""
    if "bddl_file" in environment or not _ATTRIBUTES.isdisjoint(file.attributes(data)):
        return BY_ATTRIBUTES
    return BY_NAMES if _has_its_names(names) and not environment else ""


def instruction_from_name(path: Path, names: Collection[str]) -> str:
    """The instruction in the name of a file with LIBERO's observations; empty if it has none.

    "KITCHEN_SCENE3_turn_on_the_stove_demo.hdf5" is "turn on the stove".
    """
    match = _FILE.fullmatch(path.stem) if _has_its_names(names) else None
    return match["sentence"].replace("_", " ") if match else ""


def _has_its_names(names: Collection[str]) -> bool:
    return not _CAMERAS.isdisjoint(names) and len(_STATES.intersection(names)) > 1
