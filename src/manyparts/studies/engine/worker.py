"""A process that does a stage of a study; an executor starts it with the stage's folder."""

from __future__ import annotations

from pathlib import Path

MODULE = __name__
# What stages import. None of them starts a thread.
PRELOADED = (
    "manyparts.studies.engine.execution",
    "manyparts.evaluation.protocol",
    "manyparts.evaluation.probes",
    "manyparts.rollout.collect",
    "manyparts.training.train",
    "manyparts.training.online.train",
    "torch.utils.tensorboard",
)


def carry_out(stage_folder: Path, cores: int) -> None:
    """Do the stage of a folder, or what is left of it.

    Args:
        stage_folder: The folder, which holds the stage's description.
        cores: How many cores the stage may use.
    """
    from manyparts.studies.engine import execution
    from manyparts.studies.engine.stages import read_description

    execution.carry_out(read_description(stage_folder), stage_folder.parents[1], cores=cores)
