"""Dial: a needle that a motor turns to a red mark, drawn with numpy."""

from __future__ import annotations

import math

import numpy as np

from manyparts.core.records import Observation
from manyparts.core.spec import ActionContract, Spec
from manyparts.envs.base import EnvConfig, Environment, Instructions, Split, Suite
from manyparts.envs.goals import episode_generator, split_of

SECONDS_PER_STEP = 0.1
SUCCESS_ANGLE = 0.1  # radians
ACTION = ActionContract(
    representation="velocity",
    frame="joints",
    names=("turn",),
    low=(-2.0,),
    high=(2.0,),
    control_rate_hz=1 / SECONDS_PER_STEP,
)


class Dial(Environment):
    """A needle without inertia. It succeeds within 0.1 rad of the mark."""

    def __init__(self, task: str, config: EnvConfig, split: Split) -> None:
        cameras = config.camera_sizes("dial", choices=("front",), default=("front",))
        names = ("cos", "sin", "mark_cos", "mark_sin")
        names = names if config.state == "full" else names[:2]
        spec = Spec("dial", cameras, names, ACTION)
        super().__init__(f"dial/{task}", spec, split=split, max_steps=config.max_steps or 40)
        self.config = config

    def _begin(self, seed: int) -> None:
        # With a context, all episodes share the mark that its seed draws.
        of_mark, split = seed, self.split
        if self.config.context is not None:
            of_mark, split = self.config.context, "evaluation"
        self.mark = self._draw_mark(of_mark, split)
        start = episode_generator(f"{self.task} start", self.split, seed)
        self.angle = float(start.uniform(-math.pi, math.pi))

    def _draw_mark(self, seed: int, split: Split) -> float:
        """A mark of this split: the marks of two splits never coincide."""
        generator = episode_generator(self.task, split, seed)
        while split_of(self.task, mark := generator.uniform(-math.pi, math.pi, 1)) != split:
            pass
        return float(mark[0])

    def _advance(self, action: np.ndarray) -> tuple[float, bool]:
        self.angle += SECONDS_PER_STEP * float(action[0])
        missing = abs(self._to_mark())
        return 1 - missing / math.pi, missing <= SUCCESS_ANGLE

    def _to_mark(self) -> float:
        """The angle from the needle to the mark, the shorter way round, in radians."""
        return math.remainder(self.mark - self.angle, 2 * math.pi)

    def observe(self) -> Observation:
        shown = 1.0 if self.config.goal == "visible" else 0.0
        mark = (shown * math.cos(self.mark), shown * math.sin(self.mark))
        state = np.array([math.cos(self.angle), math.sin(self.angle), *mark], np.float32)
        state = state[: self.embodiment_spec.state_dimension]
        images = {name: self._draw(size) for name, (size, _) in self._cameras()}
        return {"images": images, "state": state}

    def _cameras(self) -> list[tuple[str, tuple[int, int]]]:
        return list(self.embodiment_spec.cameras.items())

    def expert_action(self) -> np.ndarray:
        return ACTION.executed(np.array([self._to_mark() / SECONDS_PER_STEP], np.float32))

    def render(self) -> np.ndarray:
        return self._draw(256)

    def _draw(self, size: int) -> np.ndarray:
        image = np.full((size, size, 3), 230, np.uint8)
        across = (np.arange(size) + 0.5) / size * 2 - 1  # of each column; the image is 2 wide
        x, y = np.meshgrid(across, -across)
        if self.config.goal == "visible":
            away = np.hypot(x - 0.8 * math.cos(self.mark), y - 0.8 * math.sin(self.mark))
            image[away < 0.15] = (214, 39, 40)
        along = x * math.cos(self.angle) + y * math.sin(self.angle)
        aside = np.abs(y * math.cos(self.angle) - x * math.sin(self.angle))
        image[(along > 0) & (along < 0.7) & (aside < 0.06)] = (30, 30, 30)
        return image


SUITE = Suite(
    make=Dial,
    instructions={
        "turn": Instructions(
            instruction="turn the needle to the red mark",
            paraphrases=("point at the mark", "set the dial to red", "move the hand to the mark"),
            held_out=("let the needle show the mark", "dial the red mark"),
        )
    },
    tasks=("turn",),
    renderer=lambda: "numpy",
    packages=("numpy",),
    steps_after_success=5,
)
