"""Rotations as six numbers that do not jump, and back.

The six numbers are the first two columns of the rotation matrix (Zhou et al. 2019, "On the
Continuity of Rotation Representations in Neural Networks"), the first column's three first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from manyparts.core.errors import UserError
from manyparts.embodiment.views.view import Convention

NUMBERS: Mapping[Convention, int] = {
    "euler": 3,
    "quaternion": 4,
    "quaternion_wxyz": 4,
    "axis_angle": 3,
}
_QUATERNION = re.compile(r"(?:^|.*[_./])(?:quat|quaternion)$")
_AXIS_ANGLE = re.compile(r"(?:^|.*[_./])(?:axis_?angle|rot_?vec|rotation_vector)$")
_EULER = re.compile(r"(?:^|.*[_./])(?:euler(?:_?angles?)?|rpy)$")
_ENDING = re.compile(r"^(.*?)[_./]?(\d+|[xyzw]|roll|pitch|yaw)$")
_TOO_SHORT = 1e-6  # of a column that stands for a direction
_SLACK = 0.05  # by how much the length of a unit quaternion may differ from 1


def matrices(values: np.ndarray, convention: Convention) -> Rotation:
    """Return rotations of numbers.

    Args:
        values: (n, 3) or (n, 4), as the convention has them.
        convention: See `View.rotations`.
    """
    if convention == "euler":
        return Rotation.from_euler("xyz", values)
    if convention == "axis_angle":
        return Rotation.from_rotvec(values)
    if convention == "quaternion_wxyz":
        values = np.roll(values, -1, axis=-1)
    return Rotation.from_quat(values)


def numbers(rotations: Rotation, convention: Convention) -> np.ndarray:
    """Return the numbers of n rotations, (n, 3) or (n, 4): the inverse of `matrices`.

    Of the two quaternions of a rotation it is the one with w of at least 0; angles are within -pi
    to pi.
    """
    if convention == "euler":
        return rotations.as_euler("xyz")
    if convention == "axis_angle":
        return rotations.as_rotvec()
    values = rotations.as_quat(canonical=True)
    return np.roll(values, 1, axis=-1) if convention == "quaternion_wxyz" else values


def same_rotations(values: np.ndarray, convention: Convention) -> np.ndarray:
    """Return other numbers of the same rotations, c for each: (c, n, 3) or (c, n, 4).

    Euler angles stay the same if each of them turns by a whole turn; those are not among them.

    Args:
        values: (n, 3) or (n, 4), which come first.
        convention: See `View.rotations`.
    """
    if convention == "euler":
        roll, pitch, yaw = np.moveaxis(values, -1, 0)
        other = np.stack([roll + np.pi, np.pi - pitch, yaw + np.pi], axis=-1)
        return np.stack([values, other])
    if convention == "axis_angle":
        angle = np.linalg.norm(values, axis=-1, keepdims=True)
        axis = np.divide(values, angle, out=np.zeros_like(values), where=angle > _TOO_SHORT)
        return np.stack([values, values - 2 * np.pi * axis, values + 2 * np.pi * axis])
    return np.stack([values, -values])


def six_numbers(rotations: Rotation) -> np.ndarray:
    """Return (n, 6): the first two columns of each matrix."""
    columns = rotations.as_matrix()[..., :2]
    return np.moveaxis(columns, -1, -2).reshape(*columns.shape[:-2], 6)


def of_six_numbers(values: np.ndarray) -> Rotation:
    """Return the rotations of (n, 6). Columns need neither be of length 1 nor orthogonal.

    Raises:
        UserError: The columns of one have no direction, or the same.
    """
    first, second = values[..., :3], values[..., 3:]
    x = _direction(first)
    y = _direction(second - (x * second).sum(axis=-1, keepdims=True) * x)
    return Rotation.from_matrix(np.stack([x, y, np.cross(x, y)], axis=-1))


def require_rotations(values: np.ndarray, convention: Convention, name: str) -> None:
    """Raise UserError if numbers cannot be rotations of a convention.

    Args:
        values: (n, 3) or (n, 4).
        convention: See `View.rotations`.
        name: What they are, for the message.
    """
    if not np.isfinite(values).all():
        raise UserError(f"{name} has numbers that are not finite, which are no rotation")
    if NUMBERS[convention] == 4:
        length = np.linalg.norm(values, axis=-1)
        if (wrong := np.abs(length - 1) > _SLACK).any():
            raise UserError(
                f"{name} has a length of {length[wrong][0]:g} in row {int(np.argmax(wrong))}; a "
                "quaternion has a length of 1"
            )
        return
    largest = float(np.abs(values).max(initial=0))
    if largest > 2 * np.pi + _SLACK:
        raise UserError(
            f"{name} reaches {largest:g} as {convention}, beyond a full turn in radians; are these "
            "degrees, or something else?"
        )


def by_name(names: Sequence[str]) -> Iterator[tuple[tuple[int, ...], Convention]]:
    """Find rotations by the names of their numbers.

    Args:
        names: Such as eef_quat_0 to eef_quat_3, or roll, pitch, yaw.

    Yields:
        The indices of one rotation's numbers, next to each other, and its convention.
    """
    index = 0
    while index < len(names):
        convention = _convention_at(names[index:])
        if convention is None:
            index += 1
            continue
        count = NUMBERS[convention]
        yield tuple(range(index, index + count)), convention
        index += count


def _convention_at(names: Sequence[str]) -> Convention | None:
    """The convention of the rotation that begins with the first name, if one does."""
    parts = [_ENDING.match(name.lower()) for name in names[:5]]
    if parts[0] is None:
        return None
    stem, endings = parts[0][1], []
    for part in parts:
        if part is None or part[1] != stem:
            break
        endings.append(part[2])
    letters = "".join(endings[:4])
    if _QUATERNION.match(stem) and len(endings) == 4:
        return "quaternion_wxyz" if letters.startswith("w") else "quaternion"
    if endings[:3] == ["roll", "pitch", "yaw"]:
        return "euler"
    if len(endings) != 3:
        return None
    if _AXIS_ANGLE.match(stem):
        return "axis_angle"
    return "euler" if _EULER.match(stem) else None


def _direction(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, 3) at length 1."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not (length > _TOO_SHORT).all():
        raise UserError("six numbers that are to be a rotation have no two directions")
    return vectors / length
