"""HDF5 layouts that are recognised and cannot be read: what they are, and what to do."""

from __future__ import annotations

from collections.abc import Callable

from manyparts.data.formats.hdf5 import Group, Hdf5File
from manyparts.types import UserError

_ADVICE = {
    "ALOHA": "an episode of ALOHA or ACT, which is not read yet; openpi's convert_aloha_data_to_lerobot.py makes a "
    "LeRobotDataset of a folder of them",
    "D4RL": "a file of D4RL with all episodes end to end, which is not read yet; `minari download D4RL/...` gives most "
    "of them as Minari datasets, or write each episode as a .npz with action, observations and reward",
    "Minari": "the data of a Minari dataset under another name; call it main_data.hdf5 and open its folder",
    "ManiSkill": "a file of ManiSkill's trajectories (traj_0, traj_1 and so on), which is not read; convert it to a "
    "LeRobotDataset",
    "RoboTwin": "an episode of RoboTwin, which is not read; its own scripts make a LeRobotDataset of a folder of them",
}


def hdf5_kind(file: Hdf5File) -> str | None:
    """Which known layout that cannot be read a file has; None if it has none of them. `hdf5_advice` says more."""
    checks: dict[str, Callable[[set[str]], bool]] = {
        "ALOHA": lambda names: "action" in names and _has(file, "observations", ("qpos", "images")),
        "D4RL": lambda names: {"observations", "actions"} <= names and bool({"terminals", "timeouts"} & names),
        "Minari": lambda names: any(name.startswith("episode_") and _has(file, name, ("rewards",)) for name in names),
        "ManiSkill": lambda names: any(name.startswith("traj_") for name in names),
        "RoboTwin": lambda names: {"joint_action", "observation"} <= names,
    }
    names = set(file.names(file.group("")))
    return next((kind for kind, check in checks.items() if check(names)), None)


def hdf5_advice(kind: str) -> str:
    """What a layout of `hdf5_kind` is, and what makes of it something that can be read."""
    return _ADVICE[kind]


def _has(file: Hdf5File, group: str, members: tuple[str, ...]) -> bool:
    """Whether a group has any of these members."""
    try:
        found = file.find(group)
    except UserError:
        return False
    return isinstance(found, Group) and not set(members).isdisjoint(file.names(found))
