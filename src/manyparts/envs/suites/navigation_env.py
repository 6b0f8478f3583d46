"""Image-goal navigation: episodes, expert and measures, for a scene of any simulator."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.records import Observation
from manyparts.core.spec import ActionContract, Spec
from manyparts.envs.base import EnvConfig, Environment, Split
from manyparts.envs.experts.shortest_path import turns_towards
from manyparts.envs.goals import episode_generator

TURN_LEFT, TURN_RIGHT, FORWARD, STOP = range(4)
CHOICES = ("turn_left", "turn_right", "forward", "stop")
STEP_METRES = 0.25
TURN_RADIANS = math.radians(15)
# Nominal, because nothing here depends on time: forward is then 1 m/s.
STEPS_PER_SECOND = 4.0
ACTION = ActionContract.discrete(CHOICES, frame="body", control_rate_hz=STEPS_PER_SECOND)

GOAL_CAMERA = "goal"
CAMERAS = ("first_person", GOAL_CAMERA)
PROPRIOCEPTION = ("bumped",)
FULL = (*PROPRIOCEPTION, "x", "z", "heading_cos", "heading_sin", "goal_x", "goal_z")

SUCCESS_METRES = 1.0
# Where the expert stops: well within the success radius, and no nearer than steps and turns of this
# size are sure to bring it.
ARRIVED_METRES = 0.5
MIN_GAIN_METRES = 0.01
MIN_PATH_METRES = 2.0
# Splits are diagonal stripes of the floor, so that corridors along either axis cross all of them.
STRIPES_METRES = 10.0
EVALUATION_METRES = 2.0
DRAWS = 10_000


@runtime_checkable
class Route(Protocol):
    """The shortest paths from everywhere to one goal; see `experts.shortest_path.FloorRoute`."""

    def distance(self, position: np.ndarray) -> float:
        """Metres of the shortest path from a position; infinite if there is none."""
        ...

    def next_stop(self, position: np.ndarray) -> np.ndarray:
        """The first bend of the shortest path from a position, or the goal."""
        ...


@runtime_checkable
class Scene(Protocol):
    """One world with a floor.

    Positions are float (2,), (x, z) in metres. Headings are radians, 0 along x and counted to the
    left, so that forward is (cos, -sin).
    """

    def sample(self, generator: np.random.Generator) -> np.ndarray:
        """A free position, uniform over the floor."""
        ...

    def route(self, goal: np.ndarray) -> Route:
        """The shortest paths to a goal."""
        ...

    def is_free(self, position: np.ndarray) -> bool:
        """Whether the robot can stand at a position."""
        ...

    def image(
        self, position: np.ndarray, heading: float, size: int, *, marker: np.ndarray | None
    ) -> np.ndarray:
        """What is seen from a pose.

        Args:
            position: of the robot, float (2,), metres.
            heading: of the robot, radians.
            size: side of the image in pixels.
            marker: position of the goal's marker, float (2,), metres; None: no marker is drawn.

        Returns:
            uint8 (size, size, 3).
        """
        ...

    def close(self) -> None:
        """Release the renderer."""
        ...


class Navigation(Environment):
    """Image-goal navigation, which succeeds within 1 m of the goal.

    Action: one of `CHOICES`. A step forward into a wall does nothing; "stop" stands still and does
    not end the episode. State: whether a wall blocked the last step forward; with "full" also pose
    and goal. Cameras: "first_person", and "goal", the image from the goal's pose, constant in an
    episode. If the goal is visible, a marker stands there, which blocks nothing.
    """

    def __init__(
        self,
        task: str,
        scene: Scene,
        *,
        embodiment: str,
        config: EnvConfig,
        split: Split,
        horizon: int,
    ) -> None:
        cameras = config.camera_sizes("navigation", CAMERAS, CAMERAS)
        if config.context is not None:
            raise UserError(
                "navigation has no contexts: an episode's goal is drawn within its world"
            )
        spec = Spec(
            embodiment=embodiment,
            cameras=cameras,
            state_names=FULL if config.state == "full" else PROPRIOCEPTION,
            action=ACTION,
            goal_camera=GOAL_CAMERA if GOAL_CAMERA in cameras else None,
        )
        super().__init__(task, spec, split=split, max_steps=config.max_steps or horizon)
        self.config, self.scene = config, scene
        self.position = self.goal = np.zeros(2)
        self.heading = self.goal_heading = 0.0
        self._bumped = self._solved = False
        self._travelled = self._shortest = 0.0
        self._route: Route | None = None
        self._goal_image: np.ndarray | None = None

    def goal_image(self) -> np.ndarray:
        """The image from the goal's pose, without a marker: uint8 (size, size, 3)."""
        if self._goal_image is None:
            size = self.config.image_size
            self._goal_image = self.scene.image(self.goal, self.goal_heading, size, marker=None)
        return self._goal_image

    def observe(self) -> Observation:
        views = {"first_person": self._view, GOAL_CAMERA: self.goal_image}
        return {
            "images": {name: views[name]() for name in self.embodiment_spec.cameras},
            "state": self._state(),
        }

    def expert_action(self) -> np.ndarray:
        """Go along the shortest path, turn to the goal's heading, then stop: float32 (1,)."""
        return np.array([self._expert_choice()], np.float32)

    def metrics(self) -> dict[str, float]:
        """spl: see `success_weighted_path_length`."""
        return {"spl": success_weighted_path_length(self._solved, self._shortest, self._travelled)}

    def render(self) -> np.ndarray:
        return self.scene.image(self.position, self.heading, 256, marker=self._marker())

    def close(self) -> None:
        self.scene.close()

    def _begin(self, seed: int) -> None:
        generator = episode_generator(self.task, self.split, seed)
        self.goal, self.position, self._route = self._draw(generator)
        self.heading, self.goal_heading = generator.uniform(-math.pi, math.pi, 2).tolist()
        self._shortest, self._travelled = self._route.distance(self.position), 0.0
        self._bumped = self._solved = False
        self._goal_image = None

    def _advance(self, action: np.ndarray) -> tuple[float, bool]:
        choice = int(action[0])
        self._bumped = False
        if choice in (TURN_LEFT, TURN_RIGHT):
            self.heading += TURN_RADIANS if choice == TURN_LEFT else -TURN_RADIANS
        elif choice == FORWARD:
            self._go_forward()
        success = bool(np.linalg.norm(self.position - self.goal) <= SUCCESS_METRES)
        self._solved |= success
        return float(success), success

    def _go_forward(self) -> None:
        position = self._ahead(self.heading)
        self._bumped = not self.scene.is_free(position)
        if not self._bumped:
            self.position = position
            self._travelled += 0.0 if self._solved else STEP_METRES

    def _ahead(self, heading: float) -> np.ndarray:
        return self.position + STEP_METRES * np.array([math.cos(heading), -math.sin(heading)])

    def _draw(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Route]:
        """Goal, start and the paths to the goal, which is of this split and not too near."""
        for _ in range(DRAWS):
            goal = self.scene.sample(generator)
            if split_of_position(goal) != self.split:
                continue
            start, route = self.scene.sample(generator), self.scene.route(goal)
            if MIN_PATH_METRES <= route.distance(start) < math.inf:
                return goal, start, route
        raise RuntimeError(
            f"{DRAWS} draws gave no start and goal of {self.task} for split {self.split}"
        )

    def _expert_choice(self) -> int:
        assert self._route is not None, "no episode has begun"
        if np.linalg.norm(self.position - self.goal) <= ARRIVED_METRES:
            return _turn(
                turns_towards(self.heading, self.goal_heading, turn=TURN_RADIANS), otherwise=STOP
            )
        route, left = self._route, self._route.distance(self.position)

        def helps(heading: float) -> bool:
            """Whether a step forward is free and brings the goal nearer, so that none is undone."""
            position = self._ahead(heading)
            return (
                self.scene.is_free(position) and route.distance(position) < left - MIN_GAIN_METRES
            )

        x, z = route.next_stop(self.position) - self.position
        return _turn(
            turns_towards(self.heading, math.atan2(-z, x), turn=TURN_RADIANS, helps=helps),
            otherwise=FORWARD,
        )

    def _view(self) -> np.ndarray:
        return self.scene.image(
            self.position, self.heading, self.config.image_size, marker=self._marker()
        )

    def _marker(self) -> np.ndarray | None:
        return self.goal if self.config.goal == "visible" else None

    def _state(self) -> np.ndarray:
        goal = self.goal if self.config.goal == "visible" else np.zeros(2)
        values = [
            self._bumped,
            *self.position,
            math.cos(self.heading),
            math.sin(self.heading),
            *goal,
        ]
        return np.array(values[: len(self.embodiment_spec.state_names)], np.float32)


def split_of_position(goal: np.ndarray) -> Split:
    """The split that a goal (x, z) in metres belongs to.

    Of every ten metres across the stripes, two are evaluation, one on either side of these is
    validation, and six are training. So no training goal is within the success radius of an
    evaluation goal.
    """
    across = float(goal.sum() / math.sqrt(2)) % STRIPES_METRES
    if across < EVALUATION_METRES:
        return "evaluation"
    to_evaluation = min(across - EVALUATION_METRES, STRIPES_METRES - across)
    return "validation" if to_evaluation < SUCCESS_METRES else "train"


def success_weighted_path_length(success: bool, shortest: float, travelled: float) -> float:
    """S l / max(p, l), the term of one episode in SPL (Anderson et al. 2018, arXiv 1807.06757,
    section 5).

    Args:
        success: S, whether the goal was reached.
        shortest: l, metres of the shortest path from start to goal.
        travelled: p, metres travelled until success.
    """
    return shortest / max(travelled, shortest) if success else 0.0


def _turn(turns: int, *, otherwise: int) -> int:
    """The action for the first of some turns, positive to the left; `otherwise` if none."""
    if turns == 0:
        return otherwise
    return TURN_LEFT if turns > 0 else TURN_RIGHT
