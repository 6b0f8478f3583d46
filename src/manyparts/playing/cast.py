"""What a command offers to play with: tasks, who acts in them, and where episodes are saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from manyparts.agents.base import Agent
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.config import WindowConfig
from manyparts.envs.base import EnvConfig, Environment, Split
from manyparts.envs.registry import make, suite_of
from manyparts.playing.counts import Counts
from manyparts.playing.recording import Recorder


@dataclass
class Cast:
    """What all pages of a server share."""

    name: str
    """Who acts, as it was typed: a run, `random`, `expert` or `hand`."""

    tasks: Sequence[str]
    """Names of the tasks, at least one."""

    configs: Mapping[str, EnvConfig]
    """Suite to what its environments show."""

    split: Split
    """The split that goals are drawn from."""

    agent_of: Callable[[Environment, int], Agent] | None = None
    """From an environment and an episode's seed to who acts in it; None: a person alone."""

    prompts: Sequence[str] = ()
    """What the agent can be asked with: "instruction", "goal_image", "demonstration"."""

    instructions: Sequence[str] = ()
    """What it was trained on."""

    window: WindowConfig = field(default_factory=WindowConfig)
    """The windows that it was trained on, which say how long a demonstration is."""

    demonstrations: EpisodeDataset | None = None
    """Episodes that can be shown to it."""

    recorder: Recorder | None = None
    """Where episodes are saved; None: nowhere."""

    command: str = ""
    """What to type for the same page, without its task and seed."""

    counts: Counts = field(default_factory=Counts)
    """How often whole episodes succeeded, on all pages."""

    def config_of(self, task: str) -> EnvConfig:
        """Return what the environment of a task shows."""
        return self.configs[suite_of(task)]

    def made(self, task: str) -> Environment:
        """Return a new environment of a task.

        Raises:
            UserError: It cannot be made.
        """
        return make(task, self.config_of(task), split=self.split)
