"""HDF5 layouts that are recognised and not read: what they are, and what to do."""

from __future__ import annotations

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import UnsupportedFormat
from manyparts.data.formats.hdf5 import Hdf5File
from manyparts.data.formats.hdf5_nodes import Group

_CONVERT = "convert it to a LeRobotDataset first"
_ALOHA = UnsupportedFormat(
    "one episode of ALOHA's layout (observations/qpos, action), which is not read yet",
    "convert the folder of such files to a LeRobotDataset first, as openpi's "
    "convert_aloha_data_to_lerobot.py does",
)
_D4RL = UnsupportedFormat(
    "D4RL's layout, many episodes in one file, which is not read yet",
    "take the dataset of Minari that holds the same (D4RL/...), or split it into one .npz per "
    "episode after each row where terminals or timeouts is true",
)
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
    """The unsupported layout of an HDF5 file; None if robomimic or Minari, or an unknown program,
    wrote it."""
    names = set(file.names(file.group("")))
    if "data" in names:
        return None
    if "action" in names and _has(file, "observations", ("qpos", "images")):
        return _ALOHA
    if {"observations", "actions"} <= names and {"terminals", "timeouts"} & names:
        return _D4RL
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
