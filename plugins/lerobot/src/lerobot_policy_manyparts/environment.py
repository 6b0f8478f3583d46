"""Tasks of manyparts as environments of LeRobot: `lerobot-eval --env.type=manyparts`."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

import manyparts
from manyparts.core.spec import Spec
from manyparts.envs import registry
from manyparts.evaluation.conditions import environments_of
from manyparts.models.checkpoint import load_info, resolve

_ID = "lerobot_policy_manyparts/Task-v0"


@EnvConfig.register_subclass("manyparts")
@dataclass
class ManypartsEnvConfig(EnvConfig):
    """A task of manyparts, shown as an agent's data showed it."""

    task: str | None = None
    """Such as pointmass/reach-red; `manyparts list tasks` shows all."""

    run: str = ""
    """A run, a checkpoint or a folder of `manyparts export`, which says what the task shows."""

    split: str = "evaluation"
    """Of goals: train, validation or evaluation. A seed is that of `manyparts.make(...).reset`."""

    features: dict[str, PolicyFeature] = field(default_factory=dict)
    features_map: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.task or not self.run:
            raise ValueError("give --env.task=SUITE/TASK and --env.run=RUN")
        spec = _spec(self.task, self.run, self.split)
        self.fps = round(spec.action.control_rate_hz) or 1
        self.features = {ACTION: PolicyFeature(FeatureType.ACTION, (spec.action.dimension,))}
        self.features_map = {ACTION: ACTION}
        for name, size in spec.cameras.items():
            self.features[f"pixels/{name}"] = PolicyFeature(FeatureType.VISUAL, (*size, 3))
            self.features_map[f"pixels/{name}"] = f"{OBS_IMAGES}.{name}"
        if spec.state_names:
            shape = (spec.state_dimension,)
            self.features["agent_pos"] = PolicyFeature(FeatureType.STATE, shape)
            self.features_map["agent_pos"] = OBS_STATE

    @property
    def package_name(self) -> str:
        return "lerobot_policy_manyparts"

    @property
    def gym_id(self) -> str:
        return _ID

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        return {"task_name": self.task, "run": self.run, "split": self.split}


class TaskEnvironment(gymnasium.Env):
    """One task, with LeRobot's names of observations.

    Args:
        task_name: "suite/task".
        run: What says what it shows.
        split: Of goals.
    """

    def __init__(self, task_name: str, run: str, split: str, **others: Any) -> None:
        del others  # of gymnasium.make
        self.inner = _environment(task_name, run, split)
        self.task = task_name
        self._succeeded: bool | None = False
        spec, spaces = self.inner.embodiment_spec, gymnasium.spaces
        pixels = {
            name: spaces.Box(0, 255, (*size, 3), np.uint8) for name, size in spec.cameras.items()
        }
        observed: dict[str, gymnasium.Space] = {"pixels": spaces.Dict(pixels)} if pixels else {}
        if spec.state_names:
            shape = (spec.state_dimension,)
            observed["agent_pos"] = spaces.Box(-np.inf, np.inf, shape, np.float32)
        self.observation_space = spaces.Dict(observed)
        self.action_space = self.inner.action_space
        rate = max(1, round(spec.action.control_rate_hz))  # LeRobot's videos need a whole number
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": rate}
        self.render_mode = "rgb_array"
        self._max_episode_steps = self.inner.max_steps

    @property
    def task_description(self) -> str:
        """The instruction of this episode, or else of the task."""
        said = self.inner.episode_instruction()
        return said or registry.instructions(self.task).instruction

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        observation, _ = self.inner.reset(seed=seed, options=options)
        self._succeeded = False
        return self._named(observation), {"is_success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.inner.step(action)
        self._succeeded = bool(self._succeeded or info["success"])
        return (
            self._named(observation),
            float(reward),
            terminated,
            truncated,
            {"is_success": self._succeeded},
        )

    def render(self) -> Any:
        return self.inner.render()

    def close(self) -> None:
        self.inner.close()

    def _named(self, observation: Any) -> dict[str, Any]:
        named: dict[str, Any] = {}
        if observation["images"]:
            named["pixels"] = dict(observation["images"])
        if self.inner.embodiment_spec.state_names:
            named["agent_pos"] = observation["state"]
        return named


# Without these wrappers, which hide task_description from LeRobot, an instruction reaches it.
gymnasium.register(
    _ID,
    entry_point=TaskEnvironment,
    order_enforce=False,
    disable_env_checker=True,
)


def _environment(task: str, run: str, split: str) -> Any:
    return manyparts.make(task, _shown(task, run), split=split)


@functools.lru_cache(maxsize=8)
def _shown(task: str, run: str) -> Any:
    """What the task shows, as the agent's data did."""
    (config,) = environments_of(load_info(resolve(run)), [task]).values()
    return config


@functools.lru_cache(maxsize=8)
def _spec(task: str, run: str, split: str) -> Spec:
    env = _environment(task, run, split)
    try:
        return env.embodiment_spec
    finally:
        env.close()
