"""A dataset as models see it that were trained through a view."""

from __future__ import annotations

from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.core.printing import say
from manyparts.data.dataset import EpisodeDataset
from manyparts.models.checkpoint import load_info, resolve


def as_learned(data: str | Path | EpisodeDataset, *runs: str | Path) -> EpisodeDataset:
    """Open a dataset, through the view of the runs that are to look at it.

    Args:
        data: as `EpisodeDataset.open` takes it. One with a view keeps it.
        runs: folders of runs or checkpoints.

    Returns:
        The dataset. A line on stderr says where a view was taken from a run.

    Raises:
        UserError: the runs see the dataset through different views.
    """
    dataset = EpisodeDataset.open(data)
    if dataset.view is not None:
        return dataset
    views = {str(run): load_info(resolve(run)).view_of(dataset.spec) for run in runs}
    first, view = next(iter(views.items()))
    for run, other in views.items():
        if other != view:
            raise UserError(f"{first} and {run} see {dataset.path} through different views")
    if view is None:
        return dataset
    say(f"{dataset.path} is seen through the view that {first} was trained with", error=True)
    return dataset.through(view)
