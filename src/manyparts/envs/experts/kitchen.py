"""An expert of the Franka kitchen: seven scripted skills, done one after the other.

Each skill is a few motions of the hand by differential inverse kinematics.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from manyparts.envs.rendering import load_mujoco

FORWARD, RIGHT, UP = np.eye(3)[1], np.eye(3)[0], np.eye(3)[2]
ARM = 7
SECONDS_PER_STEP = 0.08
LARGEST_VELOCITY = 2.0  # radians per second at action 1
LARGEST_STEP = 0.1  # metres that the hand aims at per control step
LARGEST_TURN = 0.4  # radians
TURN_WEIGHT = 0.3  # metres per radian, where both cannot be reached
DAMPING = 3e-3
POSTURE_GAIN = 0.1
GAIN = 1.1  # of joint steps; the joints' controllers lag by about half a step
LIMIT_MARGIN = 0.05  # radians
STIFFNESS = np.array([870.0] * 4 + [120.0] * 3)  # of the joints' controllers, N m per radian
STALLED_METRES, STALLED_STEPS = 0.004, 4
SHUT, OPEN = -1.0, 1.0
# Joint angles in radians that the arm goes to between skills, and that it leans to in motion.
READY = np.array([-0.3, -1.5, 1.84, -2.3, 0.26, 1.0, 1.6])
LEANING = np.array([0.148, -1.76, 1.84, -2.48, 0.26, 0.71, 1.6])
READY_WITHIN = 0.25


class Scene:
    """What a script reads from the simulator. Positions are in metres in the world frame."""

    def __init__(self, model: Any, data: Any) -> None:
        self.model, self.data = model, data
        self._hand = model.site("end_effector").id

    def site(self, name: str) -> np.ndarray:
        """Position of a site."""
        return self.data.site(name).xpos.copy()

    def body(self, name: str) -> np.ndarray:
        """Position of a MuJoCo body."""
        return self.data.body(name).xpos.copy()

    def joint(self, name: str) -> float:
        """Position of a joint, radians or metres."""
        return float(self.data.joint(name).qpos[0])

    @property
    def hand(self) -> np.ndarray:
        """Between the fingers, five centimetres behind their tips."""
        return self.data.site_xpos[self._hand].copy()

    @property
    def frame(self) -> np.ndarray:
        """Columns: the hand's own x, the way its fingers open, and where it points."""
        return self.data.site_xmat[self._hand].reshape(3, 3).copy()

    def jacobian(self) -> np.ndarray:
        """Jacobian of the hand's position and rotation by the arm's joints: (6, 7)."""
        jacobian = np.zeros((6, self.model.nv))
        load_mujoco().mj_jacSite(self.model, self.data, jacobian[:3], jacobian[3:], self._hand)
        return jacobian[:, :ARM]


Where = Callable[[Scene], np.ndarray]


@dataclass(frozen=True)
class Motion:
    """One motion of the hand, which ends when the first of its conditions holds."""

    to: Where | None
    """The target position; None to stay."""

    turn: Where
    """The target rotation, as `Scene.frame`."""

    grip: float
    """`SHUT` or `OPEN`."""

    near: float = 0.0
    """It ends when the hand is nearer to its target than this, metres."""

    steps: int = 70
    """It ends after this many steps."""

    until: Callable[[Scene], bool] = lambda scene: False
    """It ends when this holds."""

    rests: bool = False
    """Whether it ends when the hand has come to rest."""


def _turned(vector: np.ndarray, angle: float) -> np.ndarray:
    """The vector rotated about the vertical by an angle in radians, to the left."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array(
        [cosine * vector[0] - sine * vector[1], sine * vector[0] + cosine * vector[1], vector[2]]
    )


def _frame(pointing: np.ndarray, opening: np.ndarray) -> np.ndarray:
    return np.stack([np.cross(opening, pointing), opening, pointing], axis=1)


def _site(name: str) -> Where:
    return lambda scene: scene.site(name)


def _offset_from(reference: Where, offset: tuple[float, ...]) -> Where:
    return lambda scene: reference(scene) + np.array(offset)


def _grasp(handle: Where, frame: np.ndarray, *, deeper: float = 0.0) -> list[Motion]:
    """Approach from 13 cm away, and shut the fingers `deeper` metres beyond the handle's middle."""
    pointing = frame[:, 2]

    def turn(scene: Scene) -> np.ndarray:
        return frame

    return [
        Motion(lambda scene: handle(scene) - 0.13 * pointing, turn, OPEN, near=0.03, rests=True),
        Motion(
            lambda scene: handle(scene) + deeper * pointing,
            turn,
            OPEN,
            near=0.012,
            steps=25,
            rests=True,
        ),
        Motion(None, turn, SHUT, steps=5),
    ]


def _release(turn: Where, back: float) -> list[Motion]:
    """Let go, and draw the hand back by `back` metres per step."""
    return [
        Motion(None, turn, OPEN, steps=3),
        Motion(lambda scene: scene.hand - back * scene.frame[:, 2], turn, OPEN, steps=4),
    ]


