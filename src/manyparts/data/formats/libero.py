"""LIBERO's files among robomimic's: images stored upside down, the instruction in the file's
name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.data.formats.hdf5 import Hdf5File
from manyparts.data.formats.hdf5_nodes import Group
from manyparts.data.formats.instructions import json_object

BY_ATTRIBUTES = "LIBERO's, or opengl"
BY_NAMES = "LIBERO's, by the names of the arrays: no attribute says so"
_ATTRIBUTES = {"problem_info", "bddl_file_name", "bddl_file_content"}
_CONVENTION = "macros_image_convention"
_CAMERAS = {"agentview_rgb", "eye_in_hand_rgb"}
_STATES = {"ee_ori", "ee_pos", "ee_states", "gripper_states", "joint_states"}
_FILE = re.compile(r"(?:(?:[A-Z]+_)+SCENE\d+_)?(?P<instruction>[^_]+(?:_[^_]+)+)_demo")


def is_libero(file: Hdf5File) -> bool:
    """Whether a file of robomimic's layout is LIBERO's, by its attributes, or else by the names of
    its observations."""
    data = file.group("data")
    if not (_ATTRIBUTES | {_CONVENTION}).isdisjoint(file.attributes(data)):
        return True
    environment = json_object(file.attribute(data, "env_args"))
    if environment:
        return "bddl_file" in environment
    for demo in file.names(data):
        with suppress(UserError):  # the reader reports broken links
            if isinstance(observations := file.find(f"data/{demo}/obs"), Group):
                return _are_libero_names(file.names(observations))
    return False


def bottom_first(
    file: Hdf5File, data: Group, environment: Mapping[str, Any], names: Collection[str]
) -> str:
    """Whether images are stored bottom row first, as robosuite renders and LIBERO stores them.

    Args:
        file: the opened file.
        data: its group of demonstrations.
        environment: the content of its attribute env_args.
        names: the observations that are read. They decide where no attribute does, as in OpenVLA's
            copies of LIBERO.

    Returns:
        What says so: BY_ATTRIBUTES or BY_NAMES; "" if images are upright.
    """
    convention = file.attribute(data, _CONVENTION)
    if isinstance(convention, str):
        return BY_ATTRIBUTES if convention.strip().lower() == "opengl" else ""
    if "bddl_file" in environment or not _ATTRIBUTES.isdisjoint(file.attributes(data)):
        return BY_ATTRIBUTES
    return BY_NAMES if _are_libero_names(names) and not environment else ""


def instruction_from_name(path: Path, names: Collection[str]) -> str:
    """The instruction in the name of a file with LIBERO's observations; "" if there is none.

    "KITCHEN_SCENE3_turn_on_the_stove_demo.hdf5" gives "turn on the stove".

    Args:
        path: the file.
        names: the names of its observations.
    """
    match = _FILE.fullmatch(path.stem) if _are_libero_names(names) else None
    return match["instruction"].replace("_", " ") if match else ""


def _are_libero_names(names: Collection[str]) -> bool:
    return not _CAMERAS.isdisjoint(names) and len(_STATES.intersection(names)) > 1
