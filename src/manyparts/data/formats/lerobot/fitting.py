"""Whether an episode fits the dataset that it is to be written to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from manyparts.core.columns import TERMINATED
from manyparts.core.errors import UserError, closest
from manyparts.core.records import Episode
from manyparts.core.spec import Spec, TaskEntry


def require_fitting(
    episode: Episode, spec: Spec, tasks: Mapping[str, TaskEntry], *, terminates: bool
) -> None:
    """Raise UserError if an episode does not fit a dataset.

    Args:
        episode: Any.
        spec: The dataset's robot.
        tasks: The dataset's tasks by their names.
        terminates: Whether the dataset says which episodes ended for good.
    """
    length = len(episode)
    if episode.task not in tasks:
        near = closest(str(episode.task), tasks)
        raise UserError(f"episode's task {episode.task!r} is not among the dataset's; {near}")
    task = tasks[episode.task]
    if episode.instruction != task.instruction:
        raise UserError(
            f"episode's instruction is {episode.instruction!r}; expected that of its task "
            f"{task.name}, {task.instruction!r}"
        )
    shapes = {
        "state": (episode.state, (length, spec.state_dimension)),
        "action": (episode.action, (length, spec.action.dimension)),
        "expert_action": (episode.expert_action, (length, spec.action.dimension)),
        "reward": (episode.reward, (length,)),
        "success": (episode.success, (length,)),
    }
    if length == 0:
        raise UserError("episode has no steps; expected at least 1")
    if episode.terminated and not terminates:
        raise UserError(
            f"episode of {episode.task} with seed {episode.seed} terminated, but the dataset "
            f"has no column {TERMINATED}; begin a dataset with "
            "DatasetWriter(..., terminates=True)"
        )
    if episode.images.keys() != spec.cameras.keys():
        raise UserError(
            f"episode's cameras are {sorted(episode.images)}; expected {sorted(spec.cameras)}, "
            "as in the dataset's spec"
        )
    for name, (height, width) in spec.cameras.items():
        shapes[name] = (episode.images[name], (length, height, width, 3))
        if episode.images[name].dtype != np.uint8:
            raise UserError(
                f"episode's {name} images are {episode.images[name].dtype}; expected uint8"
            )
    for name, (array, shape) in shapes.items():
        if array.shape != shape:
            raise UserError(
                f"episode's {name} has shape {array.shape}; expected {shape} by the spec"
            )
        if array.dtype.kind not in "biuf":
            raise UserError(f"episode's {name} holds {array.dtype}; expected numbers")
        if not np.isfinite(array).all():
            step = int(np.argwhere(~np.isfinite(array))[0][0])
            raise UserError(
                f"episode's {name} holds NaN or infinity at step {step}; expected numbers"
            )
