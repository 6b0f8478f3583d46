"""The DeepMind Control suite: robots that balance, swing up, stand, walk and run, with a reward at
every step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.extras import install_command, load_package
from manyparts.core.host.renderer import choose_backend
from manyparts.core.records import Observation
from manyparts.core.spec import ActionContract, Spec
from manyparts.envs.base import EnvConfig, Environment, Instructions, Split, Suite
from manyparts.envs.cameras import CameraImages
from manyparts.envs.experts.mppi import Mppi
from manyparts.envs.goals import episode_generator
from manyparts.envs.pushing import push, release
from manyparts.envs.rendering import load_mujoco
from manyparts.envs.suites.dmc_rewards import PLANS, USUAL_PLAN, rewards_of

HORIZON = 1000
SOLVED = 0.5  # a step's reward, of at most 1, from which it counts as solved
LARGEST_CONTROL = 10.0  # where the suite sets no bounds
DEFAULT_CAMERA = "default"
# `depict` looks for an observation's scene by least squares, in at most `_MAX_TRIALS` evaluations.
# Observations that say nothing of the pose are left out. Where an observation does not determine
# the pose, a small weight keeps it near the last one.
_NEARNESS = 1e-2
_SAY_NO_POSE = ("imu", "force_torque", "touch", "foot_forces", "inertial_sensors")
_MAX_TRIALS = 30

_TASKS: Mapping[str, tuple[str, ...]] = {
    "acrobot": ("swingup", "swingup_sparse"),
    "ball_in_cup": ("catch",),
    "cartpole": (
        "balance",
        "balance_sparse",
        "swingup",
        "swingup_sparse",
        "two_poles",
        "three_poles",
    ),
    "cheetah": ("run",),
    "dog": ("stand", "walk", "trot", "run", "fetch"),
    "finger": ("spin", "turn_easy", "turn_hard"),
    "fish": ("upright", "swim"),
    "hopper": ("stand", "hop"),
    "humanoid": ("stand", "walk", "run", "run_pure_state"),
    "humanoid_CMU": ("stand", "walk", "run"),
    "lqr": ("lqr_2_1", "lqr_6_2"),
    "manipulator": ("bring_ball", "bring_peg", "insert_ball", "insert_peg"),
    "pendulum": ("swingup",),
    "point_mass": ("easy", "hard"),
    "quadruped": ("walk", "run", "escape", "fetch"),
    "reacher": ("easy", "hard"),
    "stacker": ("stack_2", "stack_4"),
    "swimmer": ("swimmer6", "swimmer15"),
    "walker": ("stand", "walk", "run"),
}
TASKS: tuple[str, ...] = ()
for _domain, _tasks in _TASKS.items():
    TASKS += tuple(f"{_domain}-{_task}" for _task in _tasks)
SPLITS: Mapping[str, tuple[str, ...]] = {
    "all": TASKS,
    "planned": (
        "cartpole-swingup",
        "pendulum-swingup",
        "reacher-easy",
        "walker-walk",
        "cheetah-run",
    ),
}


def make(task: str, config: EnvConfig, split: Split) -> ControlSuite:
    """The environment of a task of this suite.

    Args:
        task: "walker-walk" or another of `TASKS`.
        config: what it shows, and how long its episodes are.
        split: the split that episodes' starts are drawn from.

    Raises:
        UserError: the config hides or fixes goals, which this suite does not have, or names an
            unknown camera; or the suite's simulator or a renderer is missing.
    """
    return ControlSuite(task, config, split)


def renderer() -> str:
    """The name of what renders this suite."""
    return choose_backend()


class ControlSuite(Environment):
    """A task of the suite, simulated step by step as the suite does.

    A step succeeds if its reward is at least 0.5. State: positions and velocities of the model's
    joints; with "full" the suite's observation, flattened. Splits differ in their starts. The
    expert plans on the true simulator, see `Mppi`. `goal` holds the joints' start.
    """

    def __init__(self, name: str, config: EnvConfig, split: Split) -> None:
        if config.goal == "hidden" or config.context is not None:
            raise UserError(
                "dmc has no goals to hide or to fix; leave goal 'visible' and context None"
            )
        load_mujoco()
        suite = load_package("dm_control.suite", "this suite", install_command("dmc"))
        domain, _, task = name.partition("-")
        self._suite = suite.load(domain, task, task_kwargs={"random": np.random.RandomState(0)})
        self._suite.reset()
        cameras = (
            DEFAULT_CAMERA,
            *(self._model.camera(index).name for index in range(self._model.ncam)),
        )
        self.config = config
        spec = Spec(
            embodiment=f"dmc-{domain}",
            cameras=config.camera_sizes(f"dmc/{name}", cameras, (DEFAULT_CAMERA,)),
            state_names=tuple(name for name, _ in self._numbers()),
            action=self._contract(),
        )
        super().__init__(f"dmc/{name}", spec, split=split, max_steps=config.max_steps or HORIZON)
        self.goal = np.zeros(self._model.nq)
        self._domain, self._name = domain, task
        self._planner: Mppi | None = None
        self._planned: np.ndarray | None = None
        self._seed = 0
        self._camera_images = CameraImages(self._model, config, {})

    def observe(self) -> Observation:
        images = {
            name: self._image(name, size[0]) for name, size in self.embodiment_spec.cameras.items()
        }
        return {
            "images": images,
            "state": np.array([value for _, value in self._numbers()], np.float32),
        }

    def expert_action(self) -> np.ndarray:
        if self._planned is None:
            if self._planner is None:
                self._planner = self._new_planner()
                self._planner.begin(self._seed)
            self._planned = self._planner.action(self._data, held=self.action_repeat)
        contract = self.embodiment_spec.action
        return np.clip(self._planned, contract.low, contract.high).astype(np.float32)

    def render(self) -> np.ndarray:
        return self._image(DEFAULT_CAMERA, 256)

    def depict(self, states: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Draw the pose with the observation nearest to each state.

        The search for each pose begins at the one before.
        """
        from scipy.optimize import least_squares

        scene = self._suite.physics.copy(share_model=True)
        names = self.embodiment_spec.state_names
        used = np.array([not name.startswith(_SAY_NO_POSE) for name in names])

        def residuals(physical: np.ndarray, state: np.ndarray, before: np.ndarray) -> np.ndarray:
            scene.set_state(physical)
            scene.forward()
            observed = np.array([value for _, value in self._numbers(scene)])
            return np.concatenate([(observed - state)[used], _NEARNESS * (physical - before)])

        physical = scene.get_state()
        for state in states:
            physical = least_squares(
                residuals, physical, args=(state, physical), max_nfev=_MAX_TRIALS
            ).x
            # The last evaluation need not be the best one: set the scene to what is drawn.
            residuals(physical, state, physical)
            yield self._image(DEFAULT_CAMERA, 256, scene)

    def push(self, at: tuple[float, float], towards: tuple[float, float]) -> str:
        """See `envs.offers.Pushable`."""
        camera, seconds = self._camera(DEFAULT_CAMERA), self._suite.control_timestep()
        return push(self._model, self._data, self._camera_images, camera, at, towards, seconds)

    def close(self) -> None:
        self._camera_images.close()

    @property
    def _model(self) -> Any:
        return self._suite.physics.model.ptr

    @property
    def _data(self) -> Any:
        return self._suite.physics.data.ptr

    @property
    def _substeps(self) -> int:
        """Steps of the simulator per control step."""
        return round(self._suite.control_timestep() / self._model.opt.timestep)

    def _contract(self) -> ActionContract:
        bounds = self._suite.action_spec()
        names = [
            self._model.actuator(index).name or f"motor{index}" for index in range(self._model.nu)
        ]
        return ActionContract(
            representation="control",
            frame="joints",
            names=tuple(names),
            low=tuple(np.maximum(bounds.minimum, -LARGEST_CONTROL).tolist()),
            high=tuple(np.minimum(bounds.maximum, LARGEST_CONTROL).tolist()),
            control_rate_hz=round(1 / self._suite.control_timestep(), 6),
        )

    def _numbers(self, physics: Any = None) -> list[tuple[str, float]]:
        """The state's numbers with their names, of the episode's physics or of another one."""
        physics = physics or self._suite.physics
        if self.config.state == "full":
            parts = dict(self._suite.task.get_observation(physics))
        else:
            parts = {"position": physics.data.qpos, "velocity": physics.data.qvel}
        numbers: list[tuple[str, float]] = []
        for name, part in parts.items():
            values = np.asarray(part, np.float64)
            if values.ndim:
                numbers += [(f"{name}_{i}", float(value)) for i, value in enumerate(values.ravel())]
            else:
                numbers.append((name, float(values)))
        return numbers

    def _begin(self, seed: int) -> None:
        generator = episode_generator(self.task, self.split, seed)
        # The suite draws its start from a generator of NumPy's old kind.
        self._seed = int(generator.integers(2**31))
        self._suite.task._random = np.random.RandomState(self._seed)
        self._suite.reset()
        self.goal = self._data.qpos.copy()
        self._planned, self._planner = None, None

    def _advance(self, action: np.ndarray) -> tuple[float, bool]:
        """Do what the suite's own `step` does, without its time limit and its observation.

        The suite's `step` starts a new episode after its time limit (1000 steps for most tasks), or
        where a task ends.
        """
        self._planned = None
        task, physics = self._suite.task, self._suite.physics
        task.before_step(action.astype(np.float64), physics)
        physics.step(self._substeps)
        release(self._data)
        task.after_step(physics)
        reward = float(task.get_reward(physics))
        return reward, reward >= SOLVED

    def _new_planner(self) -> Mppi:
        rewards = rewards_of(self._domain, self._name, self._suite.physics, self._suite.task)
        bounds = (
            np.asarray(self.embodiment_spec.action.low),
            np.asarray(self.embodiment_spec.action.high),
        )
        return Mppi(
            self._model,
            rewards,
            PLANS.get(self._domain, USUAL_PLAN),
            *bounds,
            substeps=self._substeps,
        )

    def _image(self, name: str, size: int, physics: Any = None) -> np.ndarray:
        """The image of a camera, of the episode's physics or of another one."""
        data = (physics or self._suite.physics).data.ptr
        return self._camera_images.image(data, self._camera(name), size)

    def _camera(self, name: str) -> str:
        """The name of a camera as the model has it."""
        if name == DEFAULT_CAMERA and self._model.ncam:
            return self._model.camera(0).name
        return name


