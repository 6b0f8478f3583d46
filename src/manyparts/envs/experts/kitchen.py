"""An expert of the Franka kitchen: seven scripted skills, each a few motions of the hand by
differential inverse kinematics, done one after the other."""

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
LARGEST_VELOCITY = 2.0  # radians a second of action 1
LARGEST_STEP = 0.1  # metres that the hand aims at in a control step
LARGEST_TURN = 0.4  # radians
TURN_WEIGHT = 0.3  # metres for a radian, where both cannot be had
DAMPING = 3e-3
POSTURE_GAIN = 0.1
GAIN = 1.1  # of joint steps; the joints' controllers lag by about half a step
LIMIT_MARGIN = 0.05  # radians
STIFFNESS = np.array([870.0] * 4 + [120.0] * 3)  # of the joints' controllers, N m a radian
STALLED_METRES, STALLED_STEPS = 0.004, 4
SHUT, OPEN = -1.0, 1.0
# Where the arm goes between skills, and towards which it leans while it moves: radians.
READY = np.array([-0.3, -1.5, 1.84, -2.3, 0.26, 1.0, 1.6])
LEANING = np.array([0.148, -1.76, 1.84, -2.48, 0.26, 0.71, 1.6])
READY_WITHIN = 0.25


class Scene:
    """What a script asks of the simulator. All places are in metres in the world frame."""

    def __init__(self, model: Any, data: Any) -> None:
        self.model, self.data = model, data
        self._hand = model.site("end_effector").id

    def site(self, name: str) -> np.ndarray:
        return self.data.site(name).xpos.copy()

    def body(self, name: str) -> np.ndarray:
        return self.data.body(name).xpos.copy()

    def joint(self, name: str) -> float:
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
        """Of the hand's place and turn by the arm's joints: (6, 7)."""
        found = np.zeros((6, self.model.nv))
        load_mujoco().mj_jacSite(self.model, self.data, found[:3], found[3:], self._hand)
        return found[:, :ARM]


Where = Callable[[Scene], np.ndarray]


@dataclass(frozen=True)
class Motion:
    """One motion of the hand. It ends when the hand is `near` its target, when `until` holds, when
    it has come to rest where it `rests`, or after `steps`. to: None: stay. turn: of the hand, as
    `Scene.frame`. grip: `SHUT` or `OPEN`."""

    to: Where | None
    turn: Where
    grip: float
    near: float = 0.0
    steps: int = 70
    until: Callable[[Scene], bool] = lambda scene: False
    rests: bool = False


def _turned(vector: np.ndarray, angle: float) -> np.ndarray:
    """About the vertical, in radians, to the left."""
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
    """Come from 13 cm away, and shut the fingers `deeper` than the handle's middle."""
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
    """Let go, and draw the hand back by some metres in each step."""
    return [
        Motion(None, turn, OPEN, steps=3),
        Motion(lambda scene: scene.hand - back * scene.frame[:, 2], turn, OPEN, steps=4),
    ]


def _door(
    handle: str, hinge: str, joint: str, *, open_at: float, pointing: float, follows: float
) -> list[Motion]:
    """Pull a door open by its upright handle. open_at: radians of the joint. pointing: of the hand,
    to the left of straight ahead. follows: part of the door's turn that the hand makes."""

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
    """With the fingers shut: over `stops`, offsets from `place`, then to where `follow` leads until
    it is done, and away."""

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
    """Turn a knob by pushing the upper end of its lever, `lever` metres above its axis, to the
    right."""

    def follow(scene: Scene) -> np.ndarray:
        turned = -scene.joint(joint)
        return scene.site(site) + np.array(
            [0.05 + 0.05 * math.sin(turned), -0.03, lever * math.cos(turned)]
        )

    stops = [(-0.05, -0.12, 0.04), (-0.045, -0.035, lever)]
    return _push(_site(site), stops, follow, lambda scene: scene.joint(joint) < -0.85)


def _kettle() -> list[Motion]:
    """Lift it by its handle onto the burner behind."""
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
        """step: of the arm's joints, radians in a control step, to which what gravity takes is
        added."""
        held = step + self._scene.data.qfrc_bias[:ARM] / STIFFNESS
        velocity = held / (SECONDS_PER_STEP * LARGEST_VELOCITY)
        return np.concatenate([velocity / max(1.0, np.abs(velocity).max()), [grip, grip]])

    def _joint_step(self, to: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """Radians of each joint that bring the hand towards a place and a turn, by damped least
        squares within the joints' limits; what freedom is left leans towards a posture."""
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
        while True:
            own = jacobian * free
            inverse = own.T @ np.linalg.inv(own @ own.T + DAMPING * np.eye(6))
            leaning = (np.eye(ARM) - inverse @ own) @ (LEANING - joints)
            step = free * (inverse @ wanted + POSTURE_GAIN * leaning)
            beyond = ((joints + step < low) & (step < 0)) | ((joints + step > high) & (step > 0))
            if not beyond.any():
                return step
            free = np.where(beyond, 0.0, free)


def _limited(vector: np.ndarray, length: float) -> np.ndarray:
    return vector * min(1.0, length / max(float(np.linalg.norm(vector)), 1e-9))
