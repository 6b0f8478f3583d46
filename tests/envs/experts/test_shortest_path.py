"""Shortest ways on floor plans small enough to know the answer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from manyparts.envs.experts.shortest_path import FloorPlan, FloorRoute, turns_towards

CLEARANCE = 0.5
BOX = [[(0, 0), (10, 0)], [(10, 0), (10, 8)], [(10, 8), (0, 8)], [(0, 8), (0, 0)]]
SCREEN = [[(5, 0), (5, 5)]]
BARRIER = [[(5, 0), (5, 8)]]


def route(walls: list[list[tuple[float, float]]], goal: tuple[float, float]) -> FloorRoute:
    return FloorRoute(FloorPlan(np.array(walls, float), clearance=CLEARANCE), np.array(goal))


def test_path_in_empty_room_is_straight() -> None:
    path = route(BOX, (9, 4))
    assert path.distance(np.array([1.0, 4.0])) == 8
    np.testing.assert_array_equal(path.next_stop(np.array([1.0, 4.0])), [9, 4])


def test_path_goes_round_a_screen() -> None:
    """Two tangents to a circle of 0.5 m about (5, 5), and the arc between them: 7.87 m."""
    path, start = route(BOX + SCREEN, (8, 3)), np.array([2.0, 3.0])
    reach = math.hypot(3, 2)
    tangent = math.sqrt(reach**2 - CLEARANCE**2)
    arc = 2 * (math.atan2(2, 3) + math.asin(CLEARANCE / reach))
    exact = 2 * tangent + CLEARANCE * arc
    assert exact <= path.distance(start) < exact + 0.1
    stop = path.next_stop(start)
    assert stop[1] > 5 and abs(stop[0] - 5) < 1


def test_path_keeps_clearance_and_length() -> None:
    path, position = route(BOX + SCREEN, (8, 1)), np.array([2.0, 1.0])
    plan = FloorPlan(np.array(BOX + SCREEN, float), clearance=CLEARANCE)
    expected, gone = path.distance(position), 0.0
    for _ in range(10):
        stop = path.next_stop(position)
        between = position + np.linspace(0, 1, 50)[:, None] * (stop - position)
        assert plan.distance_to_walls(between).min() >= CLEARANCE - 1e-6
        gone, position = gone + float(np.linalg.norm(stop - position)), stop
    np.testing.assert_array_equal(position, [8, 1])
    assert gone == pytest.approx(expected)


def test_no_path_through_closed_wall() -> None:
    assert route(BOX + BARRIER, (8, 3)).distance(np.array([2.0, 3.0])) == math.inf


def test_path_leads_out_of_corners() -> None:
    path = route(BOX + SCREEN, (8, 3))
    assert math.isfinite(path.distance(np.array([4.8, 5.3])))


@pytest.mark.parametrize(
    ("heading", "bearing", "turns"),
    [
        (0.0, 0.0, 0),
        (0.0, 40.0, 3),
        (0.0, -40.0, -3),
        (0.0, 7.0, 0),
        (350.0, 10.0, 1),
        (0.0, 179.0, 12),
    ],
)
def test_turns_go_the_short_way_round(heading: float, bearing: float, turns: int) -> None:
    action = turns_towards(math.radians(heading), math.radians(bearing), turn=math.radians(15))
    assert action == turns


def test_unhelpful_heading_is_skipped() -> None:
    action = turns_towards(
        0.0, 0.1, turn=math.radians(15), helps=lambda heading: abs(heading) > 0.2
    )
    assert action == 1
