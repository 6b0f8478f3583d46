"""What config.json of a folder of `manyparts export --format lerobot` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from lerobot.configs.policies import PreTrainedConfig

TRAINED_BY = "manyparts trains this policy: `manyparts train`; LeRobot runs it"


@PreTrainedConfig.register_subclass("manyparts")
@dataclass
class ManypartsConfig(PreTrainedConfig):
    """An agent of manyparts."""

    agent: str = "agent"
    """The folder of the agent's checkpoint, below that of config.json."""

    embodiment: str | None = None
    """The robot to act for; None if the agent learned only one."""

    @property
    def observation_delta_indices(self) -> None:
        return None

    @property
    def action_delta_indices(self) -> None:
        return None

    @property
    def reward_delta_indices(self) -> None:
        return None

    def get_optimizer_preset(self) -> NoReturn:
        raise NotImplementedError(TRAINED_BY)

    def get_scheduler_preset(self) -> NoReturn:
        raise NotImplementedError(TRAINED_BY)

    def validate_features(self) -> None:
        if self.action_feature is None:
            raise ValueError("the policy has no feature 'action'")
