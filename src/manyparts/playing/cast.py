"""What a command offers to play with: tasks, who acts in them, and where episodes are saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from manyparts.agents.base import Agent
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.config import WindowConfig
from manyparts.envs.base import EnvConfig, Environment, Split
from manyparts.envs.registry import make
from manyparts.playing.counts import Counts
from manyparts.playing.recording import Recorder
from manyparts.rollout.environments import settings_of


@dataclass
class Cast:
    """What all pages of a server share."""

    name: str
    """Who acts, as it was typed: a run, `random`, `expert` or `hand`."""

    tasks: Sequence[str]
    """Names of the tasks, at least one."""

    configs: Mapping[str, EnvConfig]
    """What environments show, by suite and by task; see `settings_of`."""

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

    whole: Mapping[str, EnvConfig] = field(default_factory=dict)
    """What a run was trained in, likewise, with as many steps; empty: suites' own."""

    def config_of(self, task: str) -> EnvConfig:
        """Return what the environment of a task shows."""
        return settings_of(self.configs, task)

    def whole_config_of(self, task: str) -> EnvConfig:
        """Return the same with episodes that no flag has cut, for experts that show a goal."""
        steps = settings_of(self.whole, task).max_steps if self.whole else None
        return replace(self.config_of(task), max_steps=steps)

    def made(self, task: str, *, whole: bool = False) -> Environment:
        """Return a new environment of a task.

        Args:
            task: One of `tasks`.
            whole: See `whole_config_of`.

        Raises:
            UserError: It cannot be made.
        """
        config = self.whole_config_of(task) if whole else self.config_of(task)
        return make(task, config, split=self.split)
