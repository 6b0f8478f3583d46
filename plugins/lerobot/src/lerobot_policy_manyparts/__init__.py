"""Agents of manyparts as policies of LeRobot, and its tasks as environments.

LeRobot imports this module, which declares both and loads no agent.
"""

from lerobot_policy_manyparts.configuration_manyparts import ManypartsConfig
from lerobot_policy_manyparts.environment import ManypartsEnvConfig

__all__ = ["ManypartsConfig", "ManypartsEnvConfig"]
