"""HDF5 layouts that are recognised and not read: what they are, and what to do."""

from __future__ import annotations

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import UnsupportedFormat
from manyparts.data.formats.hdf5 import Hdf5File
from manyparts.data.formats.hdf5_nodes import Group

_CONVERT = "convert it to a LeRobotDataset first"
_MINARI = UnsupportedFormat(
    "the data of a Minari dataset under another name",
    "call it main_data.hdf5, and give the folder that it lies in",
)
_MANISKILL = UnsupportedFormat(
    "a file of ManiSkill's trajectories (traj_0, traj_1 and so on), which is not read", _CONVERT
)
_ROBOTWIN = UnsupportedFormat(
    "an episode of RoboTwin, which is not read",
    "make a LeRobotDataset of the folder with RoboTwin's own scripts",
)
_END_TO_END = UnsupportedFormat(
    "a file of many episodes end to end (ep_len, ep_offset), which is not read yet", _CONVERT
)


def unsupported_hdf5(file: Hdf5File) -> UnsupportedFormat | None:
    """The unsupported layout of an HDF5 file; None if it can be read, or is unknown."""
    names = set(file.names(file.group("")))
    if "data" in names:
        return None
    if any(name.startswith("episode_") and _has(file, name, ("rewards",)) for name in names):
        return _MINARI
    if any(name.startswith("traj_") for name in names):
        return _MANISKILL
    if {"joint_action", "observation"} <= names:
        return _ROBOTWIN
    return _END_TO_END if {"ep_len", "ep_offset"} <= names else None


def _has(file: Hdf5File, group: str, members: tuple[str, ...]) -> bool:
    """Whether a group has any of these members."""
    try:
        node = file.find(group)
    except UserError:
        return False
    return isinstance(node, Group) and not set(members).isdisjoint(file.names(node))