def _door(
    handle: str, hinge: str, joint: str, *, open_at: float, pointing: float, follows: float
) -> list[Motion]:
    """Pull a door open by its upright handle.

    Args:
        handle: site of the handle.
        hinge: MuJoCo body at the hinge.
        joint: the door's joint.
        open_at: angle of the joint at which the door counts as open, radians.
        pointing: direction of the hand, radians to the left of straight ahead.
        follows: fraction of the door's turn that the hand makes.
    """

    def along(scene: Scene) -> np.ndarray:
        middle = scene.body(hinge)
        return middle + _turned(scene.site(handle) - middle, math.copysign(0.3, open_at))

    def turn(scene: Scene) -> np.ndarray:
        angle = pointing + follows * scene.joint(joint)
        return _frame(_turned(FORWARD, angle), _turned(RIGHT, angle))

    first = _frame(_turned(FORWARD, pointing), _turned(RIGHT, pointing))
    pull = Motion(along, turn, SHUT, until=lambda scene: abs(scene.joint(joint)) > abs(open_at))
    return [*_grasp(_site(handle), first, deeper=0.01), pull, *_release(turn, 0.13)]


def _push(
    reference: Where, stops: list[tuple[float, ...]], follow: Where, until: Callable[[Scene], bool]
) -> list[Motion]:
    """Push with the fingers shut.

    Args:
        reference: a position in the scene.
        stops: two offsets from it, to which the hand goes first.
        follow: what the hand then goes to.
        until: when the push is done; then the hand moves away.
    """

    def turn(scene: Scene) -> np.ndarray:
        return _frame(FORWARD, UP)

    before = [
        Motion(_offset_from(reference, stop), turn, SHUT, near=near, rests=True)
        for stop, near in zip(stops, (0.03, 0.012), strict=True)
    ]
    push = Motion(follow, turn, SHUT, until=until)
    away = Motion(_offset_from(lambda scene: scene.hand, (-0.02, -0.12, 0.0)), turn, SHUT, steps=6)
    return [*before, push, away]


def _knob(site: str, joint: str, lever: float) -> list[Motion]:
    """Turn a knob by pushing the upper end of its lever to the right.

    Args:
        site: site of the knob.
        joint: its joint.
        lever: height of the lever's end above the axis, metres.
    """

    def follow(scene: Scene) -> np.ndarray:
        turned = -scene.joint(joint)
        return scene.site(site) + np.array(
            [0.05 + 0.05 * math.sin(turned), -0.03, lever * math.cos(turned)]
        )

    stops = [(-0.05, -0.12, 0.04), (-0.045, -0.035, lever)]
    return _push(_site(site), stops, follow, lambda scene: scene.joint(joint) < -0.85)


def _kettle() -> list[Motion]:
    """Lift the kettle by its handle onto the burner behind."""
    x, y, high = -0.24, 0.72, 1.95
    frame = _frame(_turned(FORWARD, 0.35), UP)

    def turn(scene: Scene) -> np.ndarray:
        return frame

    def lift(scene: Scene) -> np.ndarray:
        return scene.hand + 0.08 * UP

    def carry(scene: Scene) -> np.ndarray:
        return np.array([x, scene.hand[1] + 0.12, high])

    def lower(scene: Scene) -> np.ndarray:
        return np.array([x, y, scene.hand[2] - 0.05])

    return [
        *_grasp(_site("kettle_site"), frame),
        Motion(lift, turn, SHUT, steps=12, until=lambda scene: scene.hand[2] > high),
        Motion(carry, turn, SHUT, until=lambda scene: scene.site("kettle_site")[1] > y - 0.01),
        Motion(lower, turn, SHUT, steps=14, until=lambda scene: scene.body("kettle")[2] < 1.625),
        *_release(turn, 0.15),
    ]


# In the order in which one does not hinder the next.
SKILLS: Mapping[str, list[Motion]] = {
    "microwave": _door(
        "microhandle_site", "microdoorroot", "microwave", open_at=-0.8, pointing=0.8, follows=0.5
    ),
    "bottom-burner": _knob("knob2_site", "knob_Joint_2", 0.03),
    "top-burner": _knob("knob4_site", "knob_Joint_4", 0.045),
    "light-switch": _push(
        lambda scene: scene.body("lightswitchroot"),
        [(0.10, -0.195, 0.0), (0.09, -0.105, 0.0)],
        _offset_from(lambda scene: scene.body("lightswitchroot"), (-0.09, -0.095, 0.0)),
        lambda scene: scene.joint("light_switch") < -0.66,
    ),
    "slide-cabinet": _push(
        _site("slide_site"),
        [(-0.07, -0.12, 0.0), (-0.07, -0.02, 0.0)],
        _offset_from(_site("slide_site"), (0.05, -0.02, 0.0)),
        lambda scene: scene.joint("slide_cabinet") > 0.39,
    ),
    "hinge-cabinet": _door(
        "hinge_site2",
        "hingerightdoor",
        "right_hinge_cabinet",
        open_at=1.35,
        pointing=0.0,
        follows=0.6,
    ),
    "kettle": _kettle(),
}


