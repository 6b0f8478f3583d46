"""Point mass: a disc that is pushed over a table, seen from above; numpy only, for tests and first
tries.

Several tasks show the same images, so that only the instruction says which target is meant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from manyparts.core.records import Observation
from manyparts.core.spec import ActionContract, Spec
from manyparts.envs.base import EnvConfig, Environment, Instructions, Split, Suite
from manyparts.envs.experts.pd import pd_action
from manyparts.envs.goals import episode_generator, split_of

CAMERAS = ("top",)
HORIZON = 100

SECONDS_PER_STEP = 0.05
FORCE = 4.0
FRICTION = 4.0
PUSH = 3.0  # metres per second, the hardest
HALF_TABLE = 1.0
REACH = 0.85
TARGET_RADIUS = 0.16
DISC_RADIUS = 0.11
SUCCESS_DISTANCE = 0.1
MIN_GAP = 0.45

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (214, 39, 40),
    "green": (44, 160, 44),
    "blue": (31, 119, 230),
    "grey": (128, 128, 128),
}
TABLE = (236, 232, 222)
LEDGE = (120, 104, 84)
LEDGE_WIDTH = 0.06
DISC = (30, 30, 30)

TASKS: tuple[str, ...] = (
    "reach",
    "reach-red",
    "reach-green",
    "reach-blue",
    "reach-left",
    "reach-right",
    "reach-ledge",
)
SPLITS: Mapping[str, tuple[str, ...]] = {
    "all": TASKS,
    "colours": ("reach-red", "reach-green", "reach-blue"),
    "sides": ("reach-left", "reach-right"),
}

ACTION = ActionContract(
    representation="force",
    frame="world",
    names=("x", "y"),
    low=(-1.0, -1.0),
    high=(1.0, 1.0),
    control_rate_hz=1 / SECONDS_PER_STEP,
)
PROPRIOCEPTION = ("x", "y")
FULL = (*PROPRIOCEPTION, "velocity_x", "velocity_y", "goal_x", "goal_y")


def make(task: str, config: EnvConfig, split: Split) -> PointMass:
    """The environment of a task of this suite.

    Args:
        task: "reach" or another of `TASKS`.
        config: what it shows, and how long its episodes are.
        split: the split that goals are drawn from.

    Raises:
        UserError: the config names an unknown camera.
    """
    return PointMass(task, config, split)


def renderer() -> str:
    """The name of what renders this suite."""
    return "numpy"


class PointMass(Environment):
    """A disc of 1 kg with friction, which succeeds within 0.1 m of the goal.

    Action: force in [-1, 1] along x (right) and y (up in the image). State: position in metres,
    within [-1, 1]; with "full" also velocity and goal. A rim keeps the disc on the table, except in
    "reach-ledge": there a disc falls when its centre passes the edge, for a reward of 0, and
    the episode terminates.
    """

    def __init__(self, name: str, config: EnvConfig, split: Split) -> None:
        spec = Spec(
            embodiment="pointmass",
            cameras=config.camera_sizes("pointmass", CAMERAS, CAMERAS),
            state_names=FULL if config.state == "full" else PROPRIOCEPTION,
            action=ACTION,
        )
        super().__init__(
            f"pointmass/{name}", spec, split=split, max_steps=config.max_steps or HORIZON
        )
        self.config = config
        self.can_terminate = name == "reach-ledge"
        self._name = name
        self._position = np.zeros(2)
        self._velocity = np.zeros(2)
        self.goal = np.zeros(2)
        self._targets: list[tuple[np.ndarray, str]] = []
        self._fixed: np.ndarray | None = None
        if config.context is not None:
            generator = episode_generator(self.task, "evaluation", config.context)
            while not self._lay_out(generator, "evaluation"):
                pass
            self._fixed = np.stack([centre for centre, _ in self._targets])

    def observe(self) -> Observation:
        images = {name: self._image(size[0]) for name, size in self.embodiment_spec.cameras.items()}
        goal = self.goal if self.config.goal == "visible" else np.zeros(2)
        state = np.concatenate([self._position, self._velocity, goal])[
            : len(self.embodiment_spec.state_names)
        ]
        return {"images": images, "state": state.astype(np.float32)}

    def expert_action(self) -> np.ndarray:
        return np.clip(pd_action(self._position, self._velocity, self.goal), -1, 1).astype(
            np.float32
        )

    def render(self) -> np.ndarray:
        return self._image(256)

    def depict(self, states: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Draw the disc where states say; targets stay where they are."""
        return (self._image(256, state[:2]) for state in states)

    def locate(self, states: np.ndarray) -> np.ndarray:
        """See `envs.offers.Locating`."""
        return np.stack([states[:, 0] + HALF_TABLE, HALF_TABLE - states[:, 1]], axis=1) / (
            2 * HALF_TABLE
        )

    def push(self, at: tuple[float, float], towards: tuple[float, float]) -> str:
        """See `envs.offers.Pushable`. Only the disc can be pushed, wherever the point is."""
        self._velocity = self._velocity + PUSH * np.asarray(towards)
        return "the disc"

    def _begin(self, seed: int) -> None:
        generator = episode_generator(self.task, self.split, seed)
        while not self._lay_out(generator, self.split if self._fixed is None else "evaluation"):
            pass
        self._velocity = np.zeros(2)

    def _lay_out(self, generator: np.random.Generator, split: Split) -> bool:
        """Draw positions of the disc and its targets.

        Returns:
            False if they are too close together, or the goal belongs to another split.
        """
        colours = _target_colours(self._name)
        positions = generator.uniform(-REACH, REACH, (1 + len(colours), 2))
        if self._fixed is not None:
            positions[1:] = self._fixed
        gaps = np.linalg.norm(positions[:, None] - positions[None], axis=-1) + 2 * np.eye(
            len(positions)
        )
        targets = positions[1:]
        # The goal is the first target, unless the task asks for the leftmost or rightmost one.
        sideways = targets[np.argsort(targets[:, 0])]
        self.goal = sideways[-1] if self._name == "reach-right" else targets[0]
        if self._name == "reach-left":
            self.goal = sideways[0]
        self._position = positions[0]
        self._targets = list(zip(targets, colours, strict=True))
        apart = gaps.min() >= MIN_GAP
        sides_differ = len(colours) != 2 or sideways[1][0] - sideways[0][0] >= MIN_GAP
        return bool(apart and sides_differ and split_of(self.task, self.goal) == split)

    def _advance(self, action: np.ndarray) -> tuple[float, bool]:
        self._velocity = self._velocity + SECONDS_PER_STEP * (
            FORCE * action - FRICTION * self._velocity
        )
        moved = self._position + SECONDS_PER_STEP * self._velocity
        if self.can_terminate and _is_beyond_edge(moved):
            self._position = moved
            return 0.0, False
        self._position = np.clip(moved, -HALF_TABLE, HALF_TABLE)
        # A disc that hit the table's edge stops along that axis.
        self._velocity = np.where(moved == self._position, self._velocity, 0.0)
        distance = float(np.linalg.norm(self._position - self.goal))
        return math.exp(-2 * distance), distance <= SUCCESS_DISTANCE

    def _has_terminated(self) -> bool:
        return self.can_terminate and _is_beyond_edge(self._position)

    def _image(self, size: int, position: np.ndarray | None = None) -> np.ndarray:
        """An image of the table with the disc at `position`, its current one if None."""
        pixels = np.broadcast_to(np.asarray(TABLE, np.float64), (size, size, 3)).copy()
        if self.can_terminate:
            _paint_ledge(pixels)
        if self.config.goal == "visible":
            for centre, colour in self._targets:
                _paint_disc(pixels, centre, TARGET_RADIUS, COLOURS[colour])
        _paint_disc(pixels, self._position if position is None else position, DISC_RADIUS, DISC)
        return np.rint(pixels).astype(np.uint8)


