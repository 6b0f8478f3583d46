"""Small Gymnasium environments: a dot on a line, and ones that break a promise each.

They are registered when the module is imported, so that `gym:gym_worlds:Dot-v0` names one.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

SIZE = 32
LETTERS = "abcdefghijklmnopqrstuvwxyz "


class Dot(gymnasium.Env):
    """A dot that is moved to a goal on a line of length 2. It succeeds within 0.1."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        number = spaces.Box(-1.0, 1.0, (1,), np.float32)
        pixels = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.observation_space: spaces.Space = spaces.Dict(
            {
                "pixels": spaces.Dict({"top": pixels}),
                "position": number,
                "desired_goal": number,
                "mission": spaces.Text(30, charset=LETTERS),
            }
        )
        self.action_space: spaces.Space = spaces.Box(-0.2, 0.2, (1,), np.float32)
        self.position = self.goal = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.position, self.goal = self.np_random.uniform(-1, 1, 2).tolist()
        return self.observed(), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.position = float(np.clip(self.position + float(np.ravel(action)[0]), -1, 1))
        distance = abs(self.position - self.goal)
        return self.observed(), -distance, False, False, {"is_success": np.array(distance < 0.1)}

    def observed(self) -> Any:
        return {
            "pixels": {"top": self.drawn()},
            "position": np.array([self.position], np.float32),
            "desired_goal": np.array([self.goal], np.float32),
            "mission": "go left" if self.goal < 0 else "go right",
        }

    def drawn(self) -> np.ndarray:
        image = np.full((SIZE, SIZE, 3), 255, np.uint8)
        for where, colour in ((self.goal, (200, 0, 0)), (self.position, (0, 0, 0))):
            column = int((where + 1) / 2 * (SIZE - 1))
            image[:, column] = colour
        return image

    def render(self) -> np.ndarray:
        return self.drawn()


class Silent(Dot):
    """It does not say when it is solved."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return *super().step(action)[:4], {}


class Choices(Dot):
    """A step to the left, none, or one to the right; it ends when it is solved, with a reward."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.action_space = spaces.Discrete(3, start=-1)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        assert isinstance(action, int) and action in (-1, 0, 1), action
        *rest, info = super().step(np.array([0.15 * action]))
        solved = bool(info["is_success"])
        return rest[0], float(solved), solved, False, {}


class Forgetful(Dot):
    """Its seeds do not reproduce: it draws from a generator of its own."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.position = float(np.random.default_rng().uniform(-1, 1))
        return self.observed(), {}


class Global(Dot):
    """It draws from numpy's global generator, at its reset and at each step."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.position = float(np.random.uniform(-1, 1))  # noqa: NPY002
        return self.observed(), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return super().step(action + np.random.uniform(-0.01, 0.01))  # noqa: NPY002


class Restless(Dot):
    """The same actions lead elsewhere."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return super().step(action + np.random.default_rng().uniform(-0.1, 0.1))


class Liar(Dot):
    """Its observation space does not hold its positions."""

    def observed(self) -> Any:
        seen = super().observed()
        return {**seen, "position": 10 + seen["position"]}


class Floats(Dot):
    """Its images are floats, although its space says bytes."""

    def drawn(self) -> np.ndarray:
        return super().drawn() / np.float32(255)


class Growing(Dot):
    """Its images change their size."""

    def drawn(self) -> np.ndarray:
        return super().drawn()[: SIZE - round(4 * abs(self.position))]


class Vector(Dot):
    """Its rewards are vectors."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, *rest = super().step(action)
        return observation, np.array([reward, 1.0]), *rest


class Raising(Dot):
    """It raises in the middle of an episode."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self.steps = 0
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.steps += 1
        if self.steps > 8 and self.goal > 0:
            raise RuntimeError("the solver\ndiverged")
        return super().step(action)


class Wordless(Dot):
    """Its instruction is empty."""

    def observed(self) -> Any:
        return {**super().observed(), "mission": ""}


class Binary(Dot):
    """Its actions are switches."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.action_space = spaces.MultiBinary(3)


class Undrawn(Dot):
    """It cannot be drawn, and has no other images."""

    def observed(self) -> dict[str, Any]:
        return {name: value for name, value in super().observed().items() if name == "position"}

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = spaces.Dict({"position": self.observation_space["position"]})

    def render(self) -> np.ndarray:
        raise RuntimeError("pygame is not installed")


class Seen(Undrawn):
    """It is seen by `render` alone."""

    def render(self) -> np.ndarray:
        return np.zeros((32, 32, 3), np.uint8)


for _kind in (
    *(Dot, Silent, Choices, Forgetful, Global, Restless, Liar, Floats, Growing, Vector, Raising),
    *(Wordless, Binary, Undrawn),
):
    gymnasium.register(
        f"{_kind.__name__}-v0", entry_point=f"{__name__}:{_kind.__name__}", max_episode_steps=20
    )
gymnasium.register("Endless-v0", entry_point=f"{__name__}:Dot")
gymnasium.register("Seen-v0", entry_point=lambda **given: Seen(**given), max_episode_steps=20)
