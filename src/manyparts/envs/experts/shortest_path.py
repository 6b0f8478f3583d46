"""The shortest path through a floor plan: a visibility graph, and the next step along a path."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

# Paths round a corner on an octagon. Its vertices are far enough out for its sides to keep the
# clearance: 1 / cos(pi / 8) is 1.083.
_AROUND_A_CORNER = 8
_OUTWARDS = 1.09
_TOLERANCE = 1e-9
_VISIBILITY_CHECKS = 16


class FloorPlan:
    """Walls seen from above, and the shortest paths between their corners.

    Paths keep a clearance from walls. They round corners on octagons, so a path is longer than the
    exact one by a few centimetres per corner.
    """

    def __init__(self, walls: np.ndarray, *, clearance: float) -> None:
        """Compute all paths between corners.

        Args:
            walls: float (n, 2, 2), the end points of straight walls in metres.
            clearance: distance that paths keep from walls, metres.
        """
        self.clearance = clearance
        self._begins, self._ends = walls[:, 0], walls[:, 1]
        self._corners = np.unique(walls.reshape(-1, 2).round(6), axis=0)
        angles = np.arange(_AROUND_A_CORNER) * 2 * np.pi / _AROUND_A_CORNER
        ring = _OUTWARDS * clearance * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        around = (self._corners[:, None] + ring).reshape(-1, 2)
        self.nodes = around[self.distance_to_walls(around) >= clearance]
        self.between = self._distances()

    def distance_to_walls(self, positions: np.ndarray) -> np.ndarray:
        """Metres from each position (m, 2) to the nearest wall: (m,)."""
        # The nearest point of a wall is the projection onto its line, held within its ends.
        along = self._ends - self._begins
        part = ((positions[:, None] - self._begins) * along).sum(-1) / (along**2).sum(-1)
        nearest = self._begins + np.clip(part, 0, 1)[..., None] * along
        return np.linalg.norm(nearest - positions[:, None], axis=-1).min(axis=1)

    def visible(self, position: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Whether straight lines from a position are free: bool (m,).

        A free line crosses no wall and keeps the clearance from corners. It may be nearer to a
        corner only if it begins or ends nearer.

        Args:
            position: (2,), metres.
            others: (m, 2), the ends of the lines.
        """
        free = ~self._crosses(position, others)
        chosen = np.flatnonzero(free)
        free[chosen] = self._keeps_clear(position, others[chosen])
        return free

    def _crosses(self, position: np.ndarray, others: np.ndarray) -> np.ndarray:
        # Two segments cross if each has its ends on different sides of the other's line.
        ways, walls = (others - position)[:, None], self._ends - self._begins
        apart = _cross(ways, self._begins - position) * _cross(ways, self._ends - position) < 0
        sides = (
            _cross(walls, position - self._begins) * _cross(walls, others[:, None] - self._begins)
            < 0
        )
        return np.asarray((apart & sides).any(axis=1))

    def _keeps_clear(self, position: np.ndarray, others: np.ndarray) -> np.ndarray:
        ways = (others - position)[:, None]
        part = ((self._corners - position) * ways).sum(-1) / np.maximum(
            (ways**2).sum(-1), _TOLERANCE
        )
        nearest = position + np.clip(part, 0, 1)[..., None] * ways
        at_ends = np.minimum(
            np.linalg.norm(self._corners - position, axis=-1),
            np.linalg.norm(self._corners - others[:, None], axis=-1),
        )
        needed = np.minimum(self.clearance, at_ends) - _TOLERANCE
        return (np.linalg.norm(nearest - self._corners, axis=-1) >= needed).all(axis=1)

    def _distances(self) -> np.ndarray:
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import dijkstra

        lengths = np.zeros((len(self.nodes), len(self.nodes)))
        for index, node in enumerate(self.nodes):
            later = self.nodes[index + 1 :]
            lengths[index, index + 1 :] = np.linalg.norm(later - node, axis=1) * self.visible(
                node, later
            )
        return dijkstra(csr_matrix(lengths), directed=False)


class FloorRoute:
    """The shortest paths from everywhere to one goal, float (2,) in metres."""

    def __init__(self, plan: FloorPlan, goal: np.ndarray) -> None:
        self._plan = plan
        last = np.flatnonzero(plan.visible(goal, plan.nodes))
        lengths = plan.between[:, last] + np.linalg.norm(plan.nodes[last] - goal, axis=1)
        self._stops = np.concatenate([goal[None], plan.nodes])
        self._lengths = np.concatenate([[0.0], lengths.min(axis=1, initial=np.inf)])

    def distance(self, position: np.ndarray) -> float:
        """Metres of the shortest path from a position (2,); infinite if there is none."""
        return self._next(position)[1]

    def next_stop(self, position: np.ndarray) -> np.ndarray:
        """The first corner of the shortest path from a position, or the goal: (2,).

        Also the goal if there is no path.
        """
        return self._stops[self._next(position)[0]]

    def _next(self, position: np.ndarray) -> tuple[int, float]:
        """Index of the first stop of the shortest path, and the path's length."""
        # Visibility is the expensive part. Stops are checked in order of the path's length, some at
        # a time, so that the first visible one is the shortest.
        total = self._lengths + np.linalg.norm(self._stops - position, axis=1)
        order = np.argsort(total)[: np.isfinite(total).sum()]
        for start in range(0, len(order), _VISIBILITY_CHECKS):
            some = order[start : start + _VISIBILITY_CHECKS]
            seen = some[self._plan.visible(position, self._stops[some])]
            if len(seen):
                return int(seen[0]), float(total[seen[0]])
        return 0, math.inf


def turns_towards(
    heading: float,
    bearing: float,
    *,
    turn: float,
    helps: Callable[[float], bool] = lambda heading: True,
) -> int:
    """How many turns to make before going forward: positive to the left, 0 to go forward now.

    They lead to the heading nearest to `bearing` in which a step forward helps, or to the nearest
    of all if none helps. Angles are in radians, counted to the left.

    Args:
        heading: the current heading.
        bearing: the direction to go.
        turn: the angle of one turn.
        helps: whether a step forward helps in a heading.
    """
    around = round(2 * math.pi / turn)
    wanted = _wrapped(bearing - heading)
    reachable = [number - (around - 1) // 2 for number in range(around)]
    nearest_first = sorted(reachable, key=lambda number: abs(_wrapped(number * turn - wanted)))
    return next(
        (turns for turns in nearest_first if helps(heading + turns * turn)), nearest_first[0]
    )


def _wrapped(angle: float) -> float:
    """The angle in [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def _cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