def _target_colours(name: str) -> tuple[str, ...]:
    """Colours of a task's targets, the goal's first; two grey ones if the side decides."""
    if name in ("reach-left", "reach-right"):
        return ("grey", "grey")
    meant = name.removeprefix("reach-")
    return (
        (meant, *(each for each in ("red", "green", "blue") if each != meant))
        if meant in COLOURS
        else ("grey",)
    )


def _is_beyond_edge(position: np.ndarray) -> bool:
    """Whether a position (2,), metres, is not on the table."""
    return bool(np.abs(position).max() > HALF_TABLE)


def _paint_ledge(pixels: np.ndarray) -> None:
    """Darken the table along its edges, in float pixels (size, size, 3), in place."""
    metres_per_pixel = 2 * HALF_TABLE / len(pixels)
    to_centre = np.abs(_pixel_centres(len(pixels)))
    to_edge = HALF_TABLE - np.maximum(to_centre[None, :], to_centre[:, None])
    cover = np.clip((LEDGE_WIDTH - to_edge) / metres_per_pixel + 0.5, 0, 1)[..., None]
    pixels += cover * (np.asarray(LEDGE) - pixels)


def _pixel_centres(size: int) -> np.ndarray:
    """Where the centres of a row of pixels are, metres from the table's centre: (size,)."""
    return (np.arange(size) + 0.5) * (2 * HALF_TABLE / size) - HALF_TABLE


