"""Where rows of metrics go apart from metrics.jsonl: TensorBoard, and Weights & Biases."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from manyparts.core.errors import SurroundingsWarning, UserError
from manyparts.core.extras import in_a_line, install_command, load_package
from manyparts.core.naming import NAME

Track = Literal["wandb"]


class Tracker(Protocol):
    """A program that shows the metrics of a run while it trains."""

    name: str
    """What people call it."""

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Add the numbers of a step.

        Args:
            step: how many steps are done.
            numbers: metric to value, as in a row of metrics.jsonl.
        """
        ...

    def close(self) -> None:
        """Write what is buffered."""
        ...


class Trackers:
    """Those trackers that work here. One that fails is left out with a warning, and training
    continues; a full disk is not a tracker's failure."""

    def __init__(self, run: Path, step: int, track: Track | None) -> None:
        """Start the trackers of the run in the folder `run`, of which `step` steps are done."""
        self._trackers: list[Tracker] = []
        with _warning("TensorBoard"), contextlib.suppress(ModuleNotFoundError):
            self._trackers.append(TensorBoard(run, step))
        if track == "wandb":
            with _warning("wandb"):
                self._trackers.append(Wandb(run))

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Add the numbers of a step to each tracker. One that fails is left out from then on.

        Args:
            step: how many steps are done.
            numbers: metric to value, as in a row of metrics.jsonl.
        """
        for tracker in tuple(self._trackers):
            self._trackers.remove(tracker)
            with _warning(tracker.name):
                tracker.write(step, numbers)
                self._trackers.append(tracker)

    def close(self) -> None:
        """Close each tracker."""
        for tracker in self._trackers:
            with _warning(tracker.name):
                tracker.close()
        self._trackers = []


class TensorBoard:
    """Events in RUN/tensorboard; a resumed run hides those after its checkpoint."""

    name = "TensorBoard"

    def __init__(self, run: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purged = step + 1 if step else None
        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=purged)

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """A run of Weights & Biases in RUN/wandb, which `wandb sync` uploads later.

    It is sent at once only if the user sets WANDB_MODE=online. A run that is resumed becomes a
    further run of the same name and group.
    """

    name = "wandb"

    def __init__(self, run: Path) -> None:
        wandb = _wandb()
        config = run / "config.json"
        name = run.resolve().name
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", NAME),
            name=name,
            group=name,
            dir=str(run),
            config=json.loads(config.read_text()) if config.exists() else {},
            mode=os.environ.get("WANDB_MODE", "offline"),
            # What is printed stays with the user, who has a progress bar there.
            settings=wandb.Settings(console="off", silent=True),
        )

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()


def require_tracker(track: str | None) -> None:
    """Raise UserError if a tracker is unknown, or is not installed."""
    if track is None:
        return
    if track != "wandb":
        raise UserError(f"track is {track!r}; choices: wandb")
    _wandb()


def _wandb() -> Any:
    return load_package("wandb", "track", install_command("wandb"))


@contextlib.contextmanager
def _warning(name: str) -> Iterator[None]:
    """Turn what an installed package raises, which may be anything, into a warning."""
    try:
        yield
    except (OSError, ModuleNotFoundError):  # the disk is full; it is not installed
        raise
    except Exception as error:
        warnings.warn(
            f"{name} is installed but does not work ({in_a_line(error)}): curves are in "
            "metrics.jsonl",
            SurroundingsWarning,
            stacklevel=2,
        )
