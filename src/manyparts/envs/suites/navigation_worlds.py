"""The worlds of the navigation suite: the miniworld floor plan and the words for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from manyparts.envs.base import Instructions


@dataclass(frozen=True)
class World:
    """One world, which is the same in every episode."""

    kind: str
    """Name of a class in `miniworld.envs`."""

    where: str
    """The words for it in an instruction."""

    horizon: int = 250
    """Steps per episode."""

    seed: int = 0
    """Seed of its floor plan and textures."""


WORLDS: Mapping[str, World] = {
    "hallway": World("Hallway", "the corridor"),
    "one-room": World("OneRoom", "the empty hall"),
    "four-rooms": World("FourRooms", "the flat with four chambers"),
    "t-maze": World("TMaze", "the two corridors that meet"),
    "y-maze": World("YMaze", "the three arms that fork"),
    "maze-s3": World("MazeS3", "the small labyrinth"),
    "maze-s3-second": World("MazeS3", "the other small labyrinth", seed=1),
    "maze-s3-third": World("MazeS3", "the last small labyrinth", seed=2),
    "maze": World("Maze", "the large labyrinth", horizon=1500),
}
TASKS: tuple[str, ...] = tuple(WORLDS)
HELD_OUT = ("y-maze", "maze-s3-third", "maze")
SPLITS: Mapping[str, tuple[str, ...]] = {
    "all": TASKS,
    "train-worlds": tuple(name for name in TASKS if name not in HELD_OUT),
    "held-out-worlds": HELD_OUT,
}


def _instructions(where: str) -> Instructions:
    return Instructions(
        f"go to the goal in {where}",
        (
            f"find the goal in {where}",
            f"walk to the place that is shown in {where}",
            f"reach the target in {where}",
        ),
        (f"make your way to the goal in {where}", f"navigate to the marked place in {where}"),
    )


INSTRUCTIONS: Mapping[str, Instructions] = {
    name: _instructions(world.where) for name, world in WORLDS.items()
}
