"""Quaternions against SciPy's, and that only one object's method is changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from manyparts.envs.quaternions import MatrixRotation, quaternion, with_fast_quaternions

Rotation: Any = pytest.importorskip("scipy.spatial.transform").Rotation


def test_quaternions_equal_scipys_to_the_bit() -> None:
    half_turns = [Rotation.from_rotvec(np.pi * axis) for axis in np.eye(3)]
    drawn = Rotation.from_quat(np.random.default_rng(0).normal(size=(500, 4)))
    for each in [Rotation.identity(), *half_turns, *drawn]:
        matrix = each.as_matrix()
        assert np.array_equal(quaternion(matrix), Rotation.from_matrix(matrix).as_quat())


class Turned:
    """Has a method that reads the global name `Rotation`."""

    def turn(self) -> Any:
        return Rotation.from_matrix(np.eye(3))

    def rest(self) -> int:
        return 1


def test_other_objects_keep_their_method() -> None:
    one, other = Turned(), Turned()
    with_fast_quaternions(one, "turn")
    with_fast_quaternions(one, "rest")
    assert isinstance(one.turn(), MatrixRotation) and vars(one).keys() == {"turn"}
    assert isinstance(other.turn(), Rotation)
