"""The shortest way through a floor plan: a visibility graph over its walls, and the next step along
it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

# A corner is rounded on an octagon; its vertices lie so far out that its sides keep the clearance.
_AROUND_A_CORNER = 8
_OUTWARDS = 1.09
_TOLERANCE = 1e-9
_VISIBILITY_CHECKS = 16


class FloorPlan:
    """Walls seen from above, and all shortest ways between their corners for a disc that keeps
    `clearance`.

    walls: float (n, 2, 2), the end points of straight walls in metres. A way rounds corners on
    octagons, so its length exceeds the exact one by a few centimetres a corner.
    """

    def __init__(self, walls: np.ndarray, *, clearance: float) -> None:
        self.clearance = clearance
        self._begins, self._ends = walls[:, 0], walls[:, 1]
        self._corners = np.unique(walls.reshape(-1, 2).round(6), axis=0)
        angles = np.arange(_AROUND_A_CORNER) * 2 * np.pi / _AROUND_A_CORNER
        ring = _OUTWARDS * clearance * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        around = (self._corners[:, None] + ring).reshape(-1, 2)
        self.nodes = around[self.distance_to_walls(around) >= clearance]
        self.between = self._distances()

    def distance_to_walls(self, positions: np.ndarray) -> np.ndarray:
        """Metres from each place (m, 2) to the nearest wall: (m,)."""
        along = self._ends - self._begins
        part = ((positions[:, None] - self._begins) * along).sum(-1) / (along**2).sum(-1)
        nearest = self._begins + np.clip(part, 0, 1)[..., None] * along
        return np.linalg.norm(nearest - positions[:, None], axis=-1).min(axis=1)

    def visible(self, position: np.ndarray, others: np.ndarray) -> np.ndarray:
        """bool (m,): whether the straight way from `place` (2,) to each of `others` (m, 2) crosses
        no wall and keeps the clearance; nearer to a corner than that only where the way begins or
        ends there."""
        free = ~self._crosses(position, others)
        chosen = np.flatnonzero(free)
        free[chosen] = self._keeps_clear(position, others[chosen])
        return free

    def _crosses(self, position: np.ndarray, others: np.ndarray) -> np.ndarray:
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
    """The shortest ways from everywhere to one goal, float (2,) in metres."""

    def __init__(self, plan: FloorPlan, goal: np.ndarray) -> None:
        self._plan = plan
        last = np.flatnonzero(plan.visible(goal, plan.nodes))
        lengths = plan.between[:, last] + np.linalg.norm(plan.nodes[last] - goal, axis=1)
        self._stops = np.concatenate([goal[None], plan.nodes])
        self._lengths = np.concatenate([[0.0], lengths.min(axis=1, initial=np.inf)])

    def distance(self, position: np.ndarray) -> float:
        """Metres of the shortest way from `place` (2,); infinite where there is none."""
        return self._next(position)[1]

    def next_stop(self, position: np.ndarray) -> np.ndarray:
        """The first corner of the shortest way from `place`, or the goal: (2,). The goal too where
        there is no way."""
        return self._stops[self._next(position)[0]]

    def _next(self, position: np.ndarray) -> tuple[int, float]:
        """Index and length of the shortest way through a stop in sight; stops are looked at from
        the shortest on."""
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

    Of the headings that turns of `turn` radians reach, the one nearest to `bearing` in which a step
    forward helps; the nearest of all where none does. All angles in radians, counted to the left.
    """
    around = round(2 * math.pi / turn)
    wanted = _wrapped(bearing - heading)
    reachable = [number - (around - 1) // 2 for number in range(around)]
    nearest_first = sorted(reachable, key=lambda number: abs(_wrapped(number * turn - wanted)))
    return next(
        (turns for turns in nearest_first if helps(heading + turns * turn)), nearest_first[0]
    )


def _wrapped(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi


def _cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