class KitchenExpert:
    """Does subtasks one after the other, and again what was not done when its skill ended.

    watch: called after every simulated step, whoever acted, so that `action` can be asked for any
    number of times. is_done: whether a subtask has been completed.
    """

    def __init__(
        self, scene: Scene, subtasks: tuple[str, ...], is_done: Callable[[str], bool]
    ) -> None:
        self._scene, self._subtasks, self._is_done = scene, subtasks, is_done
        self.begin()

    def begin(self) -> None:
        self._start(next((name for name in self._subtasks if not self._is_done(name)), None))

    def watch(self) -> None:
        self._steps += 1
        self._trail.append(self._scene.hand)
        if self._motion is None:
            if self._readiness() < READY_WITHIN or self._steps >= 30:
                self.begin()
        elif self._ended(self._motion):
            self._steps = 0
            self._trail.clear()
            self._motion = next(self._rest, None)

    def action(self) -> np.ndarray:
        """Velocities of the seven joints and both fingers as parts of the largest, (9,), within
        [-1, 1]."""
        motion = self._motion
        if motion is None:
            return self._action(np.clip(READY - self._joints(), -0.15, 0.15) * 1.5, OPEN)
        to = self._scene.hand if motion.to is None else motion.to(self._scene)
        return self._action(GAIN * self._joint_step(to, motion.turn(self._scene)), motion.grip)

    def _start(self, name: str | None) -> None:
        self._rest = iter(SKILLS[name] if name is not None else ())
        self._motion = next(self._rest, None)
        self._steps = 0
        self._trail: deque[np.ndarray] = deque(maxlen=STALLED_STEPS + 1)

    def _ended(self, motion: Motion) -> bool:
        to = self._scene.hand if motion.to is None else motion.to(self._scene)
        near = float(np.linalg.norm(to - self._scene.hand)) < motion.near and motion.to is not None
        stalled = motion.rests and len(self._trail) > STALLED_STEPS
        stalled = (
            stalled and float(np.linalg.norm(self._trail[-1] - self._trail[0])) < STALLED_METRES
        )
        return near or stalled or self._steps >= motion.steps or bool(motion.until(self._scene))

    def _joints(self) -> np.ndarray:
        return self._scene.data.qpos[:ARM]

    def _readiness(self) -> float:
        return float(np.abs(READY - self._joints()).max())

    def _action(self, step: np.ndarray, grip: float) -> np.ndarray:
        """The action that moves the arm's joints by `step`, radians per control step."""
        # The controllers are springs: without this term the arm would hang below its targets by
        # gravity's torque over their stiffness.
        held = step + self._scene.data.qfrc_bias[:ARM] / STIFFNESS
        velocity = held / (SECONDS_PER_STEP * LARGEST_VELOCITY)
        return np.concatenate([velocity / max(1.0, np.abs(velocity).max()), [grip, grip]])

    def _joint_step(self, to: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """Radians per joint that move the hand towards a position and a rotation.

        Damped least squares within the joints' limits. What freedom remains moves the joints
        towards a posture.
        """
        mujoco, scene = load_mujoco(), self._scene
        turn, quaternion = np.zeros(3), np.zeros(4)
        mujoco.mju_mat2Quat(quaternion, (frame @ scene.frame.T).ravel())
        mujoco.mju_quat2Vel(turn, quaternion, 1.0)
        wanted = np.concatenate(
            [_limited(to - scene.hand, LARGEST_STEP), TURN_WEIGHT * _limited(turn, LARGEST_TURN)]
        )
        jacobian = scene.jacobian()
        jacobian[3:] *= TURN_WEIGHT
        joints, free = self._joints(), np.ones(ARM)
        low, high = scene.model.jnt_range[:ARM].T + np.array([[LIMIT_MARGIN], [-LIMIT_MARGIN]])
        # A joint that would pass its limit is held, and the others are solved for again. Each round
        # holds at least one more, so this ends.
        while True:
            own = jacobian * free
            inverse = own.T @ np.linalg.inv(own @ own.T + DAMPING * np.eye(6))
            # Projected onto the null space, so that leaning does not move the hand.
            leaning = (np.eye(ARM) - inverse @ own) @ (LEANING - joints)
            step = free * (inverse @ wanted + POSTURE_GAIN * leaning)
            beyond = ((joints + step < low) & (step < 0)) | ((joints + step > high) & (step > 0))
            if not beyond.any():
                return step
            free = np.where(beyond, 0.0, free)


def _limited(vector: np.ndarray, length: float) -> np.ndarray:
    """The vector, shortened to `length` if it is longer."""
    return vector * min(1.0, length / max(float(np.linalg.norm(vector)), 1e-9))
