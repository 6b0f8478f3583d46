"""Walkers: any number of robots that walk forward, planar or free, each with its own morphology.

A morphology's name says its universe ("train-planar-0017", "test-free-0003"). To measure transfer
to new morphologies, train on one universe and evaluate on another. The `split` of an environment is
about the starts of episodes, as in all suites. Every morphology has starts of all three splits, so
you can tune an agent to a test morphology on its training starts.

With `EnvConfig(state="shared")` all morphologies of a kind share one layout of state and action: it
has the joints of the largest, of which each uses its own, and a description of the morphology. So
one model can act with all of them, also with new ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, product

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.host.renderer import choose_backend
from manyparts.core.records import Observation
from manyparts.core.spec import ActionContract, Spec
from manyparts.envs.base import EnvConfig, Environment, Instructions, Split, Suite
from manyparts.envs.cameras import CameraImages
from manyparts.envs.experts.mppi import Mppi, MppiConfig
from manyparts.envs.goals import episode_generator
from manyparts.envs.rendering import load_mujoco
from manyparts.envs.suites.walkers_models import CAMERA, SECONDS_PER_SUBSTEP, to_mjcf
from manyparts.envs.suites.walkers_morphologies import (
    GRAVITY,
    KINDS,
    UNIVERSES,
    Kind,
    Morphology,
    draw_morphology,
    is_morphology,
)

HORIZON = 500
SUBSTEPS = 5
CONTROL_RATE_HZ = round(1 / (SUBSTEPS * SECONDS_PER_SUBSTEP), 6)
# A step succeeds from this mean reward of the last second on; the maximum is 1.
SOLVED = 0.5
CAMERAS = (CAMERA,)
# How far from the standing pose an episode starts: fraction of a joint's range, radians of heading,
# and std of velocities (m/s, rad/s).
JOINTS_VARY, HEADING_VARIES, VELOCITIES_VARY = 0.08, 0.2, 0.1
# The reward falls with the torso's height from the first fraction of its standing height on, to 0
# at the second.
STANDS, LIES = 0.8, 0.4
# The joints of the shared layout of a kind, by the names of `walkers_models`: legs from front to
# rear.
SHARED: Mapping[Kind, tuple[str, ...]] = {
    "planar": tuple(f"leg{leg}_{link}_bend" for leg, link in product(range(4), range(3))),
    "free": tuple(
        f"leg{leg}_{name}"
        for leg, name in product(range(6), ("0_roll", "0_yaw", "0_bend", "1_bend"))
    ),
}
LISTED: Mapping[str, int] = {"train": 40, "validation": 10, "test": 20}
# With half of the std, or plans of half a second, many walkers with two legs only shuffle.
PLAN = MppiConfig(seconds=0.7, samples=24, knots=6, std=1.0)

SPLITS: Mapping[str, tuple[str, ...]] = {
    f"{universe}-{kind}": tuple(
        f"{universe}-{kind}-{index:04d}" for index in range(LISTED[universe])
    )
    for universe, kind in product(UNIVERSES, KINDS)
}
TASKS: tuple[str, ...] = tuple(chain.from_iterable(SPLITS.values()))


def make(task: str, config: EnvConfig, split: Split) -> Walker:
    """The environment of a morphology.

    Args:
        task: the morphology's name, such as "train-planar-0017", listed in `TASKS` or not.
        config: what it shows, and how long its episodes are.
        split: the split that episodes' starts are drawn from.

    Raises:
        UserError: the config hides or fixes goals, which this suite does not have, or names an
            unknown camera; or nothing renders here.
        ValueError: there is no such morphology.
    """
    return Walker(task, config, split)


def renderer() -> str:
    """The name of what renders this suite."""
    return choose_backend()


class Walker(Environment):
    """One morphology, which walks forward (along x).

    Action: the fraction of its torque for each motor, in [-1, 1]. Reward: at most 1, see `rewards`.
    A step succeeds if the mean reward of the last second is at least 0.5, which is about half the
    target speed without falling.

    State: the torso's height and orientation, joint angles, and all velocities; with "full" also
    the velocity of the centre of mass, which decides the reward; with "shared" the same in the
    layout of `SHARED`, 0 for joints that it lacks, and the description of `_described`. No state
    has the position in the world. `goal` is the pose at the start.
    """

    def __init__(self, name: str, config: EnvConfig, split: Split) -> None:
        if config.goal == "hidden" or config.context is not None:
            raise UserError(
                "walkers have no goals to hide or to fix; leave goal 'visible' and context None"
            )
        camera_sizes = config.camera_sizes("walkers", CAMERAS, CAMERAS)
        self.config, self.morphology = config, draw_morphology(name)
        self.model = load_mujoco().MjModel.from_xml_string(to_mjcf(self.morphology))
        self.data = load_mujoco().MjData(self.model)
        own, shared = (
            [self.model.actuator(index).name for index in range(self.model.nu)],
            config.state == "shared",
        )
        self._joints = list(SHARED[self.morphology.kind]) if shared else own
        self._own = np.array([self._joints.index(joint) for joint in own])
        self._description = _described(self.morphology, self._joints) if shared else {}
        spec = Spec(
            embodiment=f"walkers-{self.morphology.kind if shared else name}",
            cameras=camera_sizes,
            state_names=self._state_names(),
            action=self._contract(),
        )
        super().__init__(
            f"walkers/{name}", spec, split=split, max_steps=config.max_steps or HORIZON
        )
        self.goal = self.data.qpos.copy()
        self._last_second: deque[float] = deque(maxlen=round(CONTROL_RATE_HZ))
        bounds = -np.ones(self.model.nu), np.ones(self.model.nu)
        self._planner = Mppi(self.model, self._rewards_of_states, PLAN, *bounds, substeps=SUBSTEPS)
        self._planned: np.ndarray | None = None
        self._camera_images = CameraImages(self.model, config, {})

    def observe(self) -> Observation:
        images = {
            name: self._image(name, size[0]) for name, size in self.embodiment_spec.cameras.items()
        }
        return {"images": images, "state": self._state()}

    def expert_action(self) -> np.ndarray:
        if self._planned is None:
            self._planned = self._planner.action(self.data, held=self.action_repeat)
        return self._in_layout(np.clip(self._planned, -1, 1)).astype(np.float32)

    def render(self) -> np.ndarray:
        return self._image(CAMERA, 256)

    def depict(self, states: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Draw poses at the walker's current position along the floor."""
        mujoco, scene = load_mujoco(), load_mujoco().MjData(self.model)
        first = self.model.nq - self._height_index - self.model.nu
        for state in states:
            pose, angles = state[:first], state[first : first + len(self._joints)]
            scene.qpos[:] = np.concatenate(
                [self.data.qpos[: self._height_index], pose, angles[self._own]]
            )
            mujoco.mj_forward(self.model, scene)
            yield self._camera_images.image(scene, CAMERA, 256)

    def close(self) -> None:
        self._camera_images.close()

    @property
    def _height_index(self) -> int:
        """Index of the root's height in qpos, after its position along the floor: x, or x and y."""
        return 1 if self.morphology.kind == "planar" else 2

    def _in_layout(self, values: np.ndarray) -> np.ndarray:
        """Numbers of the morphology's own joints in the layout of the state; 0 for others."""
        placed = np.zeros(len(self._joints))
        placed[self._own] = values
        return placed

    def _contract(self) -> ActionContract:
        names = tuple(self._joints)
        low, high = (-1.0,) * len(names), (1.0,) * len(names)
        return ActionContract("torque", "joints", names, low, high, control_rate_hz=CONTROL_RATE_HZ)

    def _state_names(self) -> tuple[str, ...]:
        planar, joints = self.morphology.kind == "planar", self._joints
        pose = ("height", "pitch") if planar else ("height", "qw", "qx", "qy", "qz")
        root = ("vx", "vz", "wy") if planar else ("vx", "vy", "vz", "wx", "wy", "wz")
        moving = (
            () if self.config.state == "proprioception" else ("centre_vx", "centre_vy", "centre_vz")
        )
        return (
            *pose,
            *joints,
            *root,
            *(f"{name}_velocity" for name in joints),
            *moving,
            *self._description,
        )

    def _state(self) -> np.ndarray:
        pose, angles = np.split(self.data.qpos[self._height_index :], [-self.model.nu])
        root, velocities = np.split(self.data.qvel, [-self.model.nu])
        moving = () if self.config.state == "proprioception" else self.data.sensordata
        parts = (
            pose,
            self._in_layout(angles),
            root,
            self._in_layout(velocities),
            moving,
            [*self._description.values()],
        )
        return np.concatenate(parts).astype(np.float32)

    def _begin(self, seed: int) -> None:
        generator = episode_generator(self.task, self.split, seed)
        mujoco, data = load_mujoco(), self.data
        mujoco.mj_resetData(self.model, data)
        first = self.model.nq - self.model.nu
        data.qpos[first:] = (
            JOINTS_VARY
            * generator.uniform(-1, 1, self.model.nu)
            * self.model.jnt_range[-self.model.nu :, 1]
        )
        data.qvel[:] = generator.normal(0, VELOCITIES_VARY, self.model.nv)
        if self.morphology.kind == "free":
            half = HEADING_VARIES * generator.uniform(-1, 1) / 2
            data.qpos[3:7] = np.cos(half), 0, 0, np.sin(half)
        mujoco.mj_forward(self.model, data)
        data.qpos[self._height_index] -= self._lowest()
        mujoco.mj_forward(self.model, data)
        self.goal = data.qpos.copy()
        self._last_second.clear()
        self._planner.begin(int(generator.integers(2**31)))
        self._planned = None

    def _lowest(self) -> float:
        """Height of the lowest point of all capsules, metres."""
        # A capsule ends in half a ball, so its lowest point is a radius below the lower end of its
        # axis. The vertical part of the axis is entry (2, 2) of the rotation, number 8 in a row.
        capsules = self.model.geom_type == load_mujoco().mjtGeom.mjGEOM_CAPSULE.value
        radius, half = self.model.geom_size[capsules, :2].T
        centre, along = self.data.geom_xpos[capsules, 2], self.data.geom_xmat[capsules, 8]
        return float((centre - np.abs(along) * half - radius).min())

    def _advance(self, action: np.ndarray) -> tuple[float, bool]:
        mujoco, data = load_mujoco(), self.data
        self._planned = None
        data.ctrl[:] = action[self._own]
        mujoco.mj_step(self.model, data, nstep=SUBSTEPS)
        self._require_stable()
        mujoco.mj_forward(self.model, data)
        reward = float(
            self._rewards_of_states(
                data.qpos[None], data.qvel[None], data.sensordata[None], action[None]
            )[0]
        )
        self._last_second.append(reward)
        whole = len(self._last_second) == self._last_second.maxlen
        return reward, whole and float(np.mean(self._last_second)) >= SOLVED

    def _require_stable(self) -> None:
        """Raise UserError if the simulation has become unstable."""
        # MuJoCo resets by itself when a state is not finite or far too large, and only counts it.
        if (
            any(warning.number for warning in self.data.warning)
            or not np.isfinite(self.data.qpos).all()
        ):
            raise UserError(
                f"the simulation of {self.task} is unstable: its state is no longer finite"
            )

    def _rewards_of_states(
        self, position: np.ndarray, velocity: np.ndarray, sensors: np.ndarray, control: np.ndarray
    ) -> np.ndarray:
        if self.morphology.kind == "planar":
            upright = np.cos(position[:, 2])
        else:
            upright = 1 - 2 * np.square(position[:, 4:6]).sum(axis=1)
        return rewards(
            self.morphology,
            height=position[:, self._height_index],
            upright=upright,
            speed=sensors[:, 0],
        )

    def _image(self, name: str, size: int) -> np.ndarray:
        return self._camera_images.image(self.data, name, size)


