"""What must hold before a run begins, and what its user must know: checked by the process that
leads."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from manyparts.core.errors import DatasetWarning, UserError
from manyparts.core.printing import first_of
from manyparts.data.instructions import instruction_warnings, taken_for_equal, words
from manyparts.data.tools.bounds import require_learnable
from manyparts.embodiment.scales import Scale, still_actions
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.objectives.system import DynamicsConfig, System
from manyparts.training.config import TrainConfig
from manyparts.training.inputs import Sources
from manyparts.training.optimizer import trained
from manyparts.training.precision import computed_precision

_SHOWN = 3


def require_compiler(device: torch.device) -> None:
    """Raises UserError where blocks are to be compiled on a CPU and there is no compiler."""
    found = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and not shutil.which(found):
        raise UserError(
            f"this config compiles its blocks, which on a CPU needs a C++ compiler, and {found!r} is not there: "
            "sudo apt-get install -y g++, or train with --no-compile"
        )


def require_data(config: TrainConfig, sources: Sources, device: torch.device) -> None:
    """Print what a user must know of this data under this config. Raises UserError where it cannot
    be learned from."""
    for dataset in sources.datasets:
        if dataset.is_remote and not config.buffer_frames:
            raise UserError(
                f"{dataset.location} lies elsewhere: --buffer-frames 20000 streams it; or copy it to this disk"
            )
    dynamics = isinstance(config.model, DynamicsConfig)
    if dynamics:
        sources.require_rewards_of_all_or_none()
    for dataset in sources.datasets:
        require_learnable(dataset, dynamics=dynamics)
    _report_long_windows(config, sources)
    if computed_precision(config.precision, device) != config.precision:
        print(
            "this processor has no instructions for bfloat16: computing in float32, which is faster",
            file=sys.stderr,
        )


def report_embodiments(sources: Sources, info: CheckpointInfo, run: Path | None) -> None:
    """Say what robot data is of that does not name its own. run: where training goes on; None: it
    begins."""
    for line in sources.joined_lines() if run is None else ():
        print(line, file=sys.stderr)
    for dataset in sources.datasets if run is not None else ():
        name = info.embodiment_of(
            dataset.spec, f"{dataset.path} is of another embodiment than {run}"
        ).spec.embodiment
        if name != dataset.spec.embodiment and not dataset.spec.named:
            print(
                f"{dataset.path} does not name its robot: it is taken for {name!r} of {run}",
                file=sys.stderr,
            )


def report_scales(info: CheckpointInfo, taken: Sequence[str]) -> None:
    """Warn of numbers that tell no scale. taken: lines of those whose scale is not that of the run
    before."""
    still = [
        line for each in info.trained for line in still_actions(Scale(each.spec, each.statistics))
    ]
    for line in [*taken, *still]:
        warnings.warn(line, DatasetWarning, stacklevel=2)


def require_distinct_tasks(config: TrainConfig, system: System, info: CheckpointInfo) -> None:
    """Warn of tasks of one embodiment that share an instruction, or have none. Raises UserError for
    two tasks whose instructions differ, but not for the agent's text encoder. A model that reads no
    prompts is left alone."""
    encoder = system.model.prompt_encoder
    if encoder is None:
        return
    for embodiment in info.trained:
        paraphrased = config.window.paraphrases
        said = {
            task.name: [task.instruction, *(task.paraphrases if paraphrased else ())]
            for task in embodiment.tasks
        }
        for (one, ours), (other, theirs) in taken_for_equal(said, encoder.tokens):
            remedy = "reword one of them in the dataset"
            if words(ours) != words(theirs):
                remedy += ", or read more words apart by the flags --model.prompt.text (see --help)"
            raise UserError(
                f"the agent would read {ours!r} (task {one}) and {theirs!r} (task {other}) as the same words: {remedy}"
            )
        for line in instruction_warnings(said, encoder.tokens):
            warnings.warn(line, DatasetWarning, stacklevel=2)


def require_nothing_left_random(
    system: nn.Module, learnable: Collection[str], known: Collection[str], origin: Path | None
) -> None:
    """Raises UserError if `train_only` froze a parameter that nothing has trained.

    Args:
        system: after `train_only`.
        learnable: the parameters that were not frozen before it.
        known: the parameters that the run we start from, or a pretrained source, has set.
        origin: the run we start from.
    """
    random = [name for name in learnable if name not in trained(system) and name not in known]
    if not random:
        return
    shown = first_of(random, _SHOWN)
    trained_there = f", and {origin} lacks" if origin else ""
    raise UserError(
        f"train_only freezes parameters that nothing has trained{trained_there} ({shown}): start from the run that "
        "trained them with --from RUN, train them too with --train-only --no-cache-features, or keep them random with "
        "--freeze-untrained"
    )


def _report_long_windows(config: TrainConfig, sources: Sources) -> None:
    """Positions that no episode reaches are never learned, and a model may later be asked to act
    there."""
    frames = config.window.steps * config.window.chunk
    longest = max(int(np.diff(dataset.starts).max()) for dataset in sources.datasets)
    if frames > longest:
        print(
            f"windows are of {frames} frames, but the longest episode has {longest}: what lies beyond is not learned",
            file=sys.stderr,
        )
