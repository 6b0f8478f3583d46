"""Programs that draw curves, each as a `Tracker`: TensorBoard, Weights & Biases, MLflow, trackio.

Nothing leaves the machine unless the user's environment says where to.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from manyparts.core.extras import install_command, load_package
from manyparts.core.naming import NAME
from manyparts.core.serialisation import flatten

_MAX_PARAMETERS = 100  # that MLflow takes at once
_MAX_CHARACTERS = 5_000  # of a parameter


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

    def __init__(self, run: Path, step: int) -> None:
        del step  # a further run begins at any
        wandb = package_of("wandb")
        name = run.resolve().name
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", NAME),
            name=name,
            group=name,
            dir=str(run),
            config=config_of(run),
            mode=os.environ.get("WANDB_MODE", "offline"),
            # What is printed stays with the user, who has a progress bar there.
            settings=wandb.Settings(console="off", silent=True),
        )

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()


class Mlflow:
    """A run of MLflow in the database RUN/mlflow.db, or where MLFLOW_TRACKING_URI says.

    A run that is resumed becomes a further run of the same name, as MLflow keeps each step of a
    metric for good.
    """

    name = "mlflow"

    def __init__(self, run: Path, step: int) -> None:
        del step  # a further run begins at any
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        mlflow = package_of("mlflow")
        for noisy in ("mlflow", "alembic"):  # each table of a new database
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self._entities = mlflow.entities
        place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.resolve() / 'mlflow.db'}"
        self._client = mlflow.MlflowClient(tracking_uri=place)
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", NAME)
        found = self._client.get_experiment_by_name(experiment)
        number = found.experiment_id if found else self._client.create_experiment(experiment)
        begun = self._client.create_run(number, run_name=run.resolve().name)
        self._run = begun.info.run_id
        parameters = [
            mlflow.entities.Param(key, str(value)[:_MAX_CHARACTERS])
            for key, value in flatten(config_of(run)).items()
        ]
        for first in range(0, len(parameters), _MAX_PARAMETERS):
            chosen = parameters[first : first + _MAX_PARAMETERS]
            self._client.log_batch(self._run, params=chosen)

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        now = int(time.time() * 1000)
        metrics = [
            self._entities.Metric(name, float(value), now, step) for name, value in numbers.items()
        ]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self) -> None:
        self._client.set_terminated(self._run)


class Trackio:
    """A run of trackio in the database of TRACKIO_DIR, or of trackio's own folder."""

    name = "trackio"

    def __init__(self, run: Path, step: int) -> None:
        del step  # a further run begins at any
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        trackio = package_of("trackio")
        self._trackio = trackio
        trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", NAME),
            name=run.resolve().name,
            config=config_of(run),
            embed=False,
        )

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        self._trackio.log(dict(numbers), step=step)

    def close(self) -> None:
        self._trackio.finish()


PROGRAMS: Final[Mapping[str, Callable[[Path, int], Any]]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "mlflow": Mlflow,
    "trackio": Trackio,
}
"""Name to what begins a `Tracker`, from the run's folder and how many steps are done."""

# trackio has no extra: it needs an older Pillow, and so an environment of its own.
_INSTALLED_BY = {"tensorboard": "track", "wandb": "wandb", "mlflow": "mlflow"}


def title(name: str) -> str:
    """What people call a tracker."""
    return getattr(PROGRAMS.get(name), "name", name)


def package_of(program: str) -> Any:
    """Import a program of `PROGRAMS`. Raises PackageError with the command that installs it."""
    extra = _INSTALLED_BY.get(program)
    own = f"pip install {program}, into an environment of its own"
    command = install_command(extra) if extra else own
    return load_package(program, "track", command)


def config_of(run: Path) -> dict[str, Any]:
    """Return a run's config; empty where there is none, or a torn one."""
    try:
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}
