"""Under which conditions an agent is evaluated: those of its training."""

from __future__ import annotations

from dataclasses import replace

from factories import make_spec

from manyparts.core.serialisation import to_jsonable
from manyparts.core.spec import TaskEntry
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.statistics import Statistics
from manyparts.envs.base import EnvConfig
from manyparts.evaluation.conditions import environments_of
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.rollout.environments import settings_of


def test_each_task_is_met_as_in_training() -> None:
    """Two embodiments of one suite, of which one was recorded with short episodes."""
    tasks, configs = ("pointmass/reach", "pointmass/reach-red"), {}
    embodiments = []
    for name, task, steps in zip("ab", tasks, (50, 200), strict=True):
        configs[task] = EnvConfig(max_steps=steps)
        entry = TaskEntry(task, "go")
        settings = to_jsonable(configs[task])
        embodiments.append(
            Embodiment(replace(make_spec(), embodiment=name), settings, Statistics({}), (entry,))
        )
    info = CheckpointInfo(tuple(embodiments), {}, {}, {}, {})
    for chosen in (tasks, tasks[::-1]):
        found = environments_of(info, chosen)
        assert {task: settings_of(found, task) for task in chosen} == configs
    assert environments_of(info, tasks[1:]) == {"pointmass": configs[tasks[1]]}