_VERBS: Mapping[str, str] = {
    "swingup": "swing it up",
    "swingup_sparse": "swing it up and hold it",
    "catch": "catch the ball",
    "balance": "balance it",
    "balance_sparse": "balance it and hold it",
    "two_poles": "balance two poles",
    "three_poles": "balance three poles",
    "run": "run",
    "stand": "stand",
    "walk": "walk",
    "trot": "trot",
    "fetch": "fetch the ball",
    "spin": "spin the body",
    "turn_easy": "turn the body to the target",
    "turn_hard": "turn the body to the small target",
    "upright": "stay upright",
    "swim": "swim to the target",
    "hop": "hop",
    "run_pure_state": "run, told by its state",
    "lqr_2_1": "bring two masses to rest",
    "lqr_6_2": "bring six masses to rest",
    "bring_ball": "bring the ball to the target",
    "bring_peg": "bring the peg to the target",
    "insert_ball": "put the ball into the basket",
    "insert_peg": "put the peg into the slot",
    "easy": "reach the target",
    "hard": "reach the small target",
    "escape": "escape from the bowl",
    "stack_2": "stack two boxes",
    "stack_4": "stack four boxes",
    "swimmer6": "swim to the target with six links",
    "swimmer15": "swim to the target with fifteen links",
}


def _instructions(name: str) -> Instructions:
    domain, _, task = name.partition("-")
    robot, verb = domain.replace("_", " "), _VERBS[task]
    return Instructions(
        f"{robot}: {verb}",
        (f"make the {robot} {verb}", f"{verb}, {robot}"),
        (f"the {robot} is to {verb}", f"let the {robot} {verb}"),
    )


INSTRUCTIONS: Mapping[str, Instructions] = {name: _instructions(name) for name in TASKS}

SUITE = Suite(
    make=make,
    instructions=INSTRUCTIONS,
    tasks=TASKS,
    renderer=renderer,
    splits=SPLITS,
    packages=("dm_control", "mujoco", "gymnasium"),
    extra="dmc",
    steps_after_success=1000,  # there is no goal to reach: episodes are recorded whole
    many_embodiments=True,
)
