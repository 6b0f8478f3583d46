"""Checks before a run starts, and warnings that its user needs; made by rank 0."""

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
from manyparts.models.dynamics.configs import DynamicsConfig
from manyparts.objectives.system import System
from manyparts.training.config import TrainConfig
from manyparts.training.inputs import Sources
from manyparts.training.optimizer import trained
from manyparts.training.precision import computed_precision

_SHOWN = 3


def require_compiler(device: torch.device) -> None:
    """Raise UserError if blocks are to be compiled on a CPU and there is no C++ compiler."""
    usual = "clang++" if sys.platform == "darwin" else "g++"
    compiler = os.environ.get("CXX") or usual
    if device.type == "cpu" and not shutil.which(compiler):
        raise UserError(
            "this config compiles its blocks, which on a CPU needs a C++ compiler, and "
            f"{compiler!r} is not installed: sudo apt-get install -y g++, or train with "
            "--no-compile"
        )


def require_data(config: TrainConfig, sources: Sources, device: torch.device) -> None:
    """Check that a model can learn from the data, and print what its user should know.

    Args:
        config: the run's.
        sources: the datasets to train on.
        device: what the run computes on.

    Raises:
        UserError: the config learns by acting; a dataset is remote and not streamed, its rewards
            are not those of the others, or its numbers are not finite or beyond their bounds.
    """
    if config.online is not None:
        raise UserError(
            f"{config.method} learns by acting: use train_online(config, environment=TASK), or "
            "`manyparts train PRESET --environment TASK`"
        )
    for dataset in sources.datasets:
        if dataset.is_remote and not config.buffer_frames:
            raise UserError(
                f"{dataset.location} is remote: stream it with --buffer-frames 20000, or download "
                "it first"
            )
    dynamics = isinstance(config.model, DynamicsConfig)
    if dynamics:
        sources.require_rewards_of_all_or_none()
    for dataset in sources.datasets:
        require_learnable(dataset, dynamics=dynamics)
    _report_long_windows(config, sources)
    if computed_precision(config.precision, device) != config.precision:
        print(
            "this processor has no instructions for bfloat16: computing in float32, which is "
            "faster",
            file=sys.stderr,
        )


def report_embodiments(sources: Sources, info: CheckpointInfo, run: Path | None) -> None:
    """Print which robot each dataset is taken to be of, if it does not name its robot.

    Args:
        sources: the datasets.
        info: the embodiments of the agent.
        run: the run or checkpoint that training continues from; None if it starts from nothing.
    """
    if run is None:
        for line in sources.joined_lines():
            print(line, file=sys.stderr)
        return
    for dataset in sources.datasets:
        complaint = f"{dataset.path} is of another embodiment than {run}"
        name = info.embodiment_of(dataset.spec, complaint).spec.embodiment
        if name != dataset.spec.embodiment and not dataset.spec.named:
            print(
                f"{dataset.path} does not name its robot: it is taken to be {name!r} of {run}",
                file=sys.stderr,
            )


def report_scales(info: CheckpointInfo, changed: Sequence[str]) -> None:
    """Warn of numbers from which no scale can be estimated.

    Args:
        info: the embodiments of the agent.
        changed: lines on numbers that are not scaled as in the run that training starts from.
    """
    lines = list(changed)
    for embodiment in info.trained:
        lines += still_actions(Scale(embodiment.spec, embodiment.statistics))
    for line in lines:
        warnings.warn(line, DatasetWarning, stacklevel=2)


def require_distinct_tasks(config: TrainConfig, system: System, info: CheckpointInfo) -> None:
    """Check that the agent can tell tasks apart by their instructions, if it reads prompts.

    Tasks of one embodiment that share an instruction, or have none, are warned of.

    Args:
        config: the run's; it says whether paraphrases are used.
        system: the system, with the text encoder.
        info: the tasks of each embodiment, with their instructions.

    Raises:
        UserError: two tasks have different instructions that the text encoder reads as equal.
    """
    encoder = system.model.prompt_encoder
    if encoder is None:
        return
    for embodiment in info.trained:
        paraphrased = config.window.paraphrases
        texts = {
            task.name: [task.instruction, *(task.paraphrases if paraphrased else ())]
            for task in embodiment.tasks
        }
        for (task, text), (other_task, other_text) in taken_for_equal(texts, encoder.tokens):
            remedy = "reword one of them in the dataset"
            if words(text) != words(other_text):
                remedy += (
                    ", or let the encoder distinguish more words with the flags "
                    "--model.prompt.text (see --help)"
                )
            raise UserError(
                f"the agent would read {text!r} (task {task}) and {other_text!r} (task "
                f"{other_task}) as the same words: {remedy}"
            )
        for line in instruction_warnings(texts, encoder.tokens):
            warnings.warn(line, DatasetWarning, stacklevel=2)


def require_nothing_left_random(
    system: nn.Module, learnable: Collection[str], has_values: Collection[str], origin: Path | None
) -> None:
    """Check that `train_only` froze no parameter that nothing has trained.

    Args:
        system: after `train_only`.
        learnable: names of the parameters that were not frozen before it.
        has_values: names of the parameters that the run to start from, or a pretrained source, has
            set.
        origin: the run to start from.

    Raises:
        UserError: a parameter is frozen at its random initial value.
    """
    trainable = trained(system)
    random = [name for name in learnable if name not in trainable and name not in has_values]
    if not random:
        return
    shown = first_of(random, _SHOWN)
    lacking = f", and {origin} lacks" if origin else ""
    raise UserError(
        f"train_only freezes parameters that nothing has trained{lacking} ({shown}): start from "
        "the run that trained them with --from RUN, train them too with "
        "--train-only '*' --no-cache-features, or keep them random with --freeze-untrained"
    )


def _report_long_windows(config: TrainConfig, sources: Sources) -> None:
    """Print that windows are longer than every episode: steps that no episode reaches are never
    learned, and a model may later be asked to act in them."""
    frames = config.window.steps * config.window.chunk
    longest = max(int(np.diff(dataset.starts).max()) for dataset in sources.datasets)
    if frames > longest:
        print(
            f"windows are of {frames} frames, but the longest episode has {longest}: what lies "
            "beyond is not learned",
            file=sys.stderr,
        )
