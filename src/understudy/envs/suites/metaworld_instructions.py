"""What a person would say to have each Meta-World task done."""

from __future__ import annotations

from understudy.envs.base import Instructions
from understudy.envs.suites.metaworld_splits import TASKS

INSTRUCTIONS = {
    task: Instructions(task.replace("-", " "), (f"please {task}", f"do {task}", f"now {task}"), (f"go {task}", f"{task}!"))
    for task in TASKS
}