def _paint_disc(
    pixels: np.ndarray, centre: np.ndarray, radius: float, colour: tuple[int, int, int]
) -> None:
    """Blend a disc with an edge of one pixel into float pixels (size, size, 3), in place.

    Args:
        pixels: the image. Its upper edge is y = 1.
        centre: of the disc, metres.
        radius: metres.
        colour: RGB, 0 to 255.
    """
    size = len(pixels)
    metres_per_pixel = 2 * HALF_TABLE / size
    across = _pixel_centres(size) - centre[0]
    down = -_pixel_centres(size) - centre[1]
    # Only the square around the disc: a pixel farther away is not covered at all.
    reach = radius + metres_per_pixel
    columns, rows = np.flatnonzero(np.abs(across) <= reach), np.flatnonzero(np.abs(down) <= reach)
    if not len(columns) or not len(rows):
        return
    square = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    distance = np.hypot(across[None, square[1]], down[square[0], None])
    cover = np.clip((radius - distance) / metres_per_pixel + 0.5, 0, 1)[..., None]
    pixels[square] += cover * (np.asarray(colour) - pixels[square])


def _instructions(instruction: str, *others: str) -> Instructions:
    return Instructions(instruction, others[:-2], others[-2:])


INSTRUCTIONS: Mapping[str, Instructions] = {
    "reach": _instructions(
        "move to the target",
        "go to the target",
        "push the disc onto the target",
        "head for the marked spot",
        "drive to the grey circle",
        "bring the disc to the marker",
    ),
    "reach-red": _instructions(
        "move to the red target",
        "go to the red circle",
        "push the disc onto the red spot",
        "head for the red one",
        "drive to the target that is red",
        "bring the disc to the red marker",
    ),
    "reach-green": _instructions(
        "move to the green target",
        "go to the green circle",
        "push the disc onto the green spot",
        "head for the green one",
        "drive to the target that is green",
        "bring the disc to the green marker",
    ),
    "reach-blue": _instructions(
        "move to the blue target",
        "go to the blue circle",
        "push the disc onto the blue spot",
        "head for the blue one",
        "drive to the target that is blue",
        "bring the disc to the blue marker",
    ),
    "reach-left": _instructions(
        "move to the left target",
        "go to the circle on the left",
        "push the disc onto the left spot",
        "head for the one further left",
        "drive to the leftmost target",
        "bring the disc to the marker on the left side",
    ),
    "reach-right": _instructions(
        "move to the right target",
        "go to the circle on the right",
        "push the disc onto the right spot",
        "head for the one further right",
        "drive to the rightmost target",
        "bring the disc to the marker on the right side",
    ),
    "reach-ledge": _instructions(
        "move to the target and stay on the table",
        "go to the target without falling off",
        "push the disc onto the target but not over the edge",
        "head for the marked spot and keep away from the edge",
        "drive to the grey circle on the table without a rim",
        "bring the disc to the marker and do not let it fall",
    ),
}

SUITE = Suite(
    make=make,
    instructions=INSTRUCTIONS,
    tasks=TASKS,
    renderer=renderer,
    splits=SPLITS,
    packages=("numpy",),
    steps_after_success=20,
)