def rewards(
    morphology: Morphology, *, height: np.ndarray, upright: np.ndarray, speed: np.ndarray
) -> np.ndarray:
    """Rewards (n,) in [0, 1]: one sixth for standing and five for speed, as dm_control's walker.

    Args:
        morphology: has the standing height and the target speed.
        height: of the hips, metres.
        upright: cosine of the torso's lean from the standing pose.
        speed: of the centre of mass along x, m/s.
    """
    stands = np.clip((height / morphology.hips_height - LIES) / (STANDS - LIES), 0, 1) * np.clip(
        upright, 0, 1
    )
    return stands * (1 + 5 * np.clip(speed / morphology.speed, 0, 1)) / 6


def _described(morphology: Morphology, joints: Sequence[str]) -> dict[str, float]:
    """A morphology in numbers by name, which the shared state holds.

    Sizes (metres), mass (kg), and per joint: whether it exists (1 or 0), the length of the link
    that it turns (metres), and its torque in units of weight times height of the hips.
    """
    description = {
        "hips_height": morphology.hips_height,
        "torso": morphology.torso,
        "mass": morphology.mass,
        "stands_on_end": float(morphology.stance == "upright"),
    }
    unit = morphology.mass * GRAVITY * morphology.hips_height
    own: dict[str, tuple[float, float]] = {}
    for index, leg in enumerate(morphology.legs):
        for link, (length, axes) in enumerate(zip(leg.lengths, leg.axes, strict=True)):
            for axis in axes:
                torque = morphology.joint(leg, link, axis).torque / unit
                own[f"leg{index}_{link}_{axis}"] = (length, torque)
    for joint in joints:
        length, torque = own.get(joint, (0.0, 0.0))
        description |= {
            f"{joint}_there": float(joint in own),
            f"{joint}_length": length,
            f"{joint}_torque": torque,
        }
    return description


class _AllMorphologies(Mapping[str, Instructions]):
    """The instructions of any morphology; iterates over those in `TASKS`."""

    def __getitem__(self, name: str) -> Instructions:
        if not is_morphology(name):
            raise KeyError(name)
        return _INSTRUCTIONS

    def __iter__(self) -> Iterator[str]:
        return iter(TASKS)

    def __len__(self) -> int:
        return len(TASKS)


_INSTRUCTIONS = Instructions(
    "walk forward",
    ("go ahead on your legs", "walk straight on", "step forward and keep going"),
    ("make your way forward on foot", "keep walking ahead"),
)
INSTRUCTIONS: Mapping[str, Instructions] = _AllMorphologies()

SUITE = Suite(
    make=make,
    instructions=INSTRUCTIONS,
    tasks=TASKS,
    renderer=renderer,
    splits=SPLITS,
    packages=("mujoco", "gymnasium"),
    extra="walkers",
    steps_after_success=500,  # there is no goal to reach: episodes are recorded whole
    many_embodiments=True,
    shared_state=True,
)
